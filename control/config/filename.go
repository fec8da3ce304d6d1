package config

import "strings"

// fileName is the name of a file that the gateway will read. As everywhere in a document it is taken as written: one that
// does not begin with a slash is looked for in the directory the gateway was started in. Whether the file is there, and
// what is in it, is not looked at here.
func fileName() kind[string] { return text("file", isFileName) }

func isFileName(s string) (cause, fix string) {
	switch {
	case s == "":
		return "the name of the file is empty", "write the name of the file, or remove the key"
	case strings.Contains(s, "-----BEGIN "):
		return "the contents of a file stand where its name belongs", "put them into a file of their own, and write its name here"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return quote(s) + " is not the name of a file", "remove line ends and control characters"
	case strings.HasPrefix(s, "file://"):
		return quote(s) + " is a URL, not the name of a file", "write " + quote(strings.TrimPrefix(s, "file://"))
	case strings.Contains(s, "://"):
		return quote(s) + " is a URL, not the name of a file", "fetch it, and write the name of the file"
	}
	return "", ""
}

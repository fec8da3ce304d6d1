package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Field is a header field to be sent: a name, in the case it was written in, and a value.
type Field struct {
	Pos
	Name, Value string
}

// fields is a map of header names to values, for fields the gateway sends by order of the document. It refuses those
// that frame a message or belong to one connection: a document that could set them could split a message in two.
func fields() kind[[]Field] {
	value := text("header value", fieldValue)
	k := part(value, func(v *Field) *string { return &v.Value })
	return mapOf(k, func(v *Field) *string { return &v.Name }, func(v *Field) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool {
			return d.passes(n, name, []check{fieldNameText, ownField})
		}, strings.ToLower)
}

// fieldName is the name of a header field, in lower case.
func fieldName(checks ...check) kind[string] {
	k := text("header name", append([]check{fieldNameText}, checks...)...)
	return inLowerCase(k)
}

// fieldNameText accepts a token (RFC 9110 section 5.6.2).
func fieldNameText(s string) (cause, fix string) {
	if !isToken(s) {
		return quote(s) + " is not the name of a header field", "use letters, digits and dashes"
	}
	return "", ""
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// fieldValueMax is a quarter of the default head.
const fieldValueMax = 8 << 10

// fieldValue refuses what could end a field early (RFC 9110 section 5.5), and spaces at the ends, which no reader would
// see.
func fieldValue(s string) (cause, fix string) {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "a header value cannot hold line ends or control characters", "remove them"
	case strings.Trim(s, " \t") != s:
		return "a header value cannot begin or end with a space", "write " + quote(strings.Trim(s, " \t"))
	case len(s) > fieldValueMax:
		return "the header value is longer than " + formatSize(fieldValueMax), ""
	}
	return "", ""
}

// ownField refuses fields the gateway alone decides about.
func ownField(s string) (cause, fix string) {
	switch strings.ToLower(s) {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length":
		return quote(s) + " belongs to the connection and is set by the gateway itself", "remove it"
	case "host":
		return `"host" is not set as a header field`, "use the filter rewrite: {host: ...}"
	}
	return "", ""
}

func notEmpty(s string) (cause, fix string) {
	if s == "" {
		return "the value is empty", "give it a value, or remove the key"
	}
	return "", ""
}

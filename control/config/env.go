package config

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// expand replaces ${NAME} and ${NAME:-default} in the text of one scalar. $${ stands for a literal ${; any other
// dollar is itself. A replacement is not looked through again. Reports problems at n and returns ok = false on any.
//
// It works on scalars after YAML has been read, never on the text before: a variable can fill a value, but cannot
// become a key, a second value or the end of the document.
func (d *decoder) expand(n *yaml.Node, s string) (_ string, ok bool) {
	if !strings.Contains(s, "${") {
		return s, true
	}
	ok = true
	var b strings.Builder
	for i := 0; i < len(s); {
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, "$${"):
			b.WriteString("${")
			i += len("$${")
		case strings.HasPrefix(rest, "${"):
			length := strings.IndexByte(rest, '}')
			if length < 0 {
				d.fail(n, `close the brace, or write "$${" for a literal "${"`, "%s opens a variable and does not close it", quote(s))
				return "", false
			}
			value, found := d.variable(n, rest[len("${"):length])
			b.WriteString(value)
			ok = ok && found
			i += length + 1
		default:
			b.WriteByte(s[i])
			i++
		}
		if b.Len() > expandedMax {
			d.fail(n, "", "the value grows past %d bytes when its variables are replaced", expandedMax)
			return "", false
		}
	}
	return b.String(), ok
}

// expandedMax bounds one value after replacement, so that a short text naming a long variable many times stays short.
const expandedMax = 1 << 20

// variable looks up the inside of ${...}.
func (d *decoder) variable(n *yaml.Node, inside string) (value string, ok bool) {
	name, fallback, hasFallback := strings.Cut(inside, ":-")
	if !isIdentifier(name) {
		d.fail(n, `write ${NAME} or ${NAME:-default}; "$${" stands for a literal "${"`, "%s is not the name of a variable", quote(name))
		return "", false
	}
	if d.env != nil {
		value, ok = d.env(name)
	}
	// As in a shell, ${NAME:-x} covers a variable that is set but empty.
	if hasFallback && value == "" {
		return fallback, true
	}
	if !ok {
		d.fail(n, "set it, or give a default: ${"+name+":-...}", "environment variable %s is not set", quote(name))
		return "", false
	}
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		d.fail(n, "", "environment variable %s is not text", quote(name))
		return "", false
	}
	return value, true
}

// isIdentifier reports a name in the sense of most languages: a letter or underscore, then digits too.
func isIdentifier(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '_' || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return s != ""
}

// escapeVariables is the inverse of expand for a value that is meant literally.
func escapeVariables(s string) string { return strings.ReplaceAll(s, "${", "$${") }

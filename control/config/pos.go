package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Pos is a place in the text of the document, both from 1; the column counts characters. Zero where a value came from a
// default. What was brought in by a YAML alias has the place of its anchor.
type Pos struct {
	Line, Column int
}

func posOf(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

// Text is a word of the document with its place: the name of another part, or a pattern the compiler will read.
type Text struct {
	Pos
	Value string
}

// step is one part of a path into the document: a key or an index.
type step struct {
	key   string
	isKey bool
	index int
}

// pathString renders steps as they are written in problems: routes[3].match.path.
func pathString(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		switch {
		case !s.isKey:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case isWord(s.key):
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.key)
		default:
			b.WriteString("[" + quote(s.key) + "]")
		}
	}
	return b.String()
}

// isWord reports whether a key can stand in a path without quotes.
func isWord(s string) bool {
	if len(s) > quotedMax {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isAlnum(c) && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

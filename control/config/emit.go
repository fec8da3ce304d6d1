package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// emit writes a tree of ours as YAML: maps and lists as blocks, lists marked so in brackets, scalars plain where that
// is safe beyond doubt and between double quotes otherwise. The library's emitter does the same to any tree and takes
// four times as long, some four seconds for 100,000 routes.
func emit(b *strings.Builder, n *yaml.Node, indent int) {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				newLine(b, indent)
			}
			emitScalar(b, n.Content[i])
			b.WriteByte(':')
			emitValue(b, n.Content[i+1], indent)
		}
	case n.Kind == yaml.MappingNode:
		b.WriteString("{}")
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && n.Style != yaml.FlowStyle:
		for i, element := range n.Content {
			if i > 0 {
				newLine(b, indent)
			}
			b.WriteString("- ")
			emit(b, element, indent+2)
		}
	case n.Kind == yaml.SequenceNode:
		b.WriteByte('[')
		for i, element := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			emitScalar(b, element)
		}
		b.WriteByte(']')
	default:
		emitScalar(b, n)
	}
}

// emitValue writes what follows a key: on the same line if it is one, indented below otherwise.
func emitValue(b *strings.Builder, n *yaml.Node, indent int) {
	if len(n.Content) > 0 && n.Style != yaml.FlowStyle {
		newLine(b, indent+2)
		emit(b, n, indent+2)
		return
	}
	b.WriteByte(' ')
	emit(b, n, indent)
}

func newLine(b *strings.Builder, indent int) {
	b.WriteByte('\n')
	for range indent {
		b.WriteByte(' ')
	}
}

func emitScalar(b *strings.Builder, n *yaml.Node) {
	if n.Style == 0 && isPlain(n.Value) {
		b.WriteString(n.Value)
		return
	}
	b.WriteByte('"')
	for _, r := range n.Value {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		// Characters YAML does not let stand for themselves, or takes for line ends or nothing.
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			const hex = "0123456789abcdef"
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&15])
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// isPlain accepts text that no YAML reader takes for anything but itself: it begins as a word, a number or a path, and
// holds nothing that could end it. What looks like a number is one for those who ask; texts that only look so are
// marked by textNode.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isAlnum(c) || c == '/' || c == '_' || c == '.':
		case i > 0 && (c == '-' || c == '*' || c == '%' || c == '+' || c == '@' || c == '=' || c == '~' || c == '$'):
		case c == ':' && i > 0 && i+1 < len(s) && isAlnum(s[i+1]):
		default:
			return false
		}
	}
	return s != ""
}

// looksTyped reports text that a YAML reader, of whatever version, may take for a number, a date, a boolean or null.
func looksTyped(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "true", "false", "on", "off", "null", ".nan", ".inf":
		return true
	}
	if s == "" || s[0] != '.' && (s[0] < '0' || s[0] > '9') {
		return false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return true
	}
	return strings.Trim(s, "0123456789abcdefABCDEFxXoO_.:-+tTzZ") == ""
}

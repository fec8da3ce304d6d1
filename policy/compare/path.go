package compare

import (
	"fmt"
	"strconv"
	"strings"
)

// step is one step down: to a member of an object, or to any element of an array.
type step struct {
	name    string
	element bool
}

// pathText writes a path: $.items[].price, and $["a b"] where a name is not made of letters, digits, _ and -.
func pathText(path []step) string {
	var b strings.Builder
	b.WriteByte('$')
	for i := range path {
		switch s := &path[i]; {
		case b.Len() > pathMax:
			return b.String() // it is cut there
		case s.element:
			b.WriteString("[]")
		case isPlain(s.name):
			b.WriteByte('.')
			b.WriteString(s.name)
		default:
			b.WriteByte('[')
			b.WriteString(strconv.Quote(cut(s.name, textMax)))
			b.WriteByte(']')
		}
	}
	return b.String()
}

func isPlain(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return name != "" && len(name) <= textMax
}

// Pattern is places in JSON: $.a.b a member, $.a[].b that of all elements, $.*.b that of all members, $..b those at any depth.
type Pattern struct {
	text  string
	steps []patternStep
}

type patternStep struct {
	step
	any  bool // any name
	deep bool // any steps may be before it
}

// PatternBytesMax bounds a pattern.
const PatternBytesMax = 200

// deepMax bounds how often a pattern may leave the depth open: each multiplies what matching costs.
const deepMax = 3

// ParsePattern reads a pattern, or says what is wrong with it.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{text: s}
	rest, ok := strings.CutPrefix(s, "$")
	switch {
	case !ok:
		return Pattern{}, fmt.Errorf("%q does not begin with $: write $.name, $.list[].name, $.*.name or $..name", s)
	case len(s) > PatternBytesMax:
		return Pattern{}, fmt.Errorf("a path of %d bytes is too long: %d at most", len(s), PatternBytesMax)
	}
	deep := 0
	for rest != "" {
		var t patternStep
		switch {
		case strings.HasPrefix(rest, "[]"), strings.HasPrefix(rest, "[*]"):
			t.element = true
			rest = rest[strings.IndexByte(rest, ']')+1:]
		case strings.HasPrefix(rest, `["`):
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil || !strings.HasPrefix(rest[1+len(quoted):], "]") {
				return Pattern{}, fmt.Errorf(`%q has a name that does not end: write ["name"]`, s)
			}
			t.name, _ = strconv.Unquote(quoted)
			rest = rest[len(quoted)+2:]
		case rest[0] == '.':
			rest = rest[1:]
			if strings.HasPrefix(rest, ".") {
				rest = rest[1:]
				t.deep = true
				deep++
			}
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			t.name, rest = rest[:end], rest[end:]
			if t.any = t.name == "*"; !t.any && !isPlain(t.name) {
				return Pattern{}, fmt.Errorf(`%q has no name behind a dot: write $.name, or $["a name"] for one with other characters`, s)
			}
		default:
			return Pattern{}, fmt.Errorf("%q has %q where . or [] is expected; single elements of arrays have no paths", s, rest[0])
		}
		p.steps = append(p.steps, t)
	}
	if deep > deepMax {
		return Pattern{}, fmt.Errorf("%q leaves the depth open %d times: %d at most", s, deep, deepMax)
	}
	return p, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// ignored tells whether the place where the walk is does not matter. It asks at each place, so that what is beneath one is never
// come to.
func (w *walk) ignored() bool {
	for i := range w.c.Ignore {
		if matches(w.c.Ignore[i].steps, w.path) {
			return true
		}
	}
	return false
}

func matches(p []patternStep, path []step) bool {
	for len(p) > 0 {
		t := &p[0]
		if t.deep {
			for i := range path {
				if t.fits(path[i]) && matches(p[1:], path[i+1:]) {
					return true
				}
			}
			return false
		}
		if len(path) == 0 || !t.fits(path[0]) {
			return false
		}
		p, path = p[1:], path[1:]
	}
	return len(path) == 0
}

func (t *patternStep) fits(s step) bool {
	return t.element == s.element && (t.any || t.element || t.name == s.name)
}

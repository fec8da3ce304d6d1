package compare

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
)

// parse reads a JSON text (RFC 8259). Of two members of one name the last counts.
func parse(text []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	_, err := d.Token()
	return v, err == io.EOF && shallow(v, depthMax)
}

// depthMax bounds nesting. What it takes to compare arrays in any order grows with its square, and no API's answers come near: a
// deeper text is compared byte by byte.
const depthMax = 100

// shallow tells whether a value is nested at most so deep.
func shallow(v any, most int) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			if most == 0 || !shallow(inner, most-1) {
				return false
			}
		}
	case []any:
		for _, inner := range v {
			if most == 0 || !shallow(inner, most-1) {
				return false
			}
		}
	}
	return true
}

// walk goes through two values side by side.
type walk struct {
	c     *Config
	found *findings
	path  []step
}

func (w *walk) say(kind Kind, was, is any) {
	d := Difference{Path: pathText(w.path), Kind: kind}
	if slices.ContainsFunc(w.path, func(s step) bool { return !s.element && Secret(s.name) }) {
		if was != (absent{}) {
			d.Was = masked
		}
		if is != (absent{}) {
			d.Is = masked
		}
	} else {
		d.Was, d.Is = w.text(was), w.text(is)
	}
	w.found.add(d)
}

// absent is what there is of a value on the other side of one that is missing.
type absent struct{}

// text shows a value: of an object or array only how large it is, for there may be secrets in it.
func (w *walk) text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case absent:
		return ""
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return cut(v.String(), textMax)
	case string:
		return strconv.Quote(cut(v, textMax))
	case map[string]any:
		return "an object of " + strconv.Itoa(len(v))
	case []any:
		return "an array of " + strconv.Itoa(len(v))
	}
	return ""
}

// values compares what is at the path.
func (w *walk) values(was, is any) {
	if w.ignored() {
		return
	}
	switch a := was.(type) {
	case nil:
		if is != nil {
			w.say(Type, was, is)
		}
	case bool:
		w.scalar(was, is, isType[bool](is), a == is)
	case string:
		w.scalar(was, is, isType[string](is), a == is)
	case json.Number:
		b, same := is.(json.Number)
		w.scalar(was, is, same, same && w.numbers(string(a), string(b)))
	case map[string]any:
		if b, same := is.(map[string]any); same {
			w.objects(a, b)
		} else {
			w.say(Type, was, is)
		}
	case []any:
		if b, same := is.([]any); same {
			w.arrays(a, b)
		} else {
			w.say(Type, was, is)
		}
	}
}

func isType[T any](v any) bool { _, is := v.(T); return is }

func (w *walk) scalar(was, is any, sameType, equal bool) {
	switch {
	case !sameType:
		w.say(Type, was, is)
	case !equal:
		w.say(Value, was, is)
	}
}

func (w *walk) objects(a, b map[string]any) {
	for _, name := range names(a, b) {
		was, here := a[name]
		is, there := b[name]
		w.path = append(w.path, step{name: name})
		switch {
		case here && there:
			w.values(was, is)
		case w.ignored():
		case here:
			w.say(Missing, was, absent{})
		default:
			w.say(Added, absent{}, is)
		}
		w.path = w.path[:len(w.path)-1]
	}
}

// names are those of both, each once, in order.
func names(a, b map[string]any) []string {
	list := make([]string, 0, len(a)+len(b))
	for name := range a {
		list = append(list, name)
	}
	for name := range b {
		if _, both := a[name]; !both {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func (w *walk) arrays(a, b []any) {
	w.path = append(w.path, step{element: true})
	defer func() { w.path = w.path[:len(w.path)-1] }()
	if w.ignored() {
		return
	}
	if len(a) != len(b) {
		w.say(Length, a, b)
	}
	if w.c.AnyOrder {
		a, b = w.unmatched(a, b)
	}
	for i := range min(len(a), len(b)) {
		w.values(a[i], b[i])
	}
}

// unmatched takes out of both what they have in common, whatever its place.
func (w *walk) unmatched(a, b []any) (restA, restB []any) {
	have := map[string]int{}
	keys := make([]string, len(b))
	for i := range b {
		keys[i] = w.canonical(b[i])
		have[keys[i]]++
	}
	for _, v := range a {
		if k := w.canonical(v); have[k] > 0 {
			have[k]--
		} else {
			restA = append(restA, v)
		}
	}
	for i, v := range b { // the last of those that are alike are left over
		if have[keys[i]] > 0 {
			have[keys[i]]--
			restB = append(restB, v)
		}
	}
	return restA, restB
}

// canonical is a text that two elements share if they are equal, without what is ignored in them.
func (w *walk) canonical(v any) string {
	var b []byte
	b = w.appendCanonical(b, v)
	return string(b)
}

func (w *walk) appendCanonical(b []byte, v any) []byte {
	if w.ignored() {
		return append(b, '_')
	}
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case bool:
		return strconv.AppendBool(b, v)
	case json.Number:
		d := normal(string(v))
		return append(append(b, '#'), d.key()...)
	case string:
		return strconv.AppendQuote(b, v)
	case map[string]any:
		b = append(b, '{')
		for _, name := range names(v, nil) {
			w.path = append(w.path, step{name: name})
			if !w.ignored() { // one who has it and one who has not are alike
				b = append(strconv.AppendQuote(b, name), ':')
				b = append(w.appendCanonical(b, v[name]), ',')
			}
			w.path = w.path[:len(w.path)-1]
		}
		return append(b, '}')
	case []any:
		parts := make([]string, len(v))
		w.path = append(w.path, step{element: true})
		for i := range v {
			parts[i] = w.canonical(v[i])
		}
		w.path = w.path[:len(w.path)-1]
		slices.Sort(parts) // this is called only where their order does not matter
		b = append(b, '[')
		for _, p := range parts {
			b = append(append(b, p...), ',')
		}
		return append(b, ']')
	}
	return b
}

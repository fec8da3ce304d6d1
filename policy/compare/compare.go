package compare

import (
	"bytes"
	"strconv"
	"strings"
)

// Config is what matters. The zero value compares status and bodies exactly.
type Config struct {
	// Fields are the names of fields to compare, in lower case.
	Fields []string
	// Ignore are places in JSON that do not matter, with all beneath them.
	Ignore []Pattern
	// Tolerance is by how much numbers may differ, as a part of the larger: 0.01 for one percent. 0: not at all.
	Tolerance float64
	// AnyOrder takes arrays for sets: what counts is which elements they have, and how many of each.
	AnyOrder bool
}

// Answer is one of those compared.
type Answer struct {
	Status int
	Fields [][]byte // the values of Config.Fields, in their order, those of one name with ", " between
	JSON   bool     // that is what its Content-Type says
	Body   []byte   // without a coding
}

// Kind is how two answers differ in one place.
type Kind uint8

// The kinds.
const (
	Value   Kind = iota // of one type
	Type                // a number here, a text there
	Missing             // only the first has it
	Added               // only the second has it
	Length              // of arrays
)

var kindWords = [...]string{Value: "value", Type: "type", Missing: "missing", Added: "added", Length: "length"}

// String returns the word of reports.
func (k Kind) String() string { return kindWords[k] }

// Difference is a place in which two answers differ. All elements of an array are one place.
type Difference struct {
	// Path is "status", "header.NAME", "body" for one that is no JSON, or a place in JSON: $.items[].price
	Path    string
	Kind    Kind
	Was, Is string // the first ones found there, cut and masked
}

const (
	// DifferencesMax bounds what is said of two answers: a reader looks at a few.
	DifferencesMax = 64
	// textMax is how many bytes of a value are shown.
	textMax = 80
	// pathMax is how many bytes of a path are shown: nesting is the sender's to choose.
	pathMax = 256
)

// Equal tells whether two answers are the same byte by byte, so that nothing else has to be looked at.
func Equal(a, b *Answer) bool {
	if a.Status != b.Status || a.JSON != b.JSON || len(a.Fields) != len(b.Fields) || !bytes.Equal(a.Body, b.Body) {
		return false
	}
	for i := range a.Fields {
		if !bytes.Equal(a.Fields[i], b.Fields[i]) {
			return false
		}
	}
	return true
}

// Answers lists in what b differs from a, DifferencesMax places at most.
func (c *Config) Answers(a, b *Answer) []Difference {
	var found findings
	if a.Status != b.Status {
		found.add(Difference{"status", Value, strconv.Itoa(a.Status), strconv.Itoa(b.Status)})
	}
	for i, name := range c.Fields {
		if was, is := a.Fields[i], b.Fields[i]; !bytes.Equal(was, is) {
			kind := Value
			switch {
			case len(is) == 0:
				kind = Missing
			case len(was) == 0:
				kind = Added
			}
			found.add(Difference{"header." + name, kind, show(name, string(was)), show(name, string(is))})
		}
	}
	if bytes.Equal(a.Body, b.Body) {
		return found.list
	}
	if a.JSON && b.JSON {
		was, ok := parse(a.Body)
		is, fine := parse(b.Body)
		if ok && fine {
			w := walk{c: c, found: &found}
			w.values(was, is)
			return found.list
		}
	}
	found.add(bodies(a.Body, b.Body))
	return found.list
}

// bodies is the difference of two that are no JSON: from where on. Their words are not shown; nobody can say which are secret.
func bodies(a, b []byte) Difference {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	say := func(b []byte) string {
		return strconv.Itoa(len(b)) + " bytes, other from byte " + strconv.Itoa(at) + " on"
	}
	return Difference{"body", Value, say(a), say(b)}
}

// findings are differences, one for each place and kind.
type findings struct {
	list []Difference
	seen map[string]bool
}

func (f *findings) add(d Difference) {
	if len(d.Path) > pathMax {
		d.Path = cut(d.Path, pathMax)
	}
	key := string('0'+rune(d.Kind)) + d.Path
	if f.seen[key] || len(f.list) == DifferencesMax {
		return
	}
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[key] = true
	f.list = append(f.list, d)
}

// Without returns what is left of a list when noise is taken out of it: what differs in a place that is noise, or beneath one.
// Two old answers of which one is a failure have nothing in common, so that all is noise then.
func Without(list, noise []Difference) []Difference {
	var left []Difference
	for _, d := range list {
		if !covered(d.Path, noise) {
			left = append(left, d)
		}
	}
	return left
}

func covered(path string, noise []Difference) bool {
	for i := range noise {
		if n := noise[i].Path; n == "status" || beneath(path, n) {
			return true
		}
	}
	return false
}

// beneath tells whether a path is another, or lies beneath it.
func beneath(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// secrets are in the names of what is not shown.
var secrets = []string{"auth", "token", "secret", "passw", "cookie", "apikey", "credential", "session", "signature", "privatekey", "jwt"}

// Secret tells whether a name is that of something not to be shown.
func Secret(name string) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ' || r == '.':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
	for _, s := range secrets {
		if strings.Contains(plain, s) {
			return true
		}
	}
	return false
}

// masked stands in for secrets.
const masked = "***"

func show(name, value string) string {
	if value != "" && Secret(name) {
		return masked
	}
	return cut(value, textMax)
}

// cut shortens a text, and leaves no half characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing wrong with a document: where, what, and what to write instead.
type Problem struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`   // from 1; 0 when the place is not known
	Column   int      `json:"column,omitempty"` // from 1, in characters; 0 when the place is not known
	Path     string   `json:"path,omitempty"`   // of the value within the document: routes[3].match.path
	Cause    string   `json:"cause"`
	Fix      string   `json:"fix,omitempty"`
}

// Severity tells a problem that forbids using the document from one that only deserves a look.
type Severity int

// An error leaves the running configuration as it is; a warning is reported and the document is used.
const (
	SeverityError Severity = iota
	SeverityWarning
)

// String is the word the severity has in output: error or warning.
func (s Severity) String() string {
	if s == SeverityWarning {
		return "warning"
	}
	return "error"
}

// MarshalText gives JSON the same word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word back, so that what was reported as JSON can be read into the same types.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, known := range []Severity{SeverityError, SeverityWarning} {
		if string(text) == known.String() {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("%q is not a severity, want error or warning", text)
}

// String renders the problem the way compilers do, so that editors and terminals can jump to it; the fix, if one is
// known, follows on an indented line.
//
//	gateway.yaml:12:5: routes[1].clutser: unknown key "clutser"
//	    did you mean "cluster"?
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	if p.Severity == SeverityWarning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Cause)
	if p.Fix != "" {
		b.WriteString("\n    ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// sortProblems puts problems in the order a reader of the file meets them.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func anyError(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == SeverityError })
}

// quotedMax bounds how much of a document's own text a message repeats: enough to recognise it, too little to flood a
// log with.
const quotedMax = 64

// quote shows text of the document inside a message. Go's quoting escapes control characters, so a document cannot
// forge lines of a log.
func quote(s string) string {
	if len(s) > quotedMax {
		return strconv.Quote(strings.ToValidUTF8(s[:quotedMax], "")) + "..."
	}
	return strconv.Quote(s)
}

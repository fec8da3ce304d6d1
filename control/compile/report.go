package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/control/config"
)

// Report is everything found wrong with a document, errors and warnings, in the order of the text.
type Report struct {
	Problems []Problem `json:"problems"`
	// Hidden is how many further problems there are: one wrong template can make the same mistake 100,000 times.
	Hidden int `json:"hidden,omitempty"`

	hiddenErrors bool
}

// Problem is one thing wrong with a document.
type Problem struct {
	config.Problem
	// Witness is a request that shows the problem, as the explain command takes it; empty if none does.
	Witness string `json:"witness,omitempty"`
	// Others are the other parts of the document that the problem is about.
	Others []Place `json:"others,omitempty"`
}

// Place is a part of the document.
type Place struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path"`
}

// problemsMax bounds the problems kept.
const problemsMax = 200

// othersMax bounds the places a problem names: what covers a route may be hundreds of others.
const othersMax = 8

// String renders the problem the way compilers do, details on indented lines.
//
//	gateway.yaml:12:5: routes[1]: route "b" asks for exactly what route "a" asks for
//	    see line 9 (routes[0])
//	    this request shows it: GET http://example.com/
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Problem.String())
	for _, o := range p.Others {
		if o.Line > 0 {
			fmt.Fprintf(&b, "\n    see line %d (%s)", o.Line, o.Path)
		} else {
			fmt.Fprintf(&b, "\n    see %s", o.Path)
		}
	}
	if p.Witness != "" && !strings.Contains(p.Cause, p.Witness) {
		b.WriteString("\n    this request shows it: " + p.Witness)
	}
	return b.String()
}

// Errors reports whether the document cannot be used.
func (r *Report) Errors() bool {
	return r.hiddenErrors || slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Severity == config.SeverityError })
}

// String renders all problems, one after the other, empty if there are none.
func (r *Report) String() string {
	var b strings.Builder
	for i := range r.Problems {
		b.WriteString(r.Problems[i].String() + "\n")
	}
	if r.Hidden > 0 {
		fmt.Fprintf(&b, "%d more problems are not shown\n", r.Hidden)
	}
	return b.String()
}

func (r *Report) add(p Problem) {
	if len(r.Problems) >= problemsMax {
		r.Hidden++
		r.hiddenErrors = r.hiddenErrors || p.Severity == config.SeverityError
		return
	}
	r.Problems = append(r.Problems, p)
}

// sort puts the problems in the order in which a reader of the file meets them, those without a place first.
func (r *Report) sort() {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

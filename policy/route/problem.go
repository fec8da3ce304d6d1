package route

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/yumen-io/yumen/policy/match"
)

// Problem is one thing wrong with a set of specs.
type Problem struct {
	Kind     Kind
	Severity Severity
	// Routes are indices into the specs, the one at fault first; of an unreachable route the one that wins the witness
	// comes second, then the others needed to cover it.
	Routes []int
	// Field is the part of that spec that is wrong, as in "path", "hosts[1]" or "match.headers[0]"; empty if it is the
	// spec as a whole.
	Field string
	// Text is a sentence for people.
	Text string
	// Witness is a request that shows the problem. Nil for bad patterns and matches and for an analysis cut short, which
	// no request shows, and for a duplicate whose regexes defeat the maker of examples.
	Witness *Witness
}

// Kind is the kind of a Problem.
type Kind uint8

const (
	// BadPattern is a host or path pattern that cannot be read. An error.
	BadPattern Kind = iota
	// BadMatch is a match that cannot be compiled or met. An error.
	BadMatch
	// Duplicate is a route that asks for exactly what another one asks for. An error. The witness matches both.
	Duplicate
	// Ambiguous are two routes that one request matches and nothing but spelling puts in order. An error. The witness
	// matches both and one of them wins it.
	Ambiguous
	// Unreachable is a route that never wins, because others before it together take all of its requests. A warning: what
	// it asks for is answered, if not by it, and generated tables may well hold such routes. The witness matches the
	// route and another one wins it. It is reported where it is proven; a cover that only a closer look at regexes or a
	// long search would reveal is not.
	Unreachable
	// Unchecked says that the table has too many routes of equal rank on one pattern to compare them all. A warning.
	Unchecked
)

// String is the word for the kind.
func (k Kind) String() string {
	return [...]string{"bad pattern", "bad match", "duplicate", "ambiguous", "unreachable", "unchecked"}[k]
}

// Severity says whether a table with the problem may be used.
type Severity uint8

const (
	Error Severity = iota
	Warning
)

// String is the word for the severity.
func (s Severity) String() string { return [...]string{"error", "warning"}[s] }

// Witness is a request that shows a problem.
type Witness struct {
	Listener string // empty: any that no route names
	Method   string
	Host     string
	Path     string
	Query    string
	Headers  []Header
}

// Header is one header field of a witness.
type Header struct{ Name, Value string }

// URL returns the request's URL.
func (w *Witness) URL() string {
	u := "http://" + w.Host + w.Path
	if w.Query != "" {
		u += "?" + w.Query
	}
	return u
}

// String writes the request the way the explain command takes it.
func (w *Witness) String() string {
	var b strings.Builder
	b.WriteString(w.Method + " " + w.URL())
	for _, h := range w.Headers {
		fmt.Fprintf(&b, " -H %q", h.Name+": "+h.Value)
	}
	return b.String()
}

// Request returns the witness as Match takes it.
func (w *Witness) Request() *match.Request {
	return &match.Request{
		Listener: w.Listener,
		Host:     []byte(w.Host),
		Method:   []byte(w.Method),
		Path:     []byte(w.Path),
		Query:    []byte(w.Query),
		Fields:   witnessFields(w.Headers),
	}
}

// carry adds what an example of the solver asks for.
func (w *Witness) carry(values []match.Value) {
	var query, cookies []string
	for _, v := range values {
		switch v.Place {
		case match.Header:
			w.Headers = append(w.Headers, Header{v.Name, v.Value})
		case match.Query:
			query = append(query, url.QueryEscape(v.Name)+"="+url.QueryEscape(v.Value))
		case match.Cookie:
			cookies = append(cookies, v.Name+"="+v.Value)
		}
	}
	w.Query = strings.Join(query, "&")
	if cookies != nil {
		w.Headers = append(w.Headers, Header{"cookie", strings.Join(cookies, "; ")})
	}
}

// witnessFields are the headers of a witness as match.Fields.
type witnessFields []Header

// NextField implements match.Fields.
func (f witnessFields) NextField(name string, from int) (value []byte, next int) {
	for i := from; i < len(f); i++ {
		if strings.EqualFold(f[i].Name, name) {
			return []byte(f[i].Value), i + 1
		}
	}
	return nil, -1
}

// label names a route in a message.
func label(specs []Spec, i int) string {
	if s := &specs[i]; s.Name != "" {
		return fmt.Sprintf("route %q", s.Name)
	}
	return fmt.Sprintf("route %d (%s)", i+1, specs[i].Path)
}

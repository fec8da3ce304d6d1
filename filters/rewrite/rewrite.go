package rewrite

import (
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/route"
)

// Spec is what a document says. Empty fields change nothing; Path goes with neither StripPrefix nor Prefix.
type Spec struct {
	StripPrefix string
	Prefix      string
	Path        string
	Host        string
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings: strip_prefix
	Cause string
	Fix   string
}

// Filter is a compiled Spec. It is frozen: any number of loops share it.
type Filter struct {
	spec   Spec
	strip  string  // in normal form, without a slash at its end
	prefix string  // likewise
	path   []piece // empty: there is no template
	host   string
}

// Compile checks s and makes a filter of it, or says everything that is wrong. policy is the one by which the paths of
// requests are brought to normal form.
func Compile(s Spec, policy message.PathPolicy) (*Filter, []Problem) {
	f := &Filter{spec: s, host: s.Host}
	var problems []Problem
	report := func(field, cause, fix string) {
		if cause != "" {
			problems = append(problems, Problem{field, cause, fix})
		}
	}
	fixed := func(field, path string) string {
		if path == "" {
			return ""
		}
		normal, cause, fix := normalPrefix(path, policy)
		report(field, cause, fix)
		return normal
	}
	f.strip, f.prefix = fixed("strip_prefix", s.StripPrefix), fixed("prefix", s.Prefix)
	if s.Path != "" {
		var cause, fix string
		f.path, cause, fix = parseTemplate(s.Path, policy)
		report("path", cause, fix)
		if s.StripPrefix != "" || s.Prefix != "" {
			report("path", "path replaces the whole path, so that strip_prefix and prefix mean nothing",
				"keep path, or strip_prefix and prefix")
		}
	}
	if s.Host != "" {
		cause, fix := judgeAuthority(s.Host)
		report("host", cause, fix)
	}
	if s == (Spec{}) {
		report("", "the filter changes nothing", "write rewrite: {strip_prefix: /api}")
	}
	if problems != nil {
		return nil, problems
	}
	return f, nil
}

// Params are the parameters of the route that the filter needs, written as in a pattern: ":id", "*rest".
func (f *Filter) Params() []string {
	var names []string
	for _, p := range f.path {
		if p.param != "" {
			names = append(names, p.sigil+strings.TrimPrefix(p.param, "*"))
		}
	}
	return names
}

// Request changes a request's head. The path must be in normal form and have been matched by a pattern with all of Params,
// which p holds the values of; those stay valid. It allocates nothing that the head does not keep for the next message.
func (f *Filter) Request(h *message.Head, p *route.Params) {
	switch {
	case f.path != nil:
		f.replacePath(h, p)
	case f.strip != "" || f.prefix != "":
		f.movePath(h)
	}
	if f.host != "" {
		h.SetAuthority(f.host)
	}
}

func (f *Filter) replacePath(h *message.Head, p *route.Params) {
	start := h.RawLen()
	for i := range f.path {
		piece := &f.path[i]
		h.StoreString(piece.literal)
		if piece.param != "" {
			value, _ := p.Get(piece.param)
			h.Store(value)
		}
	}
	h.SetPath(start)
}

// movePath takes strip off and puts prefix before. What is between them is empty or begins with a slash.
func (f *Filter) movePath(h *message.Head) {
	path := h.PathBytes()
	rest := path
	if n := len(f.strip); len(path) >= n && string(path[:n]) == f.strip && (len(path) == n || path[n] == '/') {
		rest = path[n:]
	}
	start := h.RawLen()
	h.StoreString(f.prefix)
	if len(rest) == 0 && f.prefix == "" {
		h.StoreString("/")
	}
	h.Store(rest)
	h.SetPath(start)
}

// String says what the filter does, in the words of the document.
func (f *Filter) String() string {
	var parts []string
	for _, s := range []struct{ key, value string }{
		{"strip_prefix", f.spec.StripPrefix}, {"prefix", f.spec.Prefix}, {"path", f.spec.Path}, {"host", f.spec.Host},
	} {
		if s.value != "" {
			parts = append(parts, s.key+" "+s.value)
		}
	}
	return strings.Join(parts, ", ")
}

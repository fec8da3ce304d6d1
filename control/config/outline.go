package config

import "go.yaml.in/yaml/v3"

// outline is an object without its type: what documentation and fixes need of it.
type outline struct {
	name, about, short string
	keys               []outlineKey
	named              bool // one of many, reached through a name or an index
}

type outlineKey struct {
	name, word, about string
	required, short   bool
	initial           *yaml.Node
	inside            func() *outline
}

func outlineOf[S any](o *object[S]) *outline {
	out := &outline{name: o.name, about: o.about}
	if o.short != nil {
		out.short = o.short.about
	}
	for _, k := range o.keys {
		line := outlineKey{name: k.name, word: k.word, about: k.about, required: k.required, short: k.short, inside: k.inside}
		if k.initial != nil {
			line.initial = k.initial()
		}
		out.keys = append(out.keys, line)
	}
	return out
}

func (o *outline) names() []string {
	out := make([]string, len(o.keys))
	for i, k := range o.keys {
		out[i] = k.name
	}
	return out
}

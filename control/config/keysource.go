package config

import "go.yaml.in/yaml/v3"

// sourceName reads the name of one source of a key, such as the header it is taken from. parts are where a key has its source, and
// the name that belongs to it.
func sourceName[S, T any](source S, k kind[string], parts func(*T) (*S, *string)) kind[T] {
	return kind[T]{
		word:   k.word,
		schema: k.schema,
		read: func(d *decoder, n *yaml.Node, v *T) {
			is, name := parts(v)
			*is = source
			k.read(d, n, name)
		},
		write: func(v *T) *yaml.Node {
			_, name := parts(v)
			return k.write(name)
		},
	}
}

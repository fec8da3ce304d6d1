package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// SizesFilter bounds requests of a route. Zero is no bound.
type SizesFilter struct {
	Pos
	TargetBytes int64
	HeadBytes   int64
	Fields      int
	BodyBytes   int64
	Guard       GuardMode
}

func (v *SizesFilter) guardMode() GuardMode { return v.Guard }

var sizesFilterObject = sync.OnceValue(func() *object[SizesFilter] {
	type T = SizesFilter
	return &object[T]{
		name: "sizes", article: "a",
		about: "Bounds the requests of a route, within the limits that its listener has for all. What is counted is the request as the filters before this one have made it, with the fields that the gateway adds.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("target_bytes", orOff(size(1, 1<<20)), func(v *T) *int64 { return &v.TargetBytes }, 0, `Path and query; more is answered with 414. Off: as the listener says.`),
			def("head_bytes", orOff(size(64, 1<<20)), func(v *T) *int64 { return &v.HeadBytes }, 0, `The head as HTTP/1 writes it; more is answered with 431. Off: as the listener says.`),
			def("fields", orOff(integer(1, 10_000)), func(v *T) *int { return &v.Fields }, 0, `Header fields; more is answered with 431. Off: as the listener says.`),
			def("body_bytes", orOff(size(1, 1<<62)), func(v *T) *int64 { return &v.BodyBytes }, 0, `The body; more is answered with 413, at once if it is declared, else as soon as it has come. Behind decompress it is the decoded body. Off: as the listener says.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && v.TargetBytes == 0 && v.HeadBytes == 0 && v.Fields == 0 && v.BodyBytes == 0 {
				d.fail(n, "write sizes: {body_bytes: 1MB}", "the filter bounds nothing")
			}
		},
	}
})

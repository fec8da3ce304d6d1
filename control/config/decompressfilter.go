package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// DecompressFilter decodes the bodies of requests.
type DecompressFilter struct {
	Pos
	Encodings     []DecompressEncoding
	MaxBody       int64 // bytes, decoded
	MaxRatio      int
	MaxWindow     int64 // bytes
	MemoryPerLoop int64 // bytes
	Guard         GuardMode
}

func (v *DecompressFilter) guardMode() GuardMode { return v.Guard }

// DecompressEncoding is a content coding that is decoded.
type DecompressEncoding string

// The codings.
const (
	DecompressGzip    DecompressEncoding = "gzip"
	DecompressBrotli  DecompressEncoding = "br"
	DecompressZstd    DecompressEncoding = "zstd"
	DecompressDeflate DecompressEncoding = "deflate"
)

var decompressFilterObject = sync.OnceValue(func() *object[DecompressFilter] {
	type T = DecompressFilter
	encodings := []DecompressEncoding{DecompressGzip, DecompressBrotli, DecompressZstd, DecompressDeflate}
	return &object[T]{
		name: "decompress", article: "a",
		about: "Decodes the bodies of requests that have a Content-Encoding, for upstreams that cannot. Other codings are answered 415, bodies that are not what they say 400, and what grows over the bounds 413. At most two codings may be upon each other.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("encodings", oneOrMore(choice("encoding", encodings...)), func(v *T) *[]DecompressEncoding { return &v.Encodings }, encodings,
				`What is decoded: gzip, br, zstd, deflate. By default all.`),
			def("max_body", size(1, 64<<20), func(v *T) *int64 { return &v.MaxBody }, 10<<20,
				`The largest body, decoded. More is answered with 413 as soon as it is seen. All of it may be decoded in one turn of the loop, 10MiB in up to 60 ms, which is why this default is what it is.`),
			def("max_ratio", integer(1, 100_000), func(v *T) *int { return &v.MaxRatio }, 100,
				`How many bytes one encoded byte may become, from the first decoded MiB on. More is answered with 413. Text seldom reaches 20; gzip can reach 1000, by which a small request fills large memory.`),
			def("max_window", size(64<<10, 16<<20), func(v *T) *int64 { return &v.MaxWindow }, 8<<20,
				`How far back a decoder of zstd or br must remember; that is memory. More is answered with 413. 8MiB is what every sender of zstd may rely on.`),
			def("memory_per_loop", size(1<<20, 64<<30), func(v *T) *int64 { return &v.MemoryPerLoop }, 64<<20,
				`How much memory the decoders of one loop may take together: of each body its window, and up to 768 kB. A request for which none is left is answered with 503.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: onOnly[T](),
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) { refuseTwiceAt(d, g, "encodings", v.Encodings) },
	}
})

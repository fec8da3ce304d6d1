package config

import (
	"strconv"
	"sync"

	"go.yaml.in/yaml/v3"
)

// CompressFilter encodes answers as their clients can read them.
type CompressFilter struct {
	Pos
	Encodings     []CompressEncoding
	Levels        CompressLevels
	Types         []string
	MinSize       int64 // bytes
	CrossSite     bool
	MemoryPerLoop int64 // bytes
}

// CompressEncoding is a content coding that answers can have.
type CompressEncoding string

// The codings.
const (
	CompressZstd   CompressEncoding = "zstd"
	CompressBrotli CompressEncoding = "br"
	CompressGzip   CompressEncoding = "gzip"
)

// CompressLevels says how hard each coding tries.
type CompressLevels struct {
	Zstd, Brotli, Gzip int
}

// compressTypes are the content types that are encoded by default. Package compress has the same list.
var compressTypes = []string{
	"text/*", "application/json", "application/*+json", "application/xml", "application/*+xml", "application/javascript",
	"application/x-javascript", "application/x-ndjson", "application/yaml", "application/wasm", "application/vnd.ms-fontobject",
	"image/svg+xml", "font/ttf", "font/otf",
}

var compressFilterObject = sync.OnceValue(func() *object[CompressFilter] {
	type T = CompressFilter
	encodings := []CompressEncoding{CompressZstd, CompressBrotli, CompressGzip}
	return &object[T]{
		name: "compress", article: "a",
		about: "Encodes answers with zstd, brotli or gzip, as the client's Accept-Encoding asks. Bodies are encoded as they pass. What has a coding already, may not be changed (Cache-Control: no-transform), is a part (206) or a call of gRPC passes as it is.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("encodings", oneOrMore(choice("encoding", encodings...)), func(v *T) *[]CompressEncoding { return &v.Encodings }, encodings,
				`What is offered: zstd, br, gzip. Of those that a client likes equally the first is used. zstd first: it makes of the same time the smallest answers.`),
			always("levels", section(compressLevelsObject), func(v *T) *CompressLevels { return &v.Levels },
				`How hard each encoding tries.`),
			def("types", oneOrMore(text("content type", notEmpty)), func(v *T) *[]string { return &v.Types }, compressTypes,
				`Content types that are encoded: text/html, text/* or application/*+json. By default what is text, also by another name. Pictures, films and archives gain nothing.`),
			def("min_size", size(0, 1<<30), func(v *T) *int64 { return &v.MinSize }, 1<<10,
				`Answers that are declared shorter pass as they are: one packet carries them either way. Those of unknown length are encoded always.`),
			def("cross_site", boolean(), func(v *T) *bool { return &v.CrossSite }, false,
				`Encode answers to requests that a browser sends with cookies or credentials because another site says so (Sec-Fetch-Site: cross-site), too. Off: the size of such an answer can tell the other site a secret in it (BREACH).`),
			def("memory_per_loop", size(16<<20, 64<<30), func(v *T) *int64 { return &v.MemoryPerLoop }, 64<<20,
				`How much memory the encoders of one loop may take together. An answer for which none is left passes as it is. An encoder takes 1 to 5 MB, from the first byte of its answer to the last: this is enough for some fifty at once, since most answers end in the turn in which they begin.`),
		},
		short: onOnly[T](),
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			refuseTwiceAt(d, g, "encodings", v.Encodings)
			refuseTwiceAt(d, g, "types", v.Types)
		},
	}
})

// onOnly is the short form "on" of a filter that needs no settings.
func onOnly[T any]() *short[T] {
	return &short[T]{
		about: "on",
		takes: yaml.ScalarNode,
		read: func(d *decoder, n *yaml.Node, _ *T) {
			var is bool
			before := d.errors
			boolean().read(d, n, &is)
			if !is && d.errors == before {
				d.fail(n, "remove the filter from the list", "a filter that is off does nothing")
			}
		},
		schema: boolean().schema,
	}
}

var compressLevelsObject = sync.OnceValue(func() *object[CompressLevels] {
	type T = CompressLevels
	return &object[T]{
		name: "compress_levels", article: "the",
		about: "How hard each encoding tries. A loop serves its other connections between two parts of an answer, so levels that take more than 2.5 ms for 64 kB are refused.",
		keys: []key[T]{
			def("zstd", compressLevel(3), func(v *T) *int { return &v.Zstd }, 1, `1 to 3. 1: as quick as gzip, and smaller.`),
			def("br", compressLevel(4), func(v *T) *int { return &v.Brotli }, 2, `1 to 4. 2: above, it takes much longer for little.`),
			def("gzip", compressLevel(6), func(v *T) *int { return &v.Gzip }, 3, `1 to 6. 3: above, it takes longer for little.`),
		},
	}
})

// compressLevel is a level up to most. Those above, which the codings have, are refused with the reason.
func compressLevel(most int) kind[int] {
	k := integer(1, most)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *int) {
		if level, err := strconv.Atoi(resolved(n).Value); err == nil && level > most {
			d.fail(n, "use "+strconv.Itoa(most)+" at most, or compress in advance",
				"level %d takes more than 2.5 ms for 64 kB, for which all connections of a loop would wait", level)
			return
		}
		read(d, n, v)
	}
	return k
}

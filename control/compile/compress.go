package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/compress"
)

func compressSpec(said *config.CompressFilter) *compress.Spec {
	s := &compress.Spec{Types: said.Types, MinBytes: said.MinSize, CrossSite: said.CrossSite, LoopBytesMax: int(said.MemoryPerLoop),
		Levels: compress.Levels{Gzip: said.Levels.Gzip, Brotli: said.Levels.Brotli, Zstd: said.Levels.Zstd}}
	if said.MinSize == 0 {
		s.MinBytes = -1 // none; zero is a default there
	}
	for _, e := range said.Encodings {
		c, _ := compress.CodingNamed(string(e)) // the parser lists the same
		s.Encodings = append(s.Encodings, c)
	}
	return s
}

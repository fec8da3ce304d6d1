package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/decompress"
)

func decompressSpec(said *config.DecompressFilter) *decompress.Spec {
	s := &decompress.Spec{BodyBytesMax: said.MaxBody, RatioMax: int64(said.MaxRatio), WindowBytesMax: int(said.MaxWindow), LoopBytesMax: int(said.MemoryPerLoop)}
	for _, e := range said.Encodings {
		c, _ := decompress.CodingNamed(string(e)) // the parser lists the same
		s.Encodings = append(s.Encodings, c)
	}
	return s
}

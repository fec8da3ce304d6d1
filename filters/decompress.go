package filters

import (
	"github.com/yumen-io/yumen/filters/decompress"
	"github.com/yumen-io/yumen/gateway"
)

func compileDecompress(s *decompress.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("decompress", c.Name, c.Mode, c.Memory)
	f, problems := decompress.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p decompress.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

package filters

import (
	"github.com/yumen-io/yumen/filters/sizes"
	"github.com/yumen-io/yumen/gateway"
)

func compileSizes(s *sizes.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("sizes", c.Name, c.Mode, c.Memory)
	f, problems := sizes.Compile(*s, guard)
	if f == nil {
		return nil, each(problems, func(p sizes.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

package filters

import (
	"github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/gateway"
)

func compileLimit(s *limit.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("limit", c.Name, c.Mode, c.Memory)
	f, problems := limit.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p limit.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

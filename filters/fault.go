package filters

import (
	"github.com/yumen-io/yumen/filters/fault"
	"github.com/yumen-io/yumen/gateway"
)

func compileFault(s *fault.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("fault", c.Name, c.Mode, c.Memory)
	f, problems := fault.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p fault.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

package filters

import (
	"github.com/yumen-io/yumen/filters/breaker"
	"github.com/yumen-io/yumen/gateway"
)

// The guards that ask how an upstream is.

func compileBreaker(s *breaker.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("breaker", c.Name, c.Mode, c.Memory)
	f, problems := breaker.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p breaker.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

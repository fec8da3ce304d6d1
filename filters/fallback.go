package filters

import (
	"github.com/yumen-io/yumen/filters/fallback"
	"github.com/yumen-io/yumen/gateway"
)

func compileFallback(s *fallback.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("fallback", c.Name, c.Mode, c.Memory)
	f, problems := fallback.Compile(*s, guard)
	if f == nil {
		return nil, each(problems, func(p fallback.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

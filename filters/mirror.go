package filters

import (
	"github.com/yumen-io/yumen/filters/mirror"
	"github.com/yumen-io/yumen/gateway"
)

func compileMirror(s *mirror.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard(mirror.Kind, c.Name, c.Mode, c.Memory)
	f, problems := mirror.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p mirror.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

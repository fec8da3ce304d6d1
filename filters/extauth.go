package filters

import (
	"github.com/yumen-io/yumen/filters/extauth"
	"github.com/yumen-io/yumen/gateway"
)

func compileExtAuth(s *extauth.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("ext_auth", c.Name, c.Mode, c.Memory)
	f, problems := extauth.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p extauth.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

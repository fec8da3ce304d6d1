package filters

import (
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/gateway"
)

// The guards that ask who a client is.

func compileAPIKey(s *apikey.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("api_key", c.Name, c.Mode, c.Memory)
	f, problems := apikey.Compile(*s, guard)
	if f == nil {
		return nil, each(problems, func(p apikey.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

func compileIP(s *ip.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("ip", c.Name, c.Mode, c.Memory)
	f, problems := ip.Compile(*s, guard)
	if f == nil {
		return nil, each(problems, func(p ip.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

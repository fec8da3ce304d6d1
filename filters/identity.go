package filters

import (
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/cors"
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

func compileCORS(s *cors.Spec, c Context) (*Filter, []Problem) {
	policy, problems := cors.Compile(*s)
	if policy == nil {
		return nil, each(problems, func(p cors.Problem) Problem { return Problem(p) })
	}
	guard := gateway.NewGuard("cors", c.Name, c.Mode, c.Memory)
	f := cors.NewFilter(policy, guard)
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

package filters

import (
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/basicauth"
	"github.com/yumen-io/yumen/filters/cors"
	"github.com/yumen-io/yumen/filters/hmacauth"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/filters/jwt"
	"github.com/yumen-io/yumen/filters/mtls"
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

func compileBasicAuth(s *basicauth.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("basic_auth", c.Name, c.Mode, c.Memory)
	f, problems := basicauth.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p basicauth.Problem) Problem { return Problem(p) })
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

func compileMTLS(s *mtls.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("mtls", c.Name, c.Mode, c.Memory)
	f, problems := mtls.Compile(*s, guard)
	if f == nil {
		return nil, each(problems, func(p mtls.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

func compileHMACAuth(s *hmacauth.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("hmac_auth", c.Name, c.Mode, c.Memory)
	f, problems := hmacauth.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p hmacauth.Problem) Problem { return Problem(p) })
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

func compileJWT(s *jwt.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("jwt", c.Name, c.Mode, c.Memory)
	f, problems := jwt.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p jwt.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

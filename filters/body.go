package filters

import (
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/filters/compress"
	"github.com/yumen-io/yumen/gateway"
)

// The filters that look at bodies.

func compileCompress(s *compress.Spec, c Context) (*Filter, []Problem) {
	f, problems := compress.Compile(*s, c.Memory)
	if f == nil {
		return nil, each(problems, func(p compress.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Text: f.String()}, nil
}

func compileCache(s *cache.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("cache", c.Name, c.Mode, c.Memory)
	f, problems := cache.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p cache.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

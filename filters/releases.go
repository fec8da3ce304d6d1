package filters

import (
	"github.com/yumen-io/yumen/filters/colour"
	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/gateway"
)

// The filters that bring new versions to clients.

func compileSplit(s *split.Spec, c Context) (*Filter, []Problem) {
	f, problems := split.Compile(*s, c.Name, c.Memory)
	if f == nil {
		return nil, each(problems, func(p split.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Split: f, Text: f.String()}, nil
}

func compileColour(s *colour.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("colour", c.Name, c.Mode, c.Memory)
	f, problems := colour.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p colour.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Request: f.Before, Text: f.String()}, nil
}

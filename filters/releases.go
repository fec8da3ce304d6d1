package filters

import (
	"github.com/yumen-io/yumen/filters/split"
)

// The filters that bring new versions to clients.

func compileSplit(s *split.Spec, c Context) (*Filter, []Problem) {
	f, problems := split.Compile(*s, c.Name, c.Memory)
	if f == nil {
		return nil, each(problems, func(p split.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Split: f, Text: f.String()}, nil
}

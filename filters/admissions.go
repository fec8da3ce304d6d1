package filters

import (
	"github.com/yumen-io/yumen/filters/admission"
	"github.com/yumen-io/yumen/filters/shed"
	"github.com/yumen-io/yumen/gateway"
)

func compileAdmission(s *admission.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("admission", c.Name, c.Mode, c.Memory)
	f, problems := admission.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p admission.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

func compileShed(s *shed.Spec, c Context) (*Filter, []Problem) {
	guard := gateway.NewGuard("shed", c.Name, c.Mode, c.Memory)
	f, problems := shed.Compile(*s, guard, c.Memory)
	if f == nil {
		return nil, each(problems, func(p shed.Problem) Problem { return Problem(p) })
	}
	return &Filter{Hooks: f.Hooks(), Guard: guard, Text: f.String()}, nil
}

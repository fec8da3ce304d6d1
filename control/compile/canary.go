package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/split"
	judge "github.com/yumen-io/yumen/policy/canary"
)

func canarySpec(said *config.Canary) *split.Canary {
	if said == nil || said.Mode == config.GuardOff {
		return nil
	}
	p := judge.Plan{StepTime: said.StepTime, StepRequests: uint64(said.StepRequests), StepTimeMax: said.StepTimeMax, Risk: said.Risk.Fraction(),
		Errors: tolerance(said.Tolerance.Errors), Latency: tolerance(said.Tolerance.Latency)}
	for _, w := range said.Steps {
		p.Steps = append(p.Steps, w.Fraction())
	}
	return &split.Canary{Variant: said.Variant, Baseline: said.Baseline, Plan: p, Shadow: said.Mode == config.GuardShadow}
}

func tolerance(p config.Percent) float64 {
	if p == 0 {
		return judge.None
	}
	return p.Fraction()
}

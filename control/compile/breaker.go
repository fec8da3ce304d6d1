package compile

import (
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/breaker"
	policy "github.com/yumen-io/yumen/policy/breaker"
)

// breakerScopes and breakerHolds are the words of documents, in the filter's terms.
var (
	breakerScopes = map[config.BreakerScope]breaker.Scope{config.BreakerOfRoute: breaker.ByRoute, config.BreakerOfCluster: breaker.ByCluster}
	breakerHolds  = map[config.BreakerState]breaker.Hold{config.BreakerAuto: breaker.Auto, config.BreakerOpen: breaker.HeldOpen,
		config.BreakerClosed: breaker.HeldClosed}
)

func breakerSpec(said *config.BreakerFilter) *breaker.Spec {
	s := &breaker.Spec{
		Scope: breakerScopes[said.Scope], Hold: breakerHolds[said.State], SlowThan: said.SlowThan,
		On: breaker.On{Connect: said.On.Connect, Reset: said.On.Reset, Timeout: said.On.Timeout},
		Breaker: policy.Config{
			Window: said.Window, Volume: said.Volume, ErrorRatio: neverIfOff(said.ErrorRatio.Fraction()), Consecutive: neverIfOff(said.Consecutive),
			OpenFor: said.OpenFor, OpenMax: said.OpenMax, Probes: said.Probes, RampStep: said.RampStep,
		},
	}
	if said.SlowThan > 0 {
		s.Breaker.SlowRatio = neverIfOff(said.SlowRatio.Fraction())
	}
	for _, r := range said.On.Statuses {
		for status := r.From; status <= r.To; status++ {
			s.On.Statuses = append(s.On.Statuses, status)
		}
	}
	for status, is := range said.On.GRPC {
		if is {
			s.On.GRPC |= 1 << status
		}
	}
	for _, share := range said.Ramp {
		s.Breaker.Ramp = append(s.Breaker.Ramp, share.Fraction())
	}
	if a := said.Adaptive; a != nil {
		s.Breaker.Adaptive = policy.Adaptive{On: true, Score: a.Score, Evidence: a.Evidence, Volume: a.Volume, Learn: int(a.Learn / time.Second),
			RefusedMax: orLittle(a.RefusedMax.Fraction()), CoolDown: max(a.CoolDown, 1), Relearn: a.Relearn}
	}
	return s
}

// neverIfOff is what the policy is told for off: zero is a default there.
func neverIfOff[T int | float64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// orLittle is the same for a share of which nothing is left.
func orLittle(v float64) float64 { return max(v, 1e-9) }

package compile

import (
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/fault"
	rule "github.com/yumen-io/yumen/policy/fault"
)

// faultDistributions are the words of documents.
var faultDistributions = map[config.FaultDistribution]rule.Distribution{
	config.FaultFixed: rule.Fixed, config.FaultUniform: rule.Uniform, config.FaultExponential: rule.Exponential,
}

func faultSpec(said *config.FaultFilter) *fault.Spec {
	s := &fault.Spec{
		Experiment: said.Experiment, Reset: said.Reset, Cut: said.Cut, Slow: said.Slow,
		When:     fault.When{Share: said.When.Share.Fraction(), Clients: said.When.Clients},
		Requests: int64(said.Budget.Requests), Share: said.Budget.Share.Fraction(), Expires: said.Expires, After: said.After,
	}
	for _, h := range said.When.Headers {
		s.When.Headers = append(s.When.Headers, fault.Match{Name: strings.ToLower(h.Name), Value: h.Value})
	}
	for _, c := range said.When.Claims {
		s.When.Claims = append(s.When.Claims, fault.Match{Name: c.Name, Value: c.Value})
	}
	if d := said.Delay; d != nil {
		s.Delay = &rule.Delay{Distribution: faultDistributions[d.Distribution], Time: d.Time, Min: d.Min, Max: d.Max}
	}
	if a := said.Abort; a.GRPC != "" {
		s.Abort = &fault.Abort{GRPC: a.GRPC.Code()}
	} else if a.Status != 0 {
		s.Abort = &fault.Abort{Status: a.Status}
	}
	if w := said.StopWhen; w != nil {
		s.Stop = &rule.Limits{ErrorRatio: w.ErrorRatio.Fraction(), P99: w.P99, Over: w.Over}
	}
	return s
}

package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/admission"
	"github.com/yumen-io/yumen/filters/shed"
	"github.com/yumen-io/yumen/gateway"
	judge "github.com/yumen-io/yumen/policy/admission"
	pressure "github.com/yumen-io/yumen/policy/shed"
)

// priorityClasses are the words of documents, in those of the policy.
var priorityClasses = map[config.PriorityClass]judge.Class{
	config.PriorityCritical: judge.Critical, config.PriorityHigh: judge.High, config.PriorityNormal: judge.Normal, config.PriorityLow: judge.Low,
}

// priorityOf translates where a priority is read from: where, what the words mean, and what is meant without.
func priorityOf(said *config.Priority) (by gateway.KeyParts, words map[string]judge.Class, usual judge.Class) {
	if said == nil {
		return nil, nil, judge.Normal
	}
	words = map[string]judge.Class{}
	for _, m := range said.Meanings() {
		words[m.Name] = priorityClasses[m.Class]
	}
	return keyParts([]config.GuardKey{said.By}), words, priorityClasses[said.Default]
}

func admissionSpec(said *config.AdmissionFilter) *admission.Spec {
	spec := &admission.Spec{Key: keyParts(said.Key), Queue: said.Queue, WaitMax: said.MaxWait, ToHead: said.Hold == config.HoldToHead}
	if said.Limit != 0 {
		spec.Limit.Fixed = int(said.Limit)
	} else {
		spec.Limit.Min, spec.Limit.Max = said.Min, said.Max
	}
	if said.Queue == 0 {
		spec.Queue = -1 // none; zero is a default there
	}
	if len(said.Weights) > 0 {
		spec.Weights = map[string]float64{}
	}
	for _, w := range said.Weights {
		spec.Weights[w.Name] = float64(w.Weight)
	}
	spec.Priority, spec.Words, spec.Default = priorityOf(said.Priority)
	return spec
}

func shedSpec(said *config.ShedFilter) *shed.Spec {
	spec := &shed.Spec{Config: pressure.Config{TurnFrom: said.TurnFrom, TurnTo: said.TurnTo,
		MemoryFrom: said.MemoryFrom.Fraction(), MemoryTo: said.MemoryTo.Fraction(), Recovery: said.Recovery}}
	spec.Priority, spec.Words, spec.Default = priorityOf(said.Priority)
	return spec
}

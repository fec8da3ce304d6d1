package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// ShedFilter gives requests up while this process has more to do than it can.
type ShedFilter struct {
	Pos
	Priority             *Priority // nil: all are alike
	TurnFrom, TurnTo     time.Duration
	MemoryFrom, MemoryTo Percent
	Recovery             time.Duration
	Guard                GuardMode
}

func (v *ShedFilter) guardMode() GuardMode { return v.Guard }

var shedFilterObject = sync.OnceValue(func() *object[ShedFilter] {
	type T = ShedFilter
	return &object[T]{
		name: "shed", article: "a",
		about: "Gives requests up while this process has more to do than it can, the less important first: by how long turns of its loops take, and how much of its memory it uses. Whoever is given up is answered 503 with Retry-After. Routes without it, such as those of health checks, are served to the last.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("priority", priority(), func(v *T) **Priority { return &v.Priority }, priorityAbout+` Of a range of pressure from 0 to 100 %, low is given up by and by in the first quarter, critical in the last.`),
			def("turn_from", duration(100*time.Microsecond, 10*time.Second), func(v *T) *time.Duration { return &v.TurnFrom }, 10*time.Millisecond,
				`The turn time of a loop from which there is pressure. A turn is at most 512 events: some 10 ms of work.`),
			def("turn_to", duration(100*time.Microsecond, 10*time.Second), func(v *T) *time.Duration { return &v.TurnTo }, 50*time.Millisecond,
				`The turn time at which the pressure is 100 %. Every request waits for about two turns; at 50 ms that is felt.`),
			def("memory_from", percent(), func(v *T) *Percent { return &v.MemoryFrom }, 85,
				`The share of the memory in use from which there is pressure: of the limit of the control group (cgroup v2) or of GOMEMLIMIT, whichever is nearer. Without any of them memory makes no pressure.`),
			def("memory_to", percent(), func(v *T) *Percent { return &v.MemoryTo }, 95,
				`The share of the memory at which the pressure is 100 %: what is left is for requests that are under way.`),
			def("recovery", duration(100*time.Millisecond, 10*time.Minute), func(v *T) *time.Duration { return &v.Recovery }, 5*time.Second,
				`How long the pressure takes to fall from 100 % to 0. It rises at once; if it fell at once too, everything would come back at the same moment.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			at := func(names ...string) *yaml.Node {
				for _, name := range names {
					if k := g.key(name); k != nil {
						return k
					}
				}
				return n
			}
			if v.TurnFrom >= v.TurnTo {
				d.fail(at("turn_to", "turn_from"), "raise turn_to or lower turn_from", "turn_to %s is not above turn_from %s", formatDuration(v.TurnTo), formatDuration(v.TurnFrom))
			}
			if v.MemoryFrom == 0 {
				d.fail(at("memory_from"), "write how much is too much: memory_from: 85%", "at memory_from 0%% there would be pressure always")
			} else if v.MemoryFrom >= v.MemoryTo {
				d.fail(at("memory_to", "memory_from"), "raise memory_to or lower memory_from", "memory_to %s is not above memory_from %s", v.MemoryTo, v.MemoryFrom)
			}
		},
	}
})

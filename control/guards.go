package control

import (
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// GuardStatus is a guard of the configuration in force, and what it has decided so far.
type GuardStatus struct {
	Name     string             `json:"name"`
	Kind     string             `json:"kind"`
	Mode     string             `json:"mode"`
	Outcomes map[string]uint64  `json:"outcomes"`
	Numbers  map[string]float64 `json:"numbers,omitempty"`
	Detail   any                `json:"detail,omitempty"`
}

// Guards returns the guards of the configuration in force, in the order of the document.
func (c *Controller) Guards() []GuardStatus {
	plan := c.Plan()
	if plan == nil {
		return nil
	}
	list := make([]GuardStatus, 0, len(plan.Guards))
	for _, g := range plan.Guards {
		s := GuardStatus{Name: g.Name, Kind: g.Kind, Mode: g.Mode.String(), Outcomes: map[string]uint64{}}
		g.Outcomes(func(o gateway.GuardOutcome, n uint64) { s.Outcomes[o.String()] = n })
		if g.Tell != nil {
			s.Numbers = map[string]float64{}
			g.Tell(func(number string, value float64) { s.Numbers[number] = value })
		}
		if g.Detail != nil {
			s.Detail = g.Detail()
		}
		list = append(list, s)
	}
	return list
}

// Guard returns a guard of the configuration in force by its name and, unless that is empty, its kind; nil if there is none.
func (c *Controller) Guard(name, kind string) *gateway.Guard {
	plan := c.Plan()
	if plan == nil {
		return nil
	}
	for _, g := range plan.Guards {
		if g.Name == name && (kind == "" || g.Kind == kind) {
			return g
		}
	}
	return nil
}

// Decisions returns records of what guards have decided, newest first.
func (c *Controller) Decisions(q gateway.DecisionQuery) []gateway.Decision {
	if c.Plan() == nil || c.stopping.Load() {
		return nil
	}
	return c.plane.gateway.Decisions(q)
}

// guardNumbers is for a scrape.
func (c *Controller) guardNumbers(yield func(metrics.Guard) bool) {
	plan := c.Plan()
	if plan == nil {
		return
	}
	for _, g := range plan.Guards {
		m := metrics.Guard{Name: g.Name, Kind: g.Kind, Mode: g.Mode.String(), Numbers: g.Tell,
			Outcomes: func(yield func(string, uint64)) {
				g.Outcomes(func(o gateway.GuardOutcome, n uint64) { yield(o.String(), n) })
			}}
		if !yield(m) {
			return
		}
	}
}

// keepDecisions has the loops keep as many records as the document says.
func (c *Controller) keepDecisions(said *config.Decisions) {
	sample := 0
	if f := said.Sample.Fraction(); f > 0 {
		sample = max(1, int(1/f+0.5))
	}
	c.plane.gateway.SetDecisions(said.Keep, sample)
}

// tick lets what filters remember look after itself, until the gateway is told to stop.
func (c *Controller) tick() {
	t := time.NewTicker(gateway.TickPause)
	defer t.Stop()
	for {
		select {
		case <-c.life.Done():
			return
		case <-t.C:
			c.memory.Tick(mono.Now(), time.Now())
		}
	}
}

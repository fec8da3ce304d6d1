package control

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Dependency is one thing that serving well depends on.
type Dependency struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
	// Required ones decide whether the gateway is ready. A cluster is not: every gateway sees its endpoints fail at the same
	// time, and if all of them then called themselves unready, whoever balances over them would have nobody to send the
	// requests to that need no such cluster.
	Required bool `json:"required"`
}

// Ready reports whether the gateway wants requests, and what that depends on.
func (c *Controller) Ready() (bool, []Dependency) {
	s := c.state()
	ready := true
	var list []Dependency
	add := func(name string, required, ok bool, why string) {
		list = append(list, Dependency{Name: name, OK: ok, Why: why, Required: required})
		ready = ready && (ok || !required)
	}
	switch {
	case c.stopping.Load():
		add("process", true, false, "draining: no new connection is accepted")
	case s.revision.Number == 0:
		add("process", true, false, "starting: no configuration is in force yet")
	default:
		add("process", true, true, "running")
	}
	if s.revision.Number != 0 {
		add("configuration", true, true, fmt.Sprintf("revision %d is in force", s.revision.Number))
	}
	if a := c.lastChange.Load(); a != nil && a.err != nil && (a.result == metrics.ReloadRefused || a.result == metrics.ReloadFailed) {
		add("last change", false, false, fmt.Sprintf("at %s: %v", a.at.UTC().Format(time.RFC3339), a.err))
	}
	for _, l := range s.listeners {
		st := l.status()
		why := "accepts on " + st.Bound
		if !st.Accepting {
			why = st.Why
		}
		add("listener "+st.Name, true, st.Accepting, why)
	}
	c.troubles(func(name, why string) { add(name, false, false, why) })
	for _, cl := range s.clusters {
		st := cl.group.Statuses()
		n := 0
		for _, e := range st {
			if e.State == healthy {
				n++
			}
		}
		total := len(cl.group.Targets())
		why := fmt.Sprintf("%d of %d endpoints are healthy", n, total)
		if missing := cl.unresolved(); len(missing) > 0 {
			why += fmt.Sprintf("; %s does not resolve: %s", missing[0].Name, missing[0].Why)
		}
		add("cluster "+cl.plan.Name, false, n > 0, why)
	}
	return ready, list
}

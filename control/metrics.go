package control

import (
	"net/http"
	"time"

	"github.com/yumen-io/yumen/telemetry/metrics"
)

// serveMetrics serves a scrape.
func (c *Controller) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if c.plane == nil {
		http.Error(w, "the gateway has not started yet", http.StatusServiceUnavailable)
		return
	}
	c.plane.registry.Handler().ServeHTTP(w, r)
}

// sources is what a scrape asks for.
func (c *Controller) sources() metrics.Sources {
	return metrics.Sources{
		Endpoints: func(yield func(metrics.Endpoint) bool) {
			for _, cl := range c.state().clusters {
				for _, st := range cl.group.Statuses() {
					if !yield(metrics.Endpoint{Cluster: cl.plan.Name, Address: st.Address, Healthy: st.State == healthy}) {
						return
					}
				}
			}
		},
		Guards:       c.guardNumbers,
		Splits:       c.splitCounts,
		Loop:         c.plane.counts,
		AccessLog:    c.logs.get,
		Handshakes:   c.plane.countHandshakes,
		Certificates: c.ends,
		Discovery:    c.discoveries,
	}
}

// ends tells when each certificate in use ends.
func (c *Controller) ends() []metrics.Certificate {
	var list []metrics.Certificate
	for _, s := range c.Certificates() {
		if s.NotAfter.IsZero() {
			continue // a stand-in, which nobody trusts anyway
		}
		m := metrics.Certificate{Path: s.Path, Ends: s.NotAfter}
		if s.Kind == CertificateACME {
			m.Name = s.Names[0]
		}
		list = append(list, m)
	}
	return list
}

// attempt is how the last change went.
type attempt struct {
	at     time.Time
	result metrics.ReloadResult
	err    error
}

// attempted notes how a change went, in metrics, log and readiness.
func (c *Controller) attempted(result metrics.ReloadResult, err error) {
	now := time.Now()
	c.lastChange.Store(&attempt{now, result, err})
	if c.plane != nil {
		c.plane.registry.Reloaded(result, c.Current().Number, now)
	}
	switch {
	case err == nil:
	case c.Current().Number == 0: // a start: whoever asked for it is told, and there is nothing that stays
	case result == metrics.ReloadRefused || result == metrics.ReloadFailed:
		c.logger.Error("a configuration was refused, the one in force stays", "revision", c.Current().Number, "error", err)
	default:
		c.logger.Error("a configuration is in force, but not all of it works", "revision", c.Current().Number, "error", err)
	}
}

// forgive forgets a refused change: what is in force was asked for again, so nothing is left to be put right.
func (c *Controller) forgive() { c.lastChange.Store(nil) }

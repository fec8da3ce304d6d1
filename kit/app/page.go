package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// page is what /healthz and /readyz show. Both show the same, and differ in their status codes.
type page struct {
	// Status is ok, degraded (a check that is not critical fails), failing (a critical one does), starting or draining.
	Status  string `json:"status"`
	Service string `json:"service"`
	Ready   bool   `json:"ready"`
	// Phase of its life, since when, and those before with the time they took.
	Phase  string               `json:"phase"`
	Since  time.Time            `json:"since"`
	Past   []pageStep           `json:"past,omitempty"`
	Reason string               `json:"reason,omitempty"` // why it drains
	Flight int                  `json:"in_flight"`
	Checks map[string]pageCheck `json:"checks"`
}

type pageStep struct {
	Phase  string  `json:"phase"`
	TookMS float64 `json:"took_ms"`
}

type pageCheck struct {
	OK       bool       `json:"ok"`
	Critical bool       `json:"critical"`
	Since    time.Time  `json:"since"`           // it is ok, or not
	At       *time.Time `json:"at,omitempty"`    // of the last run's end
	TookMS   float64    `json:"took_ms"`         // of the last run
	Failures int        `json:"failures"`        // in a row
	Error    string     `json:"error,omitempty"` // of the last run
	Running  bool       `json:"hangs,omitempty"` // it has not answered yet, and is late
}

// withheld stands for errors where strangers read: they tell of addresses and versions.
const withheld = "withheld"

// page is how things are. reasons says whether whoever reads it may know why checks fail.
func (a *App) page(reasons bool) *page {
	p := &page{Service: a.cfg.Name, Flight: a.flight.count(), Checks: map[string]pageCheck{}, Status: "ok"}
	failing := false
	for _, k := range a.checks {
		r := k.result()
		c := pageCheck{OK: r.ok, Critical: k.Critical, Since: r.since, TookMS: milliseconds(r.took), Failures: r.failures}
		if r.ran {
			c.At = &r.at
		}
		if r.err != nil {
			c.Error = withheld
			if reasons {
				c.Error = fmt.Sprintf("%.500s", r.err)
			}
		}
		c.Running = r.err != nil && r.ran && k.left()
		p.Checks[k.Name] = c
		if !r.ok {
			p.Status = "degraded"
			failing = failing || k.Critical
		}
	}
	if failing {
		p.Status = "failing"
	}
	a.life.Lock()
	defer a.life.Unlock()
	p.Ready, p.Phase, p.Since, p.Reason = a.life.ready, a.life.phase.String(), a.life.since, a.life.reason
	for _, s := range a.life.past {
		p.Past = append(p.Past, pageStep{s.phase.String(), milliseconds(s.took)})
	}
	switch {
	case a.life.phase < phaseServing:
		p.Status = "starting"
	case a.life.phase > phaseServing:
		p.Status = "draining"
	}
	return p
}

// probe answers /healthz, and /readyz if it is asked whether it is ready: as text, with a line for each check, or as JSON with ?verbose or to
// those who accept it. No check runs for it.
func (a *App) probe(w http.ResponseWriter, r *http.Request, ready, reasons bool) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "ask by GET", http.StatusMethodNotAllowed)
		return
	}
	p := a.page(reasons)
	code := http.StatusOK
	if ready && !p.Ready {
		code = http.StatusServiceUnavailable
	}
	if r.URL.Query().Has("verbose") || strings.Contains(r.Header.Get("Accept"), "application/json") {
		h.Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(p) // the client may have left
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprint(w, p.text(time.Now()))
}

func (p *page) text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "status: %s\nphase: %s for %s\n", p.Status, p.Phase, age(now, p.Since))
	if p.Reason != "" {
		fmt.Fprintf(&b, "draining because: %s\n", p.Reason)
	}
	names := make([]string, 0, len(p.Checks))
	for name := range p.Checks {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		if p.Checks[x].Critical != p.Checks[y].Critical { // critical ones first
			if p.Checks[x].Critical {
				return -1
			}
			return 1
		}
		return cmp.Compare(x, y)
	})
	for _, name := range names {
		c := p.Checks[name]
		word := "ok"
		if !c.OK {
			word = "failing"
		}
		fmt.Fprintf(&b, "%s: %s for %s", name, word, age(now, c.Since))
		if c.Critical {
			b.WriteString(", critical")
		}
		if c.At != nil {
			fmt.Fprintf(&b, ", took %.1f ms", c.TookMS)
		}
		if c.Failures > 0 {
			fmt.Fprintf(&b, ", failed %d times in a row", c.Failures)
		}
		if c.Error != "" {
			fmt.Fprintf(&b, ": %s", strings.ReplaceAll(c.Error, "\n", " "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func age(now, since time.Time) string { return max(now.Sub(since), 0).Round(time.Millisecond).String() }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

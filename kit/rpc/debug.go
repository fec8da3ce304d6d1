package rpc

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
)

// Connection is what a grpc.ClientConn's balancer knows and does.
type Connection struct {
	Target string `json:"target"`
	// Panic: less than PanicThreshold of the base weight is healthy, so that only base weights count.
	Panic        bool    `json:"panic"`
	HealthyShare float64 `json:"healthy_share"`
	// TypicalMS is the median latency; a slow endpoint is one that takes several times as long.
	TypicalMS float64    `json:"typical_ms"`
	Endpoints []Endpoint `json:"endpoints"`
	// Remembered are endpoints that the resolver does not name any more, of which something is still known.
	Remembered int      `json:"remembered"`
	Changes    []Change `json:"changes"`
}

// Endpoint is one of them with every factor of its weight. A factor is between 0 and 1, and 1 takes nothing away.
type Endpoint struct {
	Address string `json:"address"`
	ID      string `json:"id,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"`
	Ready   bool   `json:"ready"`
	Healthy bool   `json:"healthy"`
	// Reason is the word for what takes most of the weight.
	Reason string `json:"reason"`
	// Weight is what it is drawn by, Base times Share; Expected is the part of all calls that it is drawn for.
	Weight   float64 `json:"weight"`
	Expected float64 `json:"expected"`
	Base     float64 `json:"base"`

	CPU         float64 `json:"cpu"`           // as last reported, 0 to 1; -1: never
	Memory      float64 `json:"memory"`        // likewise
	ReportAgeMS float64 `json:"report_age_ms"` // -1: never
	LoadFactor  float64 `json:"load_factor"`   // 1 - max(cpu, mem), smoothed

	LatencyMS     float64 `json:"latency_ms"`      // believed now
	OwnMS         float64 `json:"own_latency_ms"`  // what this process has measured
	SaidMS        float64 `json:"said_latency_ms"` // what the server says of itself
	StalledMS     float64 `json:"stalled_ms"`      // for how long calls are in flight and none is answered
	LatencyFactor float64 `json:"latency_factor"`
	Slowness      float64 `json:"slowness"` // how many times typical, where that is too much; else 1

	ProbeFailures int     `json:"probe_failures"` // in a row
	ProbeFactor   float64 `json:"probe_factor"`
	NoStats       bool    `json:"no_stats,omitempty"` // the server does not answer what is asked
	RoundTripMS   float64 `json:"round_trip_ms"`      // of the last probe
	Failing       float64 `json:"failing"`            // share of calls that fail, lately
	SuccessFactor float64 `json:"success_factor"`
	WarmFactor    float64 `json:"warm_factor"` // slow start

	Product float64 `json:"product"` // of all factors but warm
	Target  float64 `json:"target"`  // after floor, ratio cap and slow start
	Share   float64 `json:"share"`   // of base: after smoothing and the limits of movement

	InFlight     int64  `json:"in_flight"` // of this process
	Streams      int64  `json:"streams"`
	SaidInFlight int64  `json:"said_in_flight"` // of all callers, as last probed
	Calls        uint64 `json:"calls"`          // that have ended
	Failed       uint64 `json:"failed"`
	Probes       uint64 `json:"probes"`
}

// Explain tells of each connection of this Client that is not idle, in the order in which they were made.
func (c *Client) Explain() []Connection {
	list := []Connection{}
	for _, b := range c.balancers() {
		list = append(list, b.explain())
	}
	return list
}

func (b *loadBalancer) explain() Connection {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := mono.Now()
	o := b.mu.outcome
	k := Connection{Target: b.target, Panic: o.Panic, HealthyShare: o.HealthyShare, TypicalMS: milliseconds(o.Typical),
		Remembered: b.mu.gone, Changes: b.mu.history.list(), Endpoints: make([]Endpoint, 0, len(b.mu.current))}
	sum := 0.0
	for _, e := range b.mu.current {
		sum += e.member.Weight.Final
	}
	for _, e := range b.mu.current {
		f, w := e.facts(now, &b.mu.client.settings), &e.member.Weight
		x := Endpoint{
			Address: e.key, Ready: e.ready, Healthy: w.Healthy, Reason: w.Reason.String(), Weight: w.Final, Base: f.Base,
			CPU: f.CPU, Memory: f.Memory, ReportAgeMS: -1, LoadFactor: w.LoadFactor,
			LatencyMS: milliseconds(w.Latency), OwnMS: milliseconds(own(e)),
			SaidMS:    milliseconds(time.Duration(e.saidLatency.Load())),
			StalledMS: milliseconds(f.Stalled), LatencyFactor: w.LatencyFactor, Slowness: w.Slowness,
			ProbeFailures: f.ProbeFailures, ProbeFactor: w.ProbeFactor, NoStats: e.noStat.Load() != 0,
			RoundTripMS: milliseconds(time.Duration(e.roundTrip.Load())),
			Failing:     f.Failures, SuccessFactor: w.SuccessFactor, WarmFactor: w.WarmFactor,
			Product: w.Product, Target: w.Target, Share: w.Share,
			InFlight: e.inFlight.Load(), Streams: e.streams.Load(), SaidInFlight: e.saidInFlight.Load(),
			Calls: e.calls.Load(), Failed: e.failed.Load(), Probes: e.probes.Load(),
		}
		if !e.settled {
			x.Reason = "connecting"
		}
		if e.loadAt.Load() > 0 {
			x.ReportAgeMS = milliseconds(f.LoadAge)
		}
		if e.instance != nil {
			x.ID, x.Zone, x.Version = e.instance.ID, e.instance.Zone, e.instance.Version
		}
		if sum > 0 {
			x.Expected = w.Final / sum
		}
		k.Endpoints = append(k.Endpoints, x)
	}
	return k
}

// DebugHandler answers with Explain: as text for people, as JSON with ?format=json or where the request accepts nothing
// but that. It is meant for /debug/lb of an administrative port: it names addresses.
func (c *Client) DebugHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		list := c.Explain()
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Query().Get("format") == "json" || strings.HasPrefix(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			// An error here is a reader who has left.
			_ = json.NewEncoder(w).Encode(list)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		writeText(w, list)
	})
}

func own(e *endpoint) time.Duration { return loadaware.Average(e.own.load()).Duration() }

// writeText is one table for each connection.
func writeText(out io.Writer, list []Connection) {
	if len(list) == 0 {
		fmt.Fprintln(out, "no connections")
	}
	for _, k := range list {
		fmt.Fprintf(out, "%s\nhealthy %.0f %%, typical latency %.1f ms, %d remembered", k.Target, 100*k.HealthyShare, k.TypicalMS,
			k.Remembered)
		if k.Panic {
			fmt.Fprint(out, ", PANIC: base weights only")
		}
		fmt.Fprint(out, "\n\nshare = load x latency x probe x success, held by floor and ratio cap, x warm, smoothed; weight = base x share\n\n")
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "endpoint\tcalls to it\tweight\tbase\tshare\ttarget\tload\tlatency\tprobe\tsuccess\twarm\tslowness\t"+
			"cpu\tmem\tms\tin flight\tcalls\tfailed\treason\t")
		for _, e := range k.Endpoints {
			fmt.Fprintf(t, "%s\t%.1f %%\t%.1f\t%.0f\t%.2f\t%.2f\t", e.Address, 100*e.Expected, e.Weight, e.Base, e.Share, e.Target)
			fmt.Fprintf(t, "%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t", e.LoadFactor, e.LatencyFactor, e.ProbeFactor, e.SuccessFactor,
				e.WarmFactor, e.Slowness)
			fmt.Fprintf(t, "%.2f\t%.2f\t%.1f\t%d\t%d\t%d\t%s\t\n", e.CPU, e.Memory, e.LatencyMS, e.InFlight+e.Streams, e.Calls, e.Failed,
				e.Reason)
		}
		_ = t.Flush()
		fmt.Fprintln(out)
		for _, c := range k.Changes {
			fmt.Fprintf(out, "%s  %s  %.2f to %.2f  %s\n", c.At.UTC().Format("15:04:05.000"), c.Endpoint, c.From, c.To, c.Reason)
		}
		fmt.Fprintln(out)
	}
}

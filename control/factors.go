package control

import (
	"time"

	"github.com/yumen-io/yumen/policy/balance"
)

// EndpointFactors are what a load_aware weight is made of, in the words of kit/rpc's page: those of the loop that has sent the endpoint
// the most requests. A factor is between 0 and 1, and 1 takes nothing away.
type EndpointFactors struct {
	// Reason is the word for what takes most of the weight.
	Reason string `json:"reason"`
	// Weight is what it is drawn by, Base times Share; Expected is the part of all requests that it is drawn for.
	Weight   float64 `json:"weight"`
	Expected float64 `json:"expected"`
	Base     float64 `json:"base"`

	CPU         float64 `json:"cpu"`           // as last reported, 0 to 1; -1: never
	Memory      float64 `json:"memory"`        // likewise
	ReportAgeMS float64 `json:"report_age_ms"` // -1: never
	LoadFactor  float64 `json:"load_factor"`   // 1 - max(cpu, mem), smoothed

	LatencyMS     float64 `json:"latency_ms"`      // believed now
	OwnMS         float64 `json:"own_latency_ms"`  // what the loop has measured
	SaidMS        float64 `json:"said_latency_ms"` // what the server says of itself
	TypicalMS     float64 `json:"typical_ms"`      // the median of the cluster
	StalledMS     float64 `json:"stalled_ms"`      // for how long requests wait and none is answered
	LatencyFactor float64 `json:"latency_factor"`
	Slowness      float64 `json:"slowness"` // how many times typical, where that is too much; else 1

	Failing       float64 `json:"failing"` // share of requests that fail, lately
	SuccessFactor float64 `json:"success_factor"`
	WarmFactor    float64 `json:"warm_factor"` // slow start

	Product float64 `json:"product"` // of all factors but warm
	Target  float64 `json:"target"`  // after floor, ratio cap and slow start
	Share   float64 `json:"share"`   // of base: after smoothing and the limits of movement

	Calls            uint64 `json:"calls"` // that have ended, on all loops
	Failed           uint64 `json:"failed"`
	MalformedReports uint64 `json:"malformed_reports"` // that could not be read
}

func factorsOf(f *balance.Factors) *EndpointFactors {
	if f == nil {
		return nil
	}
	e := &EndpointFactors{
		Reason: f.Reason.String(), Weight: f.Final, Expected: f.Expected, Base: f.Base,
		CPU: f.Facts.CPU, Memory: f.Facts.Memory, ReportAgeMS: -1, LoadFactor: f.LoadFactor,
		LatencyMS: exactMilliseconds(f.Latency), OwnMS: exactMilliseconds(f.Own), SaidMS: exactMilliseconds(f.Said), TypicalMS: exactMilliseconds(f.Typical),
		StalledMS: exactMilliseconds(f.Facts.Stalled), LatencyFactor: f.LatencyFactor, Slowness: f.Slowness,
		Failing: f.Facts.Failures, SuccessFactor: f.SuccessFactor, WarmFactor: f.WarmFactor,
		Product: f.Product, Target: f.Target, Share: f.Share,
		Calls: f.Calls, Failed: f.Failed, MalformedReports: f.Malformed,
	}
	if f.Reported {
		e.ReportAgeMS = exactMilliseconds(f.Facts.LoadAge)
	}
	return e
}

// exactMilliseconds does not round to microseconds: what a handler takes may be less.
func exactMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

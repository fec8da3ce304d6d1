package loadaware

import (
	"fmt"
	"time"
)

// Settings of a pool. The zero value means the defaults; Filled puts them in. It is not changed while in use.
type Settings struct {
	// LatencyScale is the latency that lowers a weight to 1/e. 100 ms by default; above 0.
	LatencyScale time.Duration
	// Floor is the share of its base below which no endpoint that can be used falls. 0.05 by default; 0 to 1.
	Floor float64
	// RatioMax is by how much the best share of base may exceed the worst. 10 by default; at least 1.
	RatioMax float64
	// Smoothing is the time in which a weight goes two thirds of its way. 1 s by default.
	Smoothing time.Duration
	// FallPerSecond and RisePerSecond are the shares of base by which a weight may move in a second: 0.5 and 0.1 by
	// default. Bad news is followed faster than good: the first costs calls, the second only balance.
	FallPerSecond, RisePerSecond float64
	// SlowStart is how long an endpoint takes to warm up, from a tenth of its weight. 10 s by default; below 0: none.
	SlowStart time.Duration
	// PanicThreshold is the share of healthy base weight below which health is not believed. 0.5 by default; below 0: never.
	PanicThreshold float64
	// ProbeFailuresMax is how many probes in a row must fail for an endpoint to be unhealthy. 3 by default.
	ProbeFailuresMax int
	// LoadMemory is how long a report of load counts. 15 s by default, three probes.
	LoadMemory time.Duration
	// LatencyMemory is how fast a bad latency is forgotten when there are no calls. 30 s by default.
	LatencyMemory time.Duration
	// Tolerance is how many times the typical latency an endpoint may take before it counts as slow. 2.5 by default, at
	// least 1: below 2 the noise of a few samples is taken for slowness.
	Tolerance float64
}

// Filled returns the settings with defaults where they are zero.
func (s Settings) Filled() Settings {
	fill(&s.LatencyScale, 100*time.Millisecond)
	fill(&s.Floor, 0.05)
	fill(&s.RatioMax, 10)
	fill(&s.Smoothing, time.Second)
	fill(&s.FallPerSecond, 0.5)
	fill(&s.RisePerSecond, 0.1)
	fill(&s.SlowStart, 10*time.Second)
	fill(&s.PanicThreshold, 0.5)
	fill(&s.ProbeFailuresMax, 3)
	fill(&s.LoadMemory, 15*time.Second)
	fill(&s.LatencyMemory, 30*time.Second)
	fill(&s.Tolerance, 2.5)
	return s
}

// Check tells what is wrong with settings that Filled has completed: one error for the first field that is.
func (s *Settings) Check() error {
	switch {
	case s.LatencyScale <= 0:
		return fmt.Errorf("setting LatencyScale is %v, it must be above 0", s.LatencyScale)
	case !(s.Floor >= 0 && s.Floor <= 1):
		return fmt.Errorf("setting Floor is %v, it must be between 0 and 1", s.Floor)
	case !(s.RatioMax >= 1):
		return fmt.Errorf("setting RatioMax is %v, it must be at least 1", s.RatioMax)
	case s.Smoothing < 0:
		return fmt.Errorf("setting Smoothing is %v, it must not be negative", s.Smoothing)
	case !(s.FallPerSecond > 0):
		return fmt.Errorf("setting FallPerSecond is %v, it must be above 0", s.FallPerSecond)
	case !(s.RisePerSecond > 0):
		return fmt.Errorf("setting RisePerSecond is %v, it must be above 0", s.RisePerSecond)
	case !(s.PanicThreshold <= 1):
		return fmt.Errorf("setting PanicThreshold is %v, it must not exceed 1", s.PanicThreshold)
	case s.ProbeFailuresMax < 0:
		return fmt.Errorf("setting ProbeFailuresMax is %d, it must not be negative", s.ProbeFailuresMax)
	case s.LoadMemory < 0 || s.LatencyMemory < 0:
		return fmt.Errorf("setting LoadMemory is %v and LatencyMemory %v, they must not be negative", s.LoadMemory, s.LatencyMemory)
	case !(s.Tolerance >= 1):
		return fmt.Errorf("setting Tolerance is %v, it must be at least 1", s.Tolerance)
	}
	return nil
}

func fill[T int | float64 | time.Duration](v *T, preset T) {
	if *v == 0 {
		*v = preset
	}
}

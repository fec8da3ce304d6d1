package breaker

import (
	"fmt"
	"strings"
	"time"
)

// Config is when a breaker opens and how it comes back. The zero value has the defaults.
type Config struct {
	// Window is what ratios are taken over; 0 means 10 s. Short windows are quick and know little.
	Window time.Duration
	// Volume is how many requests must have ended in the window before a ratio means anything; 0 means 20.
	Volume int
	// ErrorRatio of failures that opens, from 0 to 1; 0 means 0.5, below 0 or above 1 never.
	ErrorRatio float64
	// Consecutive failures that open, whatever the volume; 0 means 20, below 0 never.
	Consecutive int
	// SlowRatio of slow calls that opens; 0 or below never. What is slow is for the caller to say.
	SlowRatio float64
	// OpenFor is how long it is open the first time; 0 means 5 s. Each failed return doubles it, up to OpenMax; 0 means 15 s: a return that
	// fails costs a few requests, one that waits costs all that could have been answered.
	OpenFor time.Duration
	OpenMax time.Duration
	// Probes are let through on each step of half-open; 0 means 5.
	Probes int
	// Ramp are the shares that pass on the steps above the probes; nil means 0.01, 0.05, 0.25.
	Ramp []float64
	// RampStep is how long such a step takes at least; 0 means 1 s.
	RampStep time.Duration

	Adaptive Adaptive
}

// Adaptive is about the score. The zero value has it off.
type Adaptive struct {
	On bool
	// Score from which a second speaks against the service, from 0 to 1; 0 means 0.55. Seconds of healthy services score
	// 0.35 to 0.5, one with a single feature far off 0.7 to 0.76, one with all three above 0.85.
	Score float64
	// Evidence that opens: what scores exceed Score by, added up from second to second; 0 means 0.45.
	Evidence float64
	// Volume is how many requests a second must have to be scored; one of fewer is joined with the next. 0 means 20.
	Volume int
	// Learn is how many healthy seconds it takes before the score means anything; 0 means 30.
	Learn int
	// RefusedMax is the largest share that may be refused while only the score has opened; 0 means 0.9, at most 1.
	RefusedMax float64
	// CoolDown is how long the score is silent after closing; 0 means 10 s.
	CoolDown time.Duration
	// Relearn is how long the score alone may keep a breaker from closing before it is held to be wrong: what was learnt is then
	// forgotten, since the service has most likely changed for good. 0 means 5 min.
	Relearn time.Duration
}

func (c Config) withDefaults() Config {
	if c.Window <= 0 {
		c.Window = 10 * time.Second
	}
	c.Window = max(c.Window, windowBuckets)
	if c.Volume <= 0 {
		c.Volume = 20
	}
	if c.ErrorRatio == 0 {
		c.ErrorRatio = 0.5
	}
	if c.Consecutive == 0 {
		c.Consecutive = 20
	}
	if c.OpenFor <= 0 {
		c.OpenFor = 5 * time.Second
	}
	if c.OpenMax <= 0 {
		c.OpenMax = 15 * time.Second
	}
	c.OpenMax = max(c.OpenMax, c.OpenFor)
	if c.Probes <= 0 {
		c.Probes = 5
	}
	if c.Ramp == nil {
		c.Ramp = []float64{0.01, 0.05, 0.25}
	}
	if c.RampStep <= 0 {
		c.RampStep = time.Second
	}
	c.Adaptive = c.Adaptive.withDefaults()
	return c
}

func (a Adaptive) withDefaults() Adaptive {
	if a.Score <= 0 {
		a.Score = 0.55
	}
	if a.Evidence <= 0 {
		a.Evidence = 0.45
	}
	if a.Volume <= 0 {
		a.Volume = 20
	}
	if a.Learn <= 0 {
		a.Learn = 30
	}
	if a.RefusedMax <= 0 {
		a.RefusedMax = 0.9
	}
	a.RefusedMax = min(a.RefusedMax, 1)
	if a.CoolDown <= 0 {
		a.CoolDown = 10 * time.Second
	}
	if a.Relearn <= 0 {
		a.Relearn = 5 * time.Minute
	}
	return a
}

// RunMax is how many failures in a row open; 0: none do.
func (c Config) RunMax() uint32 { return uint32(max(c.withDefaults().Consecutive, 0)) }

// OpenFirst is how long a breaker is open the first time.
func (c Config) OpenFirst() time.Duration { return c.withDefaults().OpenFor }

// String says in one line when it opens and for how long.
func (c Config) String() string {
	c = c.withDefaults()
	var b strings.Builder
	sep := "opens at "
	part := func(format string, args ...any) {
		b.WriteString(sep)
		fmt.Fprintf(&b, format, args...)
		sep = ", or "
	}
	if c.ErrorRatio >= 0 && c.ErrorRatio <= 1 {
		part("%g %% failures in %s, from %d requests on", c.ErrorRatio*100, c.Window, c.Volume)
	}
	if c.Consecutive > 0 {
		part("%d failures in a row", c.Consecutive)
	}
	if c.SlowRatio > 0 {
		part("%g %% slow calls", c.SlowRatio*100)
	}
	if c.Adaptive.On {
		part("seconds unlike healthy ones, scored %g or more", c.Adaptive.Score)
	}
	if sep == "opens at " {
		b.WriteString("never opens")
		return b.String()
	}
	fmt.Fprintf(&b, "; for %s at first, up to %s, then lets %d probes through", c.OpenFor, c.OpenMax, c.Probes)
	for _, share := range c.Ramp {
		fmt.Fprintf(&b, ", %g %%", share*100)
	}
	return b.String()
}

package breaker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	core "github.com/yumen-io/yumen/policy/breaker"
	"google.golang.org/grpc/codes"
)

// Mode is whether refusals take effect.
type Mode uint8

// Modes.
const (
	Enforce Mode = iota
	Shadow       // judge, count and tell, and let all go on; how those end that would have been refused does not count
)

// String returns the word of logs and metrics.
func (m Mode) String() string {
	if m == Shadow {
		return "shadow"
	}
	return "enforce"
}

// Never is what turns a rule off.
const Never = -1

// Config is when breakers open and how they come back. The zero value has the defaults, which are the gateway's.
type Config struct {
	Mode Mode
	// Window is what ratios are taken over, 1 s to 10 min; 0 means 10 s. Short windows are quick and know little.
	Window time.Duration
	// Volume is how many calls must have ended in the window before a ratio means anything; 0 means 20.
	Volume int
	// ErrorRatio of failures that opens, above 0 to 1; 0 means 0.5, Never turns it off.
	ErrorRatio float64
	// Consecutive failures that open, whatever the volume; 0 means 20, Never turns it off.
	Consecutive int
	// SlowThan is from when a call is slow, until the answer begins; 0 means none is. SlowRatio of slow calls opens, from 0 to 1; 0
	// means never.
	SlowThan  time.Duration
	SlowRatio float64
	// OpenFor is how long a breaker is open the first time; 0 means 5 s. Each failed return doubles it, up to OpenMax; 0 means 15 s:
	// a return that fails costs a few calls, one that waits costs all that could have been answered.
	OpenFor time.Duration
	OpenMax time.Duration
	// Probes are let through on each step of half-open, 1 to 1000; 0 means 5.
	Probes int
	// Ramp are the shares that pass on the steps after the probes, from 0 to 1; nil means 0.01, 0.05, 0.25.
	Ramp []float64
	// RampStep is how long such a step takes at least; 0 means 1 s.
	RampStep time.Duration
	Adaptive Adaptive

	// TimeoutMin is how long a call must have had for its deadline to count as a timeout; 0 means 10 ms. A caller who leaves less
	// has given up rather than found out.
	TimeoutMin time.Duration
	// Statuses of HTTP that are failures, from 400 to 599; nil means 500, 502, 503 and 504.
	Statuses []int
	// Codes of gRPC that are failures; nil means UNAVAILABLE, as the others are often the request's fault. That a deadline
	// passed is a failure anyhow.
	Codes []codes.Code

	// KeysMax is how many keys have a breaker, 1 to 100,000; 0 means 1,000, which take 5 MB at most.
	KeysMax int
	// OnDecision is called with each decision, before it takes effect; nil means nobody is told.
	OnDecision func(Decision)
	// OnChange is called after a state has changed; nil means nobody is told. Changes are logged as well.
	OnChange func(Change)
	Logger   *slog.Logger // nil means slog.Default()
	// Clock is the time; nil means time.Now. Set does not change it.
	Clock func() time.Time
}

// Adaptive is about the rule that learns. The zero value has it off.
type Adaptive struct {
	On bool
	// Score from which a second speaks against the dependency, from 0 to 1; 0 means 0.55. Healthy seconds score 0.35 to 0.5, one
	// with a single feature far off 0.7 to 0.76, one with all three above 0.85.
	Score float64
	// Evidence that opens: what scores exceed Score by, added up from second to second; 0 means 0.45.
	Evidence float64
	// Volume is how many calls a second must have to be scored; one of fewer is joined with the next. 0 means 20.
	Volume int
	// Learn is how many healthy seconds it takes before the score means anything; 0 means 30.
	Learn int
	// RefusedMax is the largest share that may be refused while only the score has opened; 0 means 0.9.
	RefusedMax float64
	// CoolDown is how long the score is silent after closing; 0 means 10 s.
	CoolDown time.Duration
	// Relearn is how long the score alone may keep a breaker from closing before what was learnt is forgotten; 0 means 5 min.
	Relearn time.Duration
}

const (
	keysMaxDefault = 1000
	keysMaxMax     = 100_000
	timeoutDefault = 10 * time.Millisecond
	probesMax      = 1000
)

// settings are a Config as breakers follow it. Frozen.
type settings struct {
	cfg      Config
	core     core.Config
	run      uint32    // failures in a row that open; 0: never
	statuses [4]uint64 // bits: those from 400 on
	codes    uint32    // bits
}

func compile(cfg Config) (*settings, error) {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("breaker: "+format, args...)) }
	if cfg.Mode > Shadow {
		bad("Mode: %d is none", cfg.Mode)
	}
	if cfg.Window != 0 && (cfg.Window < time.Second || cfg.Window > 10*time.Minute) {
		bad("Window: %v is not between 1s and 10m", cfg.Window)
	}
	if cfg.ErrorRatio != Never && !(cfg.ErrorRatio >= 0 && cfg.ErrorRatio <= 1) {
		bad("ErrorRatio: %v is not between 0 and 1", cfg.ErrorRatio)
	}
	if !(cfg.SlowRatio >= 0 && cfg.SlowRatio <= 1) {
		bad("SlowRatio: %v is not between 0 and 1", cfg.SlowRatio)
	}
	if cfg.SlowRatio > 0 && cfg.SlowThan <= 0 {
		bad("SlowThan: say from when a call is slow, or leave out SlowRatio")
	}
	if cfg.Consecutive < Never {
		bad("Consecutive: %d is below 0", cfg.Consecutive)
	}
	if cfg.Volume < 0 {
		bad("Volume: %d is below 0", cfg.Volume)
	}
	if cfg.Probes < 0 || cfg.Probes > probesMax {
		bad("Probes: %d is not between 1 and %d", cfg.Probes, probesMax)
	}
	for _, t := range []struct {
		field string
		is    time.Duration
	}{{"OpenFor", cfg.OpenFor}, {"OpenMax", cfg.OpenMax}, {"RampStep", cfg.RampStep}, {"SlowThan", cfg.SlowThan}, {"TimeoutMin", cfg.TimeoutMin},
		{"Adaptive.CoolDown", cfg.Adaptive.CoolDown}, {"Adaptive.Relearn", cfg.Adaptive.Relearn}} {
		if t.is < 0 {
			bad("%s: %v is below 0", t.field, t.is)
		}
	}
	for _, share := range cfg.Ramp {
		if !(share >= 0 && share <= 1) {
			bad("Ramp: %v is not between 0 and 1", share)
		}
	}
	a := &cfg.Adaptive
	for _, r := range []struct {
		field string
		is    float64
	}{{"Score", a.Score}, {"RefusedMax", a.RefusedMax}} {
		if !(r.is >= 0 && r.is <= 1) {
			bad("Adaptive.%s: %v is not between 0 and 1", r.field, r.is)
		}
	}
	if !(a.Evidence >= 0) || a.Volume < 0 || a.Learn < 0 {
		bad("Adaptive: Evidence, Volume and Learn are not below 0")
	}
	if cfg.KeysMax == 0 {
		cfg.KeysMax = keysMaxDefault
	}
	if cfg.KeysMax < 1 || cfg.KeysMax > keysMaxMax {
		bad("KeysMax: %d is not between 1 and %d", cfg.KeysMax, keysMaxMax)
	}
	if cfg.TimeoutMin == 0 {
		cfg.TimeoutMin = timeoutDefault
	}
	if cfg.Statuses == nil {
		cfg.Statuses = []int{500, 502, 503, 504}
	}
	if cfg.Codes == nil {
		cfg.Codes = []codes.Code{codes.Unavailable}
	}
	s := &settings{}
	for _, status := range cfg.Statuses {
		if status < 400 || status > 599 {
			bad("Statuses: %d is not between 400 and 599", status)
			continue
		}
		s.statuses[(status-400)/64] |= 1 << ((status - 400) % 64)
	}
	for _, code := range cfg.Codes {
		if code < 1 || code > 16 {
			bad("Codes: %d is none of a failed call", code)
			continue
		}
		s.codes |= 1 << code
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s.cfg = cfg
	s.core = core.Config{
		Window: cfg.Window, Volume: cfg.Volume, ErrorRatio: cfg.ErrorRatio, Consecutive: cfg.Consecutive, SlowRatio: cfg.SlowRatio,
		OpenFor: cfg.OpenFor, OpenMax: cfg.OpenMax, Probes: cfg.Probes, Ramp: cfg.Ramp, RampStep: cfg.RampStep,
		Adaptive: core.Adaptive{On: a.On, Score: a.Score, Evidence: a.Evidence, Volume: a.Volume, Learn: a.Learn,
			RefusedMax: a.RefusedMax, CoolDown: a.CoolDown, Relearn: a.Relearn},
	}
	s.run = s.core.RunMax()
	return s, nil
}

func (s *settings) failsStatus(status int) bool {
	i := uint(status - 400)
	return i < 200 && s.statuses[i/64]>>(i%64)&1 != 0
}

func (s *settings) failsCode(code codes.Code) bool { return code < 32 && s.codes>>code&1 != 0 }

package retry

import (
	"errors"
	"fmt"
	"time"

	core "github.com/yumen-io/yumen/policy/retry"
	"google.golang.org/grpc/codes"
)

// Mode is whether retries take place.
type Mode uint8

// Modes.
const (
	Enforce Mode = iota
	Shadow       // decide, count and tell, and try everything once
)

// String returns the word of logs and metrics.
func (m Mode) String() string {
	if m == Shadow {
		return "shadow"
	}
	return "enforce"
}

// Never is what turns something off.
const Never = -1

// Config is what is tried again. The zero value is one more try for whatever is safe.
type Config struct {
	Mode Mode
	// Attempts in all, with the first, 1 to 10; 0 means 2. More tries of one request rarely help: they meet the same outage.
	Attempts int
	// PerTry is how long one try may take until the answer begins; 0 means as long as the request.
	PerTry time.Duration
	// Statuses of HTTP that are tried again, from 400 to 599; none by default: a status is an answer, and a 503 more often than not a request
	// for less traffic.
	Statuses []int
	// Codes of gRPC that are tried again; none by default: all calls are POSTs, and only you know which may be made twice.
	Codes []codes.Code
	// BackoffBase bounds the first wait; 0 means 25 ms, Never no waiting. The bound doubles with each, up to BackoffMax; 0 means
	// ten times BackoffBase.
	BackoffBase time.Duration
	BackoffMax  time.Duration
	// PushbackMax is the longest that a server may have a try wait; 0 means 5 s. If it says more there is none.
	PushbackMax time.Duration
	// BudgetRatio of retries to requests of a key over ten seconds; 0 means 0.2, Never none. BudgetFloor is how many a second a
	// quiet key may have beside; 0 means 3, Never none.
	BudgetRatio float64
	BudgetFloor float64
	// Hedge has a second try begin beside a first that is slow to answer; the zero value has none.
	Hedge Hedge
	// KeysMax is how many keys have a budget, 1 to 100,000; 0 means 1,000, of 1 kB each. The others share one.
	KeysMax int
	// OnDecision is called with what was decided after each try that failed, and for each hedge; nil means nobody is told.
	OnDecision func(Decision)
	// Clock is the time; nil means time.Now. Set does not change it.
	Clock func() time.Time
}

// Hedge is a second try for a safe request (GET, HEAD, OPTIONS, TRACE, or WithIdempotent) whose first is slow to answer, of which the one
// that answers first counts. It is a retry: it counts as one of Config.Attempts and in the budget. Servers see it as a request that
// was cancelled.
type Hedge struct {
	// Quantile of the times in which answers of the key began after which it begins, from 0 to 1, as 0.95; 0: After alone says when.
	Quantile float64
	// After is how long the first try is waited for at least, and just so long without a Quantile, or while too little is known for
	// one (64 answers).
	After time.Duration
}

func (h Hedge) on() bool { return h.Quantile > 0 || h.After > 0 }

const (
	keysMaxDefault  = 1000
	keysMaxMax      = 100_000
	attemptsMax     = 10
	pushbackDefault = 5 * time.Second
)

// settings are a Config as requests follow it. Frozen.
type settings struct {
	cfg    Config
	policy *core.Policy
	hedge  core.Hedge
	budget core.BudgetConfig
}

func compile(cfg Config) (*settings, error) {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("retry: "+format, args...)) }
	if cfg.Mode > Shadow {
		bad("Mode: %d is none", cfg.Mode)
	}
	if cfg.Attempts < 0 || cfg.Attempts > attemptsMax {
		bad("Attempts: %d is not between 1 and %d", cfg.Attempts, attemptsMax)
	}
	if cfg.PerTry < 0 {
		bad("PerTry: %v is below 0", cfg.PerTry)
	}
	if cfg.BackoffBase < Never || cfg.BackoffMax < 0 {
		bad("BackoffBase, BackoffMax: %v, %v are below 0", cfg.BackoffBase, cfg.BackoffMax)
	}
	if cfg.PushbackMax < 0 {
		bad("PushbackMax: %v is below 0", cfg.PushbackMax)
	}
	if cfg.BudgetRatio != Never && !(cfg.BudgetRatio >= 0 && cfg.BudgetRatio <= 10) {
		bad("BudgetRatio: %v is not between 0 and 10", cfg.BudgetRatio)
	}
	if cfg.BudgetFloor != Never && !(cfg.BudgetFloor >= 0) {
		bad("BudgetFloor: %v is below 0", cfg.BudgetFloor)
	}
	if !(cfg.Hedge.Quantile >= 0 && cfg.Hedge.Quantile < 1) || cfg.Hedge.After < 0 {
		bad("Hedge: Quantile is from 0 to below 1, After not below 0")
	}
	if cfg.Hedge.Quantile > 0 && cfg.Hedge.After == 0 {
		bad("Hedge.After: say how long to wait at least, also while too little is known for a Quantile")
	}
	if cfg.KeysMax == 0 {
		cfg.KeysMax = keysMaxDefault
	}
	if cfg.KeysMax < 1 || cfg.KeysMax > keysMaxMax {
		bad("KeysMax: %d is not between 1 and %d", cfg.KeysMax, keysMaxMax)
	}
	for _, status := range cfg.Statuses {
		if status < 400 || status > 599 {
			bad("Statuses: %d is not between 400 and 599", status)
		}
	}
	statuses := make([]core.GRPCStatus, 0, len(cfg.Codes))
	for _, code := range cfg.Codes {
		if code < 1 || code > 16 {
			bad("Codes: %d is none of a failed call", code)
		}
		statuses = append(statuses, core.GRPCStatus(code))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	if cfg.PushbackMax == 0 {
		cfg.PushbackMax = pushbackDefault
	}
	return &settings{
		cfg: cfg,
		policy: core.New(core.Config{Attempts: cfg.Attempts, PerTry: cfg.PerTry, Statuses: cfg.Statuses, GRPC: statuses,
			BackoffBase: cfg.BackoffBase, BackoffMax: cfg.BackoffMax}),
		hedge:  core.Hedge{Quantile: cfg.Hedge.Quantile, After: cfg.Hedge.After},
		budget: core.BudgetConfig{Ratio: cfg.BudgetRatio, FloorPerSecond: cfg.BudgetFloor},
	}, nil
}

package limit

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Word is what is known of a key. Zero is a key that was never seen. Gone is no key's word.
type Word uint64

// Gone marks a word that has moved elsewhere, for those who keep words. Decide never returns it.
const Gone = ^Word(0)

// Algorithm is a way to judge.
type Algorithm uint8

// The algorithms.
const (
	TokenBucket Algorithm = iota
	LeakyBucket
	FixedWindow
	SlidingWindow
	Concurrency
)

// algorithms are the words, by Algorithm.
var algorithms = [...]string{"token_bucket", "leaky_bucket", "fixed_window", "sliding_window", "concurrency"}

func (a Algorithm) String() string { return algorithms[a] }

// Config is the settings of a limit.
type Config struct {
	Algorithm Algorithm
	// Count requests Per second, minute or hour, from 1 to CountMax; of Concurrency, Count at once, and no Per.
	Count int64
	Per   time.Duration
	// Burst is what a bucket holds: so many at once pass after a pause. 0 means Count for a token bucket, since five a minute
	// means to most that five may come together; and 1 for a leaky bucket, which is there to space requests out. Of the
	// buckets only.
	Burst int64
	// MaxDelay is how long a leaky bucket lets a request wait at most; 0 means a second: whoever waits longer than that has
	// often given up, and holds memory here meanwhile.
	MaxDelay time.Duration
}

const (
	// CountMax is past any rate one process sees.
	CountMax = 1e9
	// SlidingCountMax is what two counts in one word can count to, next to the number of the window.
	SlidingCountMax = 1<<slidingCountBits - 1
	// MaxDelayMax bounds how long a leaky bucket makes a request wait: connections and their buffers wait along.
	MaxDelayMax = time.Minute
	// FillMax is the longest that a bucket may take to be full again. More is a slip of the pen.
	FillMax = 366 * 24 * time.Hour

	maxDelayDefault = time.Second
)

// Error is what is wrong with a Config.
type Error struct {
	Setting string // burst
	Cause   string
	Fix     string
}

func (e *Error) Error() string { return e.Setting + ": " + e.Cause }

// Limit is a compiled Config. It is frozen: any number of loops share it.
type Limit struct {
	algorithm Algorithm
	count     int64 // in a window, at once
	per       int64 // of windows: nanoseconds
	bucket    bucket
	quota     int64
	window    time.Duration
}

// New makes a limit. The error is an *Error.
func New(cfg Config) (*Limit, error) {
	l := &Limit{algorithm: cfg.Algorithm, count: cfg.Count, per: int64(cfg.Per), quota: cfg.Count, window: cfg.Per}
	if cfg.Count < 1 || cfg.Count > CountMax {
		return nil, &Error{"rate", fmt.Sprintf("%d is not between 1 and %d", cfg.Count, int64(CountMax)), "write how many may pass: 100/s"}
	}
	if cfg.Algorithm == Concurrency {
		l.window = 0
		return l, nil
	}
	if cfg.Per < time.Second || cfg.Per > time.Hour {
		return nil, &Error{"rate", "a rate is per second, minute or hour", "write 100/s, 10/m or 5/h"}
	}
	switch cfg.Algorithm {
	case TokenBucket, LeakyBucket:
		return l.buckets(cfg)
	case SlidingWindow:
		if cfg.Count > SlidingCountMax {
			return nil, &Error{"rate", fmt.Sprintf("a sliding window counts up to %d, not %d", SlidingCountMax, cfg.Count), "use algorithm: token_bucket"}
		}
	}
	if cfg.Burst != 0 {
		return nil, &Error{"burst", "a " + cfg.Algorithm.String() + " has no burst: all it allows may come at once", "remove it, or use algorithm: token_bucket"}
	}
	return l, nil
}

func (l *Limit) buckets(cfg Config) (*Limit, error) {
	burst, delay := cfg.Burst, cfg.MaxDelay
	if cfg.Algorithm == TokenBucket {
		delay = 0
		if burst == 0 {
			burst = cfg.Count
		}
	} else {
		burst = max(burst, 1)
		if delay == 0 {
			delay = maxDelayDefault
		}
	}
	if delay < 0 || delay > MaxDelayMax {
		return nil, &Error{"max_delay", fmt.Sprintf("%v is not between 0 and %v", delay, MaxDelayMax), "requests that wait longer hold memory for nobody"}
	}
	interval := ceilDiv(int64(cfg.Per)<<tickBits, cfg.Count)
	if burst < 0 || burst > int64(FillMax)<<tickBits/interval {
		return nil, &Error{"burst", fmt.Sprintf("a bucket of %d takes more than %d days to fill at %d per %v", burst, FillMax/(24*time.Hour), cfg.Count, cfg.Per),
			"write a smaller burst, or a higher rate"}
	}
	l.bucket = bucket{interval: interval, capacity: interval * burst, burst: burst, patience: int64(delay) << tickBits}
	l.quota, l.window = burst, untick(interval*burst)
	return l, nil
}

// Quota is how much may pass at once, or be at once, after a pause.
func (l *Limit) Quota() int64 { return l.quota }

// Window is how long the quota takes to be there again when it is used up; 0 for Concurrency.
func (l *Limit) Window() time.Duration { return l.window }

// MaxDelay is the longest delay of a verdict.
func (l *Limit) MaxDelay() time.Duration { return untick(l.bucket.patience) }

// Verdict is a decision and its numbers.
type Verdict struct {
	Allowed bool
	// Limit is the quota, Used what of it is used now, this request included if it is allowed, Remaining what is left.
	Limit, Used, Remaining int64
	// Delay is how long an allowed request has to wait first.
	Delay time.Duration
	// RetryAfter is when a refused request would be allowed if nothing else came; 0 if that cannot be said: it costs more
	// than the limit ever allows, or waits for others to end.
	RetryAfter time.Duration
	// Reset is when all of the quota is there again if nothing else comes. 0 for Concurrency.
	Reset time.Duration
}

// Decide judges a request that costs cost, at least 1, of the key that word is about. next takes the word's place, also when
// the request is refused. Times lie after the start of the process and before its eighteenth year.
func (l *Limit) Decide(word Word, now mono.Time, cost int64) (next Word, v Verdict) {
	switch l.algorithm {
	case TokenBucket:
		return l.bucket.take(word, now, cost)
	case LeakyBucket:
		return l.bucket.queue(word, now, cost)
	case FixedWindow:
		return fixedWindow(word, now, cost, l.count, l.per)
	case SlidingWindow:
		return slidingWindow(word, now, cost, l.count, l.per)
	}
	return concurrency(word, cost, l.count)
}

// Release takes back what Decide of a Concurrency limit allowed.
func (l *Limit) Release(word Word, cost int64) Word { return release(word, cost) }

// Load says how much of its quota a key has used, from 0, which is as good as never seen, to 1 and a little more.
func (l *Limit) Load(word Word, now mono.Time) float64 {
	switch l.algorithm {
	case TokenBucket, LeakyBucket:
		return l.bucket.load(word, now)
	case FixedWindow:
		return fixedLoad(word, now, l.count, l.per)
	case SlidingWindow:
		return slidingLoad(word, now, l.count, l.per)
	}
	return float64(underWay(word)) / float64(l.count)
}

// Counts tells whether the limit is of Concurrency: whatever it allows will be released, so its word must be kept till then.
func (l *Limit) Counts() bool { return l.algorithm == Concurrency }

// Renew is the word with which another key begins in the place of one whose word was old. Words of one place never come
// again: so whoever read the old one, and swaps it late, finds that it has changed. Times see to that for rates; counts of
// what is under way fall too, and carry a number of their own.
func (l *Limit) Renew(old Word) Word {
	if l.algorithm == Concurrency {
		return renewConcurrency(old)
	}
	return 0
}

// ceilDiv is a/b rounded up, of a >= 0 and b > 0.
func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

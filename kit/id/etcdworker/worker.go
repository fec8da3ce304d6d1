package etcdworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/yumen-io/yumen/kit/id"
)

// Defaults of Config.
const (
	// PrefixDefault is where the keys are.
	PrefixDefault = "/yumen/ids/"
	// LeaseDefault is how long after a crash a number is free again. Two thirds of it outlast an election in etcd.
	LeaseDefault = 15 * time.Second
	// ReserveDefault is how far marks are written ahead, and so how long ids are made without etcd.
	ReserveDefault = 10 * time.Second
)

const (
	callMax     = 3 * time.Second        // one answer of etcd; a frozen member gives none
	backoffMin  = 100 * time.Millisecond // doubled for each failure in a row
	backoffMax  = 5 * time.Second        // a recovered etcd is noticed within this
	wakeMin     = 20 * time.Millisecond  // between two calls that refused generators ask for
	stepAbandon = time.Second            // a clock set back by more leaves the number for another one
	closeMax    = 3 * time.Second        // giving a number back, where Close's context has no end
)

// ErrLayout means that the prefix is in use with another layout or epoch. It is not tried again.
var ErrLayout = errors.New("the prefix belongs to another layout")

// ErrClosed means that the worker was closed.
var ErrClosed = errors.New("the worker is closed")

var errNotYet = fmt.Errorf("etcdworker: none was leased yet: %w", id.ErrNoWorker)

// Config says where numbers are leased from. Only Client is needed.
type Config struct {
	// Client reaches etcd. It is the caller's, and has to outlive Close.
	Client *clientv3.Client
	// Layout must be that of the generator: it says how many numbers there are, and is compared with what others use.
	Layout id.Layout
	// Prefix of the keys, with a slash at its end. Who shares it shares the numbers. "": PrefixDefault.
	Prefix string
	// Owner names this process to people who read the keys. "": host name and process number.
	Owner string
	// Lease is 3 s to 10 min. Zero: LeaseDefault. etcd may make it longer.
	Lease time.Duration
	// Reserve is 1 s to 10 min. Longer bridges longer outages of etcd, and keeps a crashed process's number unused for
	// longer where no other is free. Zero: ReserveDefault.
	Reserve time.Duration
	// TrustEmpty leaves out the wait of two thirds of a lease that follows on finding the prefix empty. With it, an etcd
	// that lost its data while processes made ids can cause duplicates; for tests and demonstrations.
	TrustEmpty bool
	// Clock is the time of day, the same as the generator's; nil: time.Now.
	Clock func() time.Time
	// Logger gets a line when a number is claimed, lost, or etcd stops to answer. nil: slog.Default().
	Logger *slog.Logger
}

// Worker holds a number. It is an id.Worker for one generator.
type Worker struct {
	cfg    Config
	kv     board
	cancel context.CancelFunc
	done   chan struct{}

	closing sync.Mutex

	present atomic.Pointer[view]
	claims  atomic.Uint64
	losses  atomic.Uint64
	silent  atomic.Uint64

	ready struct {
		sync.Mutex
		changed chan struct{} // closed and made anew with each change of present
	}
}

// view is what Term answers.
type view struct {
	term *id.Term
	err  error
}

// New checks cfg and begins to claim a number in the background. It does not wait for etcd; Ready does.
func New(cfg Config) (*Worker, error) {
	var errs []error
	if cfg.Client == nil {
		errs = append(errs, errors.New("etcdworker: Client is missing"))
	}
	if err := cfg.Layout.Validate(); err != nil {
		errs = append(errs, err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = PrefixDefault
	}
	if cfg.Prefix[len(cfg.Prefix)-1] != '/' {
		errs = append(errs, fmt.Errorf("etcdworker: Prefix is %q and must end with a slash", cfg.Prefix))
	}
	if cfg.Owner == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		cfg.Owner = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	duration := func(name string, d *time.Duration, fallback, low time.Duration) {
		if *d == 0 {
			*d = fallback
		}
		if *d < low || *d > 10*time.Minute {
			errs = append(errs, fmt.Errorf("etcdworker: %s is %s and must be %s to 10m", name, *d, low))
		}
	}
	duration("Lease", &cfg.Lease, LeaseDefault, 3*time.Second)
	duration("Reserve", &cfg.Reserve, ReserveDefault, time.Second)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Worker{cfg: cfg, cancel: cancel, done: make(chan struct{})}
	w.kv = board{client: cfg.Client, prefix: cfg.Prefix, layout: cfg.Layout.String(), owner: cfg.Owner}
	w.ready.changed = make(chan struct{})
	w.present.Store(&view{err: errNotYet})
	go w.run(ctx)
	return w, nil
}

// Term returns the present term. Errors are id.ErrNoWorker, ErrLayout or ErrClosed.
func (w *Worker) Term() (*id.Term, error) {
	v := w.present.Load()
	return v.term, v.err
}

// Ready waits until there is a number, ctx ends, or it is sure that there will be none (ErrLayout, ErrClosed).
func (w *Worker) Ready(ctx context.Context) error {
	for {
		w.ready.Lock()
		changed := w.ready.changed
		w.ready.Unlock()
		_, err := w.Term()
		if err == nil || errors.Is(err, ErrLayout) || errors.Is(err, ErrClosed) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("etcdworker: waiting for a worker number: %w", ctx.Err())
		}
	}
}

// Close ends the term and gives the number back, so that the next process can use it at once. If etcd does not answer
// before ctx ends, or in 3 s, the number is free when the lease is over, and Close returns the error. A second Close
// does nothing.
func (w *Worker) Close(ctx context.Context) error {
	w.cancel()
	<-w.done
	w.closing.Lock()
	defer w.closing.Unlock()
	v := w.present.Load()
	if errors.Is(v.err, ErrClosed) {
		return nil
	}
	w.show(&view{err: ErrClosed})
	h := w.kv.held
	if h == nil {
		return nil
	}
	w.kv.held = nil
	h.term.End()
	ctx, cancel := context.WithTimeout(ctx, closeMax)
	defer cancel()
	if err := w.kv.giveBack(ctx, h); err != nil {
		return fmt.Errorf("etcdworker: number %d is free when its lease ends: %w", h.term.Number(), err)
	}
	return nil
}

// Stats are counts since New.
type Stats struct {
	Worker   int    // the present number; -1: none
	Claims   uint64 // numbers claimed
	Losses   uint64 // numbers lost to an expired lease, lost data, or a clock set back
	Failures uint64 // calls of etcd that failed
}

// Stats returns the counts. It is cheap.
func (w *Worker) Stats() Stats {
	s := Stats{Worker: -1, Claims: w.claims.Load(), Losses: w.losses.Load(), Failures: w.silent.Load()}
	if v := w.present.Load(); v.err == nil {
		s.Worker = v.term.Number()
	}
	return s
}

func (w *Worker) show(v *view) {
	w.ready.Lock()
	defer w.ready.Unlock()
	w.present.Store(v)
	close(w.ready.changed)
	w.ready.changed = make(chan struct{})
}

// run is the life of the worker: claim, hold, and from the beginning.
func (w *Worker) run(ctx context.Context) {
	defer close(w.done)
	failures := 0
	for ctx.Err() == nil {
		err := w.claim(ctx)
		if errors.Is(err, ErrLayout) {
			w.cfg.Logger.Error("the prefix of worker numbers belongs to another layout, no ids can be made", "error", err)
			w.show(&view{err: err})
			return
		}
		if err == nil {
			failures = 0
			w.hold(ctx)
			continue
		}
		failures = w.failed(ctx, failures, err)
		w.pause(ctx, backoff(failures), nil)
	}
}

// failed counts a failure and logs the first of a row.
func (w *Worker) failed(ctx context.Context, failures int, err error) int {
	if ctx.Err() != nil {
		return failures
	}
	w.silent.Add(1)
	if failures == 0 {
		w.cfg.Logger.Warn("etcd gives no worker number, trying on", "prefix", w.cfg.Prefix, "error", err)
	}
	return failures + 1
}

// claim takes a number and shows its term once it may be used. It returns with a lease behind it, or an error.
func (w *Worker) claim(ctx context.Context) error {
	sent := time.Now()
	h, err := w.kv.claim(ctx, w.cfg)
	if err != nil {
		return err
	}
	w.claims.Add(1)
	w.extended(h, sent)
	// The mark lies ahead where the holder before crashed just now and no other number was free; new, where etcd has just
	// been set up or has lost its data. Meanwhile the lease is kept.
	for {
		wait := h.term.Last().Sub(w.cfg.Clock())
		if wait < 0 && !w.cfg.TrustEmpty {
			fresh, err := w.kv.fresh(ctx)
			if err != nil {
				return w.drop(h, err)
			}
			if fresh {
				wait = 250 * time.Millisecond
			}
		}
		if wait < 0 {
			break
		}
		if !w.pause(ctx, min(wait+time.Millisecond, w.period()), nil) {
			return w.drop(h, ctx.Err())
		}
		sent := time.Now()
		if err := w.kv.extend(ctx, h, w.cfg.Clock().Add(w.cfg.Reserve)); err != nil {
			return w.drop(h, err)
		}
		w.extended(h, sent)
	}
	w.kv.held = h
	w.show(&view{term: h.term})
	w.cfg.Logger.Info("a worker number was leased", "worker", h.term.Number(), "prefix", w.cfg.Prefix, "fence", h.fence)
	return nil
}

// drop gives up what was claimed and never used.
func (w *Worker) drop(h *holding, cause error) error {
	h.term.End()
	ctx, cancel := context.WithTimeout(context.Background(), callMax)
	defer cancel()
	_ = w.kv.giveBack(ctx, h) // else the lease ends by itself
	return cause
}

// extended tells the term how far it reaches. The deadline counts from before the call: etcd counts from later.
func (w *Worker) extended(h *holding, sent time.Time) {
	h.term.Extend(h.mark, sent.Add(h.lease*2/3))
}

// hold keeps the lease and moves the mark ahead, and returns when the number is lost or ctx ends.
func (w *Worker) hold(ctx context.Context) {
	h := w.kv.held
	failures := 0
	var sent time.Time
	for {
		// Generators that are refused wake us: not while etcd fails, and not in a row, or they would set the pace.
		wait, wake := w.period(), h.term.Wake()
		if failures > 0 {
			wait, wake = min(wait, backoff(failures)), nil
		}
		if !w.pause(ctx, wait, wake) || !w.pause(ctx, wakeMin-time.Since(sent), nil) {
			return
		}
		sent = time.Now()
		now := w.cfg.Clock()
		if h.term.Last().Sub(now) > stepAbandon {
			w.lose(h, "the clock was set back, another worker number is claimed")
			return
		}
		err := w.kv.extend(ctx, h, now.Add(w.cfg.Reserve))
		switch {
		case err == nil:
			w.extended(h, sent)
			failures = 0
		case errors.Is(err, errLost):
			w.lose(h, "a worker number was lost, another one is claimed")
			return
		default:
			failures = w.failed(ctx, failures, err)
		}
	}
}

func (w *Worker) lose(h *holding, why string) {
	h.term.End()
	w.kv.held = nil
	w.losses.Add(1)
	w.show(&view{err: errNotYet})
	w.cfg.Logger.Warn(why, "worker", h.term.Number(), "prefix", w.cfg.Prefix)
}

// period is how often the lease and the mark are renewed: three times within what either lasts, at least.
func (w *Worker) period() time.Duration { return min(w.cfg.Lease*2/9, w.cfg.Reserve/3) }

// pause waits for d or a value of wake, and tells whether the worker goes on.
func (w *Worker) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// backoff is full jitter below a ceiling that doubles.
func backoff(failures int) time.Duration {
	ceiling := min(backoffMin<<min(failures, 10), backoffMax)
	return backoffMin/2 + rand.N(ceiling)
}

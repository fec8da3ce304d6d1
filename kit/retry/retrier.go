package retry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/retry"
)

// Decision is what was decided about another try, and why.
type Decision struct {
	Key     string
	Attempt int // tries made so far
	Again   bool
	Hedge   bool // the other try runs beside the last one
	Mode    Mode
	// Reason is why there is another: connect_failure, reset, timeout, status, hedged; or why not: attempts_exhausted, condition_off,
	// not_idempotent, body_gone, deadline, budget_exhausted, pushback.
	Reason string
	After  time.Duration // the wait before it
	Err    error         // of the last try; nil after a status of HTTP, and for a hedge
	Status int           // of HTTP, else 0
	// What the budget held, over ten seconds.
	Requests, Retries uint64
	Allowed           float64 // retries that it bears
}

// String explains the decision in one line.
func (d *Decision) String() string {
	word := "is not tried again"
	if d.Again {
		word = "is tried again"
	}
	if d.Mode == Shadow {
		word += " in shadow"
	}
	return fmt.Sprintf("retry %s: after %d tries it %s (%s), %d of %.0f retries of the budget used", d.Key, d.Attempt, word, d.Reason, d.Retries, d.Allowed)
}

// reasonPushback is the word where the server had the last one.
const reasonPushback = "pushback"

// Retrier tries again. It is safe for concurrent use.
type Retrier struct {
	clock   func() time.Time // nil: time.Now
	epoch   time.Time
	at      atomic.Pointer[settings]
	budgets atomic.Pointer[map[string]*budget] // never changed, but replaced
	crowd   *budget                            // of keys for which there is no room

	requests, retries, hedges, hedgesWon, refused atomic.Uint64

	mu sync.Mutex // whoever replaces settings or budgets
}

// budget is one key's.
type budget struct {
	mu   sync.Mutex
	of   *core.Budget
	cfg  core.BudgetConfig
	pace core.Pace
	used mono.Time
}

// idleMin is after how long without requests a budget is forgotten for another; by then there is nothing in it.
const idleMin = time.Minute

// New makes a Retrier. The error names each field that is wrong and says what it wants. It holds no goroutine.
func New(cfg Config) (*Retrier, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	r := &Retrier{clock: cfg.Clock}
	clock := cfg.Clock
	if clock == nil {
		clock = time.Now
	}
	r.epoch = clock().Add(-24 * time.Hour) // so that times are positive
	r.at.Store(s)
	r.budgets.Store(&map[string]*budget{})
	r.crowd = newBudget(s)
	return r, nil
}

func newBudget(s *settings) *budget { return &budget{of: core.NewBudget(s.budget), cfg: s.budget} }

// Set has other settings hold for requests that begin from now on. Budgets keep what they have counted.
func (r *Retrier) Set(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	r.at.Store(s)
	return nil
}

// Stats are numbers of a Retrier since it was made.
type Stats struct {
	Requests  uint64
	Retries   uint64 // hedges aside
	Hedges    uint64
	HedgesWon uint64 // of them, those that answered first
	Refused   uint64 // retries and hedges for which the budget had no room
	Keys      int    // that have a budget now
}

// Stats returns the numbers.
func (r *Retrier) Stats() Stats {
	return Stats{r.requests.Load(), r.retries.Load(), r.hedges.Load(), r.hedgesWon.Load(), r.refused.Load(), len(*r.budgets.Load())}
}

func (r *Retrier) now() mono.Time {
	if r.clock == nil {
		return mono.Time(time.Since(r.epoch)) // reads the monotonic clock alone, which takes half as long
	}
	return mono.Time(r.clock().Sub(r.epoch))
}

func (r *Retrier) wall() time.Time { return r.epoch.Add(time.Duration(r.now())) }

// budget returns the key's budget, a new one if there is none.
func (r *Retrier) budget(key string, s *settings, now mono.Time) *budget {
	if b := (*r.budgets.Load())[key]; b != nil {
		return b
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	budgets := *r.budgets.Load()
	if b := budgets[key]; b != nil {
		return b
	}
	budgets = maps.Clone(budgets)
	if len(budgets) >= s.cfg.KeysMax {
		for k, b := range budgets { // all that are idle, so that the next key does not have to look again
			b.mu.Lock()
			idle := now.Sub(b.used) >= idleMin
			b.mu.Unlock()
			if idle {
				delete(budgets, k)
			}
		}
		if len(budgets) >= s.cfg.KeysMax {
			return r.crowd
		}
	}
	b := newBudget(s)
	b.used = now
	budgets[strings.Clone(key)] = b
	r.budgets.Store(&budgets)
	return b
}

// request counts one.
func (b *budget) request(s *settings, now mono.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cfg != s.budget {
		// Another one takes over what this one has counted. What it knows of is as if it had happened now, and so counts for longer.
		v, next := b.of.View(now), core.NewBudget(s.budget)
		for range v.Requests {
			next.Request(now)
		}
		for range v.Retries {
			next.Spend(now)
		}
		b.of, b.cfg = next, s.budget
	}
	b.used = now
	b.of.Request(now)
}

// spend takes a retry out of the budget if there is room, and tells what was in it.
func (b *budget) spend(now mono.Time, need bool) (ok bool, v core.BudgetView) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v = b.of.View(now)
	if !need {
		return true, v
	}
	if ok = b.of.HasRoom(now); ok {
		b.of.Spend(now)
	}
	return ok, v
}

func (b *budget) observe(took time.Duration) {
	b.mu.Lock()
	b.pace.Observe(took)
	b.mu.Unlock()
}

func (b *budget) hedgeAfter(h *core.Hedge) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return h.Delay(&b.pace)
}

// exchange is a request, of whichever kind.
type exchange struct {
	key        string
	idempotent bool
	hedges     bool // it may be made twice at the same time
	body       bool // it has one,
	replayable bool // which can be had again
	// send makes a try, the n-th. It is called on several goroutines at a time only if hedges is true.
	send func(ctx context.Context, n int) ending
	// drop is given what nobody will see.
	drop func(ending)
}

// ending is how a try ended.
type ending struct {
	result any
	err    error
	ok     bool // it is what the caller wants
	final  bool // it is not, and another try is out of the question

	failure   core.Failure
	untouched bool // it reached nobody
	status    int
	grpc      core.GRPCStatus
	// pushback is what the server says of the next try: so long from now; below 0: never.
	pushback time.Duration

	hedge bool
	end   context.CancelFunc // of the try: when the result is not used any more
}

// idempotentKey is the context's mark.
type idempotentKey struct{}

// WithIdempotent says of requests made with the context that they may be made twice, also at the same time.
func WithIdempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

func isIdempotent(ctx context.Context) bool { return ctx.Value(idempotentKey{}) != nil }

// errPerTry is why a try was cancelled that took too long.
var errPerTry = errors.New("a try took too long")

// run makes tries until one is good enough or none may follow.
func (r *Retrier) run(ctx context.Context, x *exchange) ending {
	s := r.at.Load()
	now := r.now()
	b := r.budget(x.key, s, now)
	b.request(s, now)
	r.requests.Add(1)
	for n := 1; ; n++ {
		e := r.race(ctx, s, b, x, &n)
		if e.ok || e.final || ctx.Err() != nil {
			return e
		}
		d := r.decide(ctx, s, b, x, &e, n)
		if !d.Again || s.cfg.Mode == Shadow {
			return e
		}
		x.drop(e)
		e.end()
		r.retries.Add(1)
		if d.After > 0 {
			timer := time.NewTimer(d.After)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ending{err: ctx.Err(), final: true, end: func() {}}
			}
		}
	}
}

// decide asks the policy, and counts what it says.
func (r *Retrier) decide(ctx context.Context, s *settings, b *budget, x *exchange, e *ending, n int) Decision {
	f := core.Facts{
		Attempt: n, Idempotent: x.idempotent, RequestBytes: 1, Failure: e.failure, Status: e.status, GRPCStatus: e.grpc,
		Replayable: x.replayable, DeadlineLeft: math.MaxInt64, BudgetRoom: true, Rnd: rand.Uint64(),
	}
	if e.untouched {
		f.RequestBytes = 0
	}
	if x.body {
		f.BodyBytes = 1
	}
	if deadline, ok := ctx.Deadline(); ok {
		f.DeadlineLeft = time.Until(deadline)
	}
	v := s.policy.Decide(f)
	d := Decision{Key: x.key, Attempt: n, Mode: s.cfg.Mode, Again: v.Again, Reason: v.Why.String(), After: v.After, Err: e.err, Status: e.status}
	if d.Again && e.pushback != 0 {
		d.After = max(d.After, e.pushback)
		if e.pushback < 0 || e.pushback > s.cfg.PushbackMax {
			d.Again, d.Reason = false, reasonPushback
		} else if f.DeadlineLeft <= d.After {
			d.Again, d.Reason = false, core.NoDeadline.String()
		}
	}
	ok, view := b.spend(r.now(), d.Again && v.Spend)
	if !ok {
		d.Again, d.Reason = false, core.NoBudget.String()
		r.refused.Add(1)
	}
	if !d.Again {
		d.After = 0
	}
	r.tell(s, &d, view)
	return d
}

func (r *Retrier) tell(s *settings, d *Decision, v core.BudgetView) {
	if s.cfg.OnDecision != nil {
		d.Requests, d.Retries, d.Allowed = v.Requests, v.Retries, v.Allowed
		s.cfg.OnDecision(*d)
	}
}

// race makes a try, and a second beside it if it is slow and that is asked for. n is how many were made then.
func (r *Retrier) race(ctx context.Context, s *settings, b *budget, x *exchange, n *int) ending {
	attempts := max(s.cfg.Attempts, 1)
	if s.cfg.Attempts == 0 {
		attempts = 2
	}
	if !s.cfg.Hedge.on() || !x.hedges || *n >= attempts || s.cfg.Mode == Shadow {
		return r.try(ctx, s, b, x, *n)
	}
	ends := make(chan ending, 2)
	begin := func(n int, hedge bool) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			e := r.try(ctx, s, b, x, n)
			end := e.end
			e.hedge, e.end = hedge, func() { end(); cancel() }
			ends <- e
		}()
		return cancel
	}
	stopFirst := begin(*n, false)
	timer := time.NewTimer(b.hedgeAfter(&s.hedge))
	defer timer.Stop()
	select {
	case e := <-ends:
		return e
	case <-timer.C:
	}
	ok, view := b.spend(r.now(), true)
	d := Decision{Key: x.key, Attempt: *n, Again: ok, Hedge: true, Mode: s.cfg.Mode, Reason: core.Hedged.String()}
	if !ok {
		d.Reason = core.NoBudget.String()
		r.refused.Add(1)
	}
	r.tell(s, &d, view)
	if !ok {
		return <-ends
	}
	r.hedges.Add(1)
	*n++
	stopSecond := begin(*n, true)
	e := <-ends
	if !e.ok {
		x.drop(e)
		e.end()
		e = <-ends
	} else {
		if e.hedge {
			stopFirst()
		} else {
			stopSecond()
		}
		go func() { // it ends soon: it was cancelled
			late := <-ends
			x.drop(late)
			late.end()
		}()
	}
	if e.ok && e.hedge {
		r.hedgesWon.Add(1)
	}
	return e
}

// try makes one try, which takes PerTry at most until its answer begins.
func (r *Retrier) try(ctx context.Context, s *settings, b *budget, x *exchange, n int) ending {
	own, cancel := context.WithCancelCause(ctx)
	var timer *time.Timer
	if s.cfg.PerTry > 0 {
		timer = time.AfterFunc(s.cfg.PerTry, func() { cancel(errPerTry) })
	}
	begun := r.now()
	e := x.send(own, n)
	e.end = func() { cancel(context.Canceled) }
	if timer != nil && !timer.Stop() && ctx.Err() == nil && context.Cause(own) == errPerTry {
		x.drop(e) // also an answer that came just then: it was cancelled with the try
		return ending{failure: core.Timeout, end: e.end,
			err: fmt.Errorf("retry: no answer within %v: %w", s.cfg.PerTry, context.DeadlineExceeded)}
	}
	if e.ok {
		b.observe(r.now().Sub(begun))
	}
	return e
}

// judge sorts an error of a try that is not a status.
func judge(err error) ending {
	e := ending{err: err, failure: core.Reset}
	var refusal interface{ NotSent() bool }
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &refusal) && refusal.NotSent(), errors.Is(err, context.Canceled):
		e.final = true
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"):
		e.failure, e.untouched = core.ConnectFailure, true
	case errors.As(err, &timeout) && timeout.Timeout():
		e.failure = core.Timeout
	}
	return e
}

// permanent is an error that another try would not change.
type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent has Do return err, which it wraps, without another try. Of nil it is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

// Do calls f until it returns no error or none may follow, and returns what it returned last. By calling Do you say that f may be
// called again, whatever it did; with WithIdempotent also twice at the same time (Config.Hedge). key is whose budget it is: the dependency's.
// The context that f gets ends with the try.
func Do[T any](ctx context.Context, r *Retrier, key string, f func(context.Context) (T, error)) (T, error) {
	e := r.run(ctx, &exchange{
		key: key, idempotent: true, hedges: isIdempotent(ctx), replayable: true,
		send: func(ctx context.Context, _ int) ending {
			v, err := f(ctx)
			if err == nil {
				return ending{result: v, ok: true}
			}
			e := judge(err)
			var p *permanent
			if errors.As(err, &p) {
				e.final = true
			}
			e.result = v
			return e
		},
		drop: func(ending) {},
	})
	e.end()
	v, _ := e.result.(T)
	return v, e.err
}

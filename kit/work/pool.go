package work

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Full is what becomes of a task for which the queue has no room.
type Full uint8

// What can become of it.
const (
	Block      Full = iota // whoever brings it waits, as long as his context allows
	Refuse                 // he gets ErrFull
	CallerRuns             // he does it himself: so those slow down who bring too much
)

var fullWords = [...]string{"block", "refuse", "caller_runs"}

// String returns the word of logs.
func (f Full) String() string { return fullWords[f] }

// Never is a Queue of no length.
const Never = -1

// PoolConfig is the settings of a Pool.
type PoolConfig struct {
	// Name of the pool in logs; empty means "pool".
	Name string
	// Workers run at a time, 1 to 10,000; 0 means GOMAXPROCS, which is right for what computes. What waits for others needs more.
	Workers int
	// Queue is how many tasks wait at most, up to 1,000,000; 0 means four for each worker, Never none: a long queue only makes
	// everybody late.
	Queue int
	Full  Full
	// TaskMax is how long a task may run; 0 means as long as its context.
	TaskMax time.Duration
	// OnError is called with the error, or panic, of each task of Submit that failed, on its worker; nil means panics are
	// logged and errors counted.
	OnError func(error)
	Logger  *slog.Logger // nil means slog.Default()
}

const (
	workersMax = 10_000
	queueMax   = 1_000_000
)

// Pool is a number of workers and a queue. It is safe for concurrent use. Shutdown ends its goroutines.
type Pool struct {
	cfg      PoolConfig
	queue    chan *task
	stopping chan struct{} // closed when Shutdown begins
	base     context.Context
	abort    context.CancelFunc // of base: Shutdown has no more time
	hands    []hand             // of the workers
	workers  sync.WaitGroup

	queued, running                                            atomic.Int64
	done, failed, panicked, refused, expired, callerRan, total atomic.Uint64
	waits                                                      [waitBuckets]atomic.Uint64

	mu struct {
		sync.RWMutex
		closed  bool
		senders sync.WaitGroup // those between the look at closed and the queue
	}
}

type task struct {
	ctx  context.Context
	run  func(context.Context) error
	at   time.Time
	done chan error // nil: nobody waits. It has room for one.
}

// hand is where a worker keeps what ends the task that it has in hand, for Shutdown: to have each task's context hear of the
// pool's end by itself would cost an allocation or four a task.
type hand struct {
	mu     sync.Mutex
	cancel context.CancelFunc // nil: there is none
}

func (h *hand) hold(cancel context.CancelFunc) {
	h.mu.Lock()
	h.cancel = cancel
	h.mu.Unlock()
}

// end ends the task in hand.
func (h *hand) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cancel != nil {
		h.cancel()
	}
}

// NewPool makes a Pool and starts its workers. The error names each field that is wrong and says what it wants.
func NewPool(cfg PoolConfig) (*Pool, error) {
	var wrong []error
	if cfg.Name == "" {
		cfg.Name = "pool"
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Workers < 1 || cfg.Workers > workersMax {
		wrong = append(wrong, fmt.Errorf("work: Workers: %d is not between 1 and %d", cfg.Workers, workersMax))
	}
	switch cfg.Queue {
	case 0:
		cfg.Queue = 4 * cfg.Workers
	case Never:
		cfg.Queue = 0
	}
	if cfg.Queue < 0 || cfg.Queue > queueMax {
		wrong = append(wrong, fmt.Errorf("work: Queue: %d is not between 0 and %d", cfg.Queue, queueMax))
	}
	if cfg.Full > CallerRuns {
		wrong = append(wrong, fmt.Errorf("work: Full: %d is none", cfg.Full))
	}
	if cfg.TaskMax < 0 {
		wrong = append(wrong, fmt.Errorf("work: TaskMax: %v is below 0", cfg.TaskMax))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Pool{cfg: cfg, queue: make(chan *task, cfg.Queue), stopping: make(chan struct{})}
	p.base, p.abort = context.WithCancel(context.Background())
	p.hands = make([]hand, cfg.Workers)
	for i := range p.hands {
		h := &p.hands[i]
		p.workers.Go(func() {
			for t := range p.queue {
				p.queued.Add(-1)
				p.waits[waitBucket(time.Since(t.at))].Add(1)
				p.work(t, h)
			}
		})
	}
	return p, nil
}

// Submit has f run with ctx when a worker is free, and does not wait for it. It returns ErrFull, ErrClosed or, if ctx ended
// before there was room, its error; then f does not run. f gets ctx, and so ends with it: for what is to go on after a request see Go.
func (p *Pool) Submit(ctx context.Context, f func(context.Context) error) error {
	return p.submit(ctx, &task{ctx: ctx, run: f})
}

// Do has f run with ctx when a worker is free, and returns its error. It does not wait longer than ctx allows, and then returns ctx's error
// while f may still be running.
func (p *Pool) Do(ctx context.Context, f func(context.Context) error) error {
	t := &task{ctx: ctx, run: f, done: make(chan error, 1)} // a channel that is used again would be of no synctest's bubble
	if err := p.submit(ctx, t); err != nil {
		return err
	}
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		select {
		case err := <-t.done:
			return err
		default:
			return ctx.Err()
		}
	}
}

func (p *Pool) submit(ctx context.Context, t *task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.RLock()
	if p.mu.closed {
		p.mu.RUnlock()
		return ErrClosed
	}
	p.mu.senders.Add(1)
	p.mu.RUnlock()
	p.total.Add(1)
	t.at = time.Now()
	p.queued.Add(1)
	err := p.offer(ctx, t)
	p.mu.senders.Done()
	if err == nil {
		return nil
	}
	p.queued.Add(-1)
	if err == ErrFull && p.cfg.Full == CallerRuns {
		p.callerRan.Add(1)
		p.work(t, nil)
		return nil
	}
	p.refused.Add(1)
	return err
}

// offer puts a task into the queue.
func (p *Pool) offer(ctx context.Context, t *task) error {
	select {
	case p.queue <- t:
		return nil
	default:
	}
	if p.cfg.Full != Block {
		return ErrFull
	}
	select {
	case p.queue <- t:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stopping:
		return ErrClosed
	}
}

// work runs a task, unless nobody wants it any more. h is nil if its caller does it himself.
func (p *Pool) work(t *task, h *hand) {
	err := t.ctx.Err()
	if p.base.Err() != nil {
		err = ErrClosed
	}
	if err != nil {
		p.expired.Add(1)
	} else {
		p.running.Add(1)
		err = p.run(t, h)
		p.running.Add(-1)
		p.done.Add(1)
		if err != nil {
			p.failed.Add(1)
		}
	}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		p.panicked.Add(1)
	}
	switch {
	case t.done != nil:
		t.done <- err
	case err == nil:
	case p.cfg.OnError != nil:
		p.cfg.OnError(err)
	case panicked != nil:
		p.cfg.Logger.Error("a task panicked", "pool", p.cfg.Name, "panic", panicked.Value, "stack", string(panicked.Stack))
	}
}

func (p *Pool) run(t *task, h *hand) error {
	var ctx context.Context
	var cancel context.CancelFunc
	if p.cfg.TaskMax > 0 {
		ctx, cancel = context.WithTimeout(t.ctx, p.cfg.TaskMax)
	} else {
		ctx, cancel = context.WithCancel(t.ctx)
	}
	defer cancel()
	if h == nil {
		defer context.AfterFunc(p.base, cancel)()
	} else {
		h.hold(cancel)
		defer h.hold(nil)
		if p.base.Err() != nil { // it ended between the look before and the hand
			cancel()
		}
	}
	return guarded(func() error { return t.run(ctx) })
}

// abandon ends the contexts of all tasks, of those in hand and those to come.
func (p *Pool) abandon() {
	p.abort()
	for i := range p.hands {
		p.hands[i].end()
	}
}

// Shutdown takes nothing more, finishes what was taken, and ends the workers. If ctx ends first, the contexts of running tasks are cancelled,
// those that wait are told ErrClosed, and it returns ctx's error; workers end as their tasks do. It may be called more than once.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	first := !p.mu.closed
	p.mu.closed = true
	p.mu.Unlock()
	if first {
		close(p.stopping)
		p.mu.senders.Wait() // who waited for room has been told
		close(p.queue)
	}
	ended := make(chan struct{})
	go func() {
		p.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		p.abort()
		return nil
	case <-ctx.Done():
		p.abandon()
		return ctx.Err()
	}
}

// Stats are numbers of a Pool since it was made.
type Stats struct {
	Workers   int
	QueueMax  int
	Queued    int    // wait now
	Running   int    // run now
	Submitted uint64 // tasks that were brought
	Done      uint64 // that ran to their end, or panicked
	Failed    uint64 // of Done: with an error
	Panicked  uint64 // of Failed
	Refused   uint64 // that found no room
	Expired   uint64 // whose context ended while they waited, or for which Shutdown had no time
	CallerRan uint64 // that their callers did
	Waits     []Bucket
}

// Bucket is how many tasks waited no longer than UpTo, and longer than the bucket before.
type Bucket struct {
	UpTo  time.Duration // the last one's is an hour and more
	Count uint64
}

// waitBuckets double from 16 us on; the last is an hour.
const (
	waitBuckets = 28
	waitShift   = 14
)

func waitBucket(d time.Duration) int {
	return min(bits.Len64(uint64(max(d, 1)-1)>>waitShift), waitBuckets-1)
}

// Stats returns the numbers.
func (p *Pool) Stats() Stats {
	s := Stats{
		Workers: p.cfg.Workers, QueueMax: p.cfg.Queue, Queued: int(max(p.queued.Load(), 0)), Running: int(p.running.Load()),
		Submitted: p.total.Load(), Done: p.done.Load(), Failed: p.failed.Load(), Panicked: p.panicked.Load(), Refused: p.refused.Load(),
		Expired: p.expired.Load(), CallerRan: p.callerRan.Load(), Waits: make([]Bucket, waitBuckets),
	}
	for i := range s.Waits {
		s.Waits[i] = Bucket{time.Duration(1) << (waitShift + i), p.waits[i].Load()}
	}
	return s
}

// Wait returns the time that a share q of the tasks, from 0 to 1, did not wait longer than, rounded up to a bucket; 0 if there were none.
func (s *Stats) Wait(q float64) time.Duration {
	total := uint64(0)
	for _, b := range s.Waits {
		total += b.Count
	}
	need, sum := q*float64(total), uint64(0)
	for _, b := range s.Waits {
		if sum += b.Count; sum > 0 && float64(sum) >= need {
			return b.UpTo
		}
	}
	return 0
}

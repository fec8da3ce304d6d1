package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// Config is what a Resolver is made of.
type Config struct {
	// Endpoints of one cluster. Those that are addresses are passed on as they are.
	Endpoints []compile.EndpointPlan
	// Refresh is the time between two rounds, give or take a tenth, so that many gateways and clusters do not ask in step.
	Refresh time.Duration
	// Timeout bounds each question.
	Timeout time.Duration
	// Known are answers from before, by name; they stand until there are newer ones. See Resolver.Answers.
	Known map[string][]netip.Addr
	// Changed is called with all targets whenever they are others than before, but for the first round, whose result Targets
	// has. It is called on the Resolver's goroutine: it must not call Stop, nor wait for somebody who does.
	Changed func(targets []upstream.Target)

	// Lookup answers questions, as net.Resolver.LookupNetIP does; nil is that of a resolver written in Go, which takes no
	// thread while it waits.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Clock is where the time comes from; the zero Clock is the real one.
	Clock Clock
}

// Clock is the time as a Resolver needs it. Nil functions are those of package time and math/rand.
type Clock struct {
	Now    func() time.Time
	After  func(d time.Duration) <-chan time.Time
	Random func() float64 // from 0 to 1
}

// Resolver resolves the names of one cluster. Its methods may be called from any goroutine, once each for First, Start
// and Stop, in this order.
type Resolver struct {
	// Frozen.
	cfg    Config
	hosts  []string // the names, each once
	cancel context.CancelFunc
	ctx    context.Context
	done   chan struct{} // nil until Start

	mu struct {
		sync.Mutex
		answers map[string]answer
	}
}

// answer is what is known of a name.
type answer struct {
	addrs    []netip.Addr // the last good ones, sorted
	good     time.Time    // when they came; zero: they were known before, or there are none
	err      error        // of the last question; nil if it was answered
	failures int          // questions in a row that were not
}

// Status is what there is to say about a name.
type Status struct {
	Host        string
	Addrs       []netip.Addr // in use
	LastSuccess time.Time    // zero: never
	LastError   error        // of the last question; nil if it was answered well
	Failures    int          // questions in a row that were not answered well
}

// ErrEmpty is the error of an answer without an address.
var ErrEmpty = errors.New("the answer holds no address")

const (
	// refreshJitter is how far a round may be off, as a share of the interval.
	refreshJitter = 0.1
	// retryAfter is the longest wait after a round in which a question failed: a name that came to be is not noticed half a
	// minute late, and one that never will is asked for ten times a minute.
	retryAfter = 6 * time.Second
	// addrsMax bounds the addresses of one name. A cluster of more servers than this has better means than DNS, and a forged
	// answer cannot make the gateway check and keep thousands of endpoints.
	addrsMax = 256
	// questionsMax bounds the questions of one resolver that are open at a time.
	questionsMax = 16
)

// New returns a resolver that has not asked anything yet.
func New(cfg Config) *Resolver {
	if cfg.Lookup == nil {
		cfg.Lookup = (&net.Resolver{PreferGo: true}).LookupNetIP
	}
	if cfg.Clock.Now == nil {
		cfg.Clock.Now = time.Now
	}
	if cfg.Clock.After == nil {
		cfg.Clock.After = time.After
	}
	if cfg.Clock.Random == nil {
		cfg.Clock.Random = rand.Float64
	}
	r := &Resolver{cfg: cfg}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mu.answers = map[string]answer{}
	for i := range cfg.Endpoints {
		e := &cfg.Endpoints[i]
		if _, twice := r.mu.answers[e.Host]; e.Addr.IsValid() || twice {
			continue
		}
		r.hosts = append(r.hosts, e.Host)
		r.mu.answers[e.Host] = answer{addrs: cfg.Known[e.Host]}
	}
	return r
}

// First asks for all names once and waits. It returns an error that names those of which no address is known, now or from
// before; the others are in use all the same.
func (r *Resolver) First(ctx context.Context) error {
	r.ask(ctx)
	var missing []error
	for _, s := range r.Statuses() {
		if len(s.Addrs) == 0 {
			missing = append(missing, fmt.Errorf("resolve %q: %w", s.Host, cmp.Or(s.LastError, ctx.Err(), ErrEmpty)))
		}
	}
	return errors.Join(missing...)
}

// Start begins to ask again and again.
func (r *Resolver) Start() {
	r.done = make(chan struct{})
	go r.run()
}

// Stop ends the resolver and waits until it is no longer at work: Changed is not called afterwards.
func (r *Resolver) Stop() {
	r.cancel()
	if r.done != nil {
		<-r.done
	}
}

// run is the resolver's goroutine.
func (r *Resolver) run() {
	defer close(r.done)
	targets := r.Targets()
	for {
		select {
		case <-r.cfg.Clock.After(r.pause()):
		case <-r.ctx.Done():
			return
		}
		r.ask(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		if now := r.Targets(); !slices.Equal(now, targets) {
			targets = now
			r.cfg.Changed(now)
		}
	}
}

// pause is how long to wait before the next round.
func (r *Resolver) pause() time.Duration {
	d := r.cfg.Refresh
	for _, s := range r.Statuses() {
		if s.LastError != nil {
			d = min(d, retryAfter)
		}
	}
	return time.Duration(float64(d) * (1 + refreshJitter*(2*r.cfg.Clock.Random()-1)))
}

// ask asks for every name, several at a time, and waits for the answers.
func (r *Resolver) ask(ctx context.Context) {
	var wg sync.WaitGroup
	open := make(chan struct{}, questionsMax)
	for _, host := range r.hosts {
		open <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.askFor(ctx, host)
			<-open
		}()
	}
	wg.Wait()
}

func (r *Resolver) askFor(ctx context.Context, host string) {
	question, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	addrs, err := r.cfg.Lookup(question, "ip", host)
	if ctx.Err() != nil {
		return // given up by us: nothing was learnt
	}
	if err == nil && len(addrs) == 0 {
		err = ErrEmpty
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.mu.answers[host]
	a.err = err
	if err != nil {
		a.failures++
	} else {
		a.addrs, a.good, a.failures = tidy(addrs), r.cfg.Clock.Now(), 0
	}
	r.mu.answers[host] = a
}

// tidy returns the addresses in their one form and order, each once: what differs by order alone is the same.
func tidy(addrs []netip.Addr) []netip.Addr {
	list := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		list[i] = a.Unmap()
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), addrsMax)]
}

// Targets returns the endpoints with the last good addresses of those that are names: in the order of the document, those
// of one name in the order of addresses. An address that several endpoints lead to is there once, as the first of them.
func (r *Resolver) Targets() []upstream.Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []upstream.Target{}
	seen := map[netip.AddrPort]bool{}
	add := func(e *compile.EndpointPlan, addr netip.Addr) {
		if t := e.Target(addr); !seen[t.Addr] {
			seen[t.Addr] = true
			list = append(list, t)
		}
	}
	for i := range r.cfg.Endpoints {
		e := &r.cfg.Endpoints[i]
		if e.Addr.IsValid() {
			add(e, e.Addr.Addr())
			continue
		}
		for _, addr := range r.mu.answers[e.Host].addrs {
			add(e, addr)
		}
	}
	return list
}

// Statuses says how it stands with each name.
func (r *Resolver) Statuses() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Status, len(r.hosts))
	for i, host := range r.hosts {
		a := r.mu.answers[host]
		list[i] = Status{Host: host, Addrs: a.addrs, LastSuccess: a.good, LastError: a.err, Failures: a.failures}
	}
	return list
}

// Answers returns the last good addresses by name, for the Known of a resolver that takes this one's place.
func (r *Resolver) Answers() map[string][]netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[string][]netip.Addr, len(r.hosts))
	for host, a := range r.mu.answers {
		if len(a.addrs) > 0 {
			known[host] = a.addrs
		}
	}
	return known
}

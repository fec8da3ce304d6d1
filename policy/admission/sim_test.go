package admission

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// The simulation: loops with a gate each in front of one upstream of so many servers and a queue without bounds.

// event is something that happens at a time.
type event struct {
	at  mono.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(v any)   { *e = append(*e, v.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	v := (*e)[last]
	*e = (*e)[:last]
	return v
}

// world is a simulation under way.
type world struct {
	rng    *rand.Rand
	now    mono.Time
	seq    int
	events events
	doors  []*Gate
	up     upstreamSim
	wait   time.Duration // at a door at most
}

type upstreamSim struct {
	servers int
	busy    int
	queue   []*call
	service func(r *rand.Rand) time.Duration
	worked  time.Duration // by all servers
	served  int
}

// call is a request.
type call struct {
	tenant  *tenantSim
	door    int
	ticket  Ticket
	arrived mono.Time
	sent    mono.Time
}

// tenantSim sends requests at a rate, with exponential pauses, or as many at a time as it likes (closed).
type tenantSim struct {
	key      string
	rate     float64 // a second; 0: closed
	closed   int
	class    Class
	weight   float64
	deadline time.Duration // told to the gate
	patience time.Duration // not told
	service  func(r *rand.Rand) time.Duration
	refused  map[Verdict]int
	latency  []time.Duration // of what was answered
	good     int             // within its patience
	began    mono.Time       // when its counts begin
}

func newWorld(seed uint64, loops int, cfg Config, limit *Limit, servers int, service func(*rand.Rand) time.Duration) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), now: mono.Time(time.Hour), wait: cfg.WaitMax}
	if w.wait == 0 {
		w.wait = waitMaxDefault
	}
	for range loops {
		w.doors = append(w.doors, NewGate(cfg))
	}
	w.control(limit, w.doors)
	w.up = upstreamSim{servers: servers, service: service}
	return w
}

// control looks at some of the gates ten times a second, as the filter does.
func (w *world) control(l *Limit, gates []*Gate) {
	publish := func() {
		demands := make([]int, len(gates))
		for i, g := range gates {
			demands[i] = g.Demand()
		}
		for i, n := range Share(nil, l.Value(), l.Adapts(), demands) {
			gates[i].SetLimit(n, l.Adapts(), l.Since())
			w.pump(gates[i])
		}
	}
	publish()
	var tick func()
	tick = func() {
		var all Sight
		for _, g := range gates {
			if g.Since() == l.Since() {
				all.Add(g.Seen())
			}
		}
		l.Observe(w.now, all)
		publish()
		w.after(100*time.Millisecond, tick)
	}
	w.after(100*time.Millisecond, tick)
}

func (w *world) pump(g *Gate) {
	for {
		k, v := g.Next(w.now)
		if k == nil {
			return
		}
		next := k.Of.(*call)
		if v == Admitted {
			w.admit(next)
		} else {
			w.refuse(next, v)
		}
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now.Add(d), w.seq, do})
}

func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); len(w.events) > 0 && w.events[0].at <= end; {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) start(t *tenantSim) {
	t.refused = map[Verdict]int{}
	if t.closed > 0 {
		for i := range t.closed {
			w.after(time.Duration(i)*time.Microsecond, func() { w.send(t, i%len(w.doors)) })
		}
		return
	}
	var next func()
	next = func() {
		w.send(t, w.rng.IntN(len(w.doors)))
		w.after(time.Duration(w.rng.ExpFloat64()/t.rate*1e9), next)
	}
	w.after(time.Duration(w.rng.ExpFloat64()/t.rate*1e9), next)
}

func (w *world) send(t *tenantSim, at int) {
	c := &call{tenant: t, door: at, arrived: w.now}
	c.ticket.Of = c
	v := w.doors[at].Arrive(w.now, &c.ticket, Request{Tenant: hash(t.key), Weight: t.weight, Class: t.class, Left: t.deadline})
	switch v {
	case Admitted:
		w.admit(c)
	case Waiting:
		w.after(w.wait, func() {
			if w.doors[at].Withdraw(&c.ticket) {
				w.refuse(c, 99)
			}
		})
	default:
		w.refuse(c, v)
	}
}

func (w *world) refuse(c *call, v Verdict) {
	c.tenant.refused[v]++
	if c.tenant.closed > 0 {
		w.after(10*time.Millisecond, func() { w.send(c.tenant, c.door) })
	}
}

func (w *world) admit(c *call) {
	c.sent = w.now
	if w.up.busy < w.up.servers {
		w.serve(c)
	} else {
		w.up.queue = append(w.up.queue, c)
	}
}

func (w *world) serve(c *call) {
	w.up.busy++
	service := w.up.service
	if c.tenant.service != nil {
		service = c.tenant.service
	}
	d := service(w.rng)
	w.up.worked += d
	w.after(d, func() {
		w.up.busy--
		w.up.served++
		for w.up.busy < w.up.servers && len(w.up.queue) > 0 {
			first := w.up.queue[0]
			w.up.queue = w.up.queue[1:]
			w.serve(first)
		}
		t := c.tenant
		if t.began <= c.arrived {
			took := w.now.Sub(c.arrived)
			t.latency = append(t.latency, took)
			if t.patience == 0 || took <= t.patience {
				t.good++
			}
		}
		g := w.doors[c.door]
		g.Leave(w.now, &c.ticket, w.now.Sub(c.sent))
		w.pump(g)
		if t.closed > 0 {
			w.send(t, c.door)
		}
	})
}

func hash(key string) (h uint64) {
	for _, c := range key {
		h = h*31 + uint64(c)
	}
	return h
}

// measure forgets what was counted so far.
func (w *world) measure(tenants ...*tenantSim) {
	w.up.worked, w.up.served = 0, 0
	for _, t := range tenants {
		t.latency, t.good, t.began, t.refused = nil, 0, w.now, map[Verdict]int{}
	}
}

func (w *world) utilisation(d time.Duration) float64 {
	return w.up.worked.Seconds() / (d.Seconds() * float64(w.up.servers))
}

func (w *world) limits() (sum int) {
	for _, g := range w.doors {
		sum += g.Limit()
	}
	return sum
}

func quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	s := slices.Clone(list)
	slices.Sort(s)
	return s[int(q*float64(len(s)-1))]
}

// Services.

// lognormal has that mean and coefficient of variation.
func lognormal(mean time.Duration, cv float64) func(*rand.Rand) time.Duration {
	s2 := math.Log(1 + cv*cv)
	return func(r *rand.Rand) time.Duration {
		return time.Duration(float64(mean) * math.Exp(r.NormFloat64()*math.Sqrt(s2)-s2/2))
	}
}

// bimodal is slow for a share of requests.
func bimodal(fast, slow time.Duration, share float64) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration {
		if r.Float64() < share {
			return slow
		}
		return fast
	}
}

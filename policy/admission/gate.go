package admission

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Config describes a gate. Zero fields take their defaults.
type Config struct {
	// Queue is how many may wait; 0 means 1000, below 0 nobody may.
	Queue int
	// WaitMax is how long anybody may wait; 0 means 1 s. The caller ends the wait: the gate holds no timers.
	WaitMax time.Duration
}

const (
	queueDefault   = 1000
	waitMaxDefault = time.Second
)

// Verdict is what a gate says to who arrives.
type Verdict uint8

// Verdicts.
const (
	// Admitted: the request may go on. The ticket is inside until Leave.
	Admitted Verdict = iota
	// Waiting: the ticket is in the queue until Next returns it, or Withdraw.
	Waiting
	// Full: the tenant has no room in the queue.
	Full
	// Late: the request could not be answered before its deadline.
	Late
)

// Request is what a gate wants to know of who arrives.
type Request struct {
	// Tenant is who asks: a hash of the tenant's name with a seed that nobody outside knows. Two of one number are one tenant.
	Tenant uint64
	Weight float64 // of the tenant; 0 means 1
	Class  Class
	// Left is how long it is to the request's deadline; 0: it has none.
	Left time.Duration
}

// Gate decides who may go to an upstream from one loop, and who waits. Loop-owned: not safe for concurrent use.
type Gate struct {
	cfg      Config
	queue    Queue
	inFlight int

	// Told by SetLimit.
	limit   int
	reserve int       // of it, for tenants that hold next to none
	since   mono.Time // when the window began
	window  Sight

	// How long places are held, in seconds: the mean, by which those who wait count, and the median, by which it is judged
	// whether a deadline can be met. The median, for a cache behind the gate makes the mean meaningless; who has less time left than
	// half of all requests take is more likely late than not.
	mean, median float64
}

// smoothing is the weight of one more request in the mean, step by how much it moves the median.
const smoothing, step = 1.0 / 32, 1.0 / 16

// NewGate returns a gate that nobody has passed.
func NewGate(cfg Config) *Gate {
	g := &Gate{limit: 1}
	g.Configure(cfg)
	return g
}

// Configure changes the settings. Whoever waits or is inside stays, and what was learned too: if there are too many now,
// nobody is let in until there are fewer.
func (g *Gate) Configure(cfg Config) {
	if cfg.Queue == 0 {
		cfg.Queue = queueDefault
	}
	if cfg.WaitMax <= 0 {
		cfg.WaitMax = waitMaxDefault
	}
	g.cfg = cfg
}

// reserved is the share of places that are kept for tenants with next to none: one in so many.
const reserved = 16

// SetLimit says how many may be inside: before anybody arrives, and whenever that has changed. Some of the places are kept for tenants
// that hold next to none, so that who sends little finds one free. A limit that adapts grows by what the others then want; of a
// fixed one below 16 nothing is kept, for it would be lost. since is when what Seen tells of begins.
func (g *Gate) SetLimit(limit int, adapts bool, since mono.Time) {
	g.limit, g.reserve = limit, limit/reserved
	if adapts && limit > 2 {
		g.reserve = (limit + reserved - 1) / reserved
	}
	if since != g.since {
		g.since, g.window = since, Sight{}
	}
	g.see()
}

// Since returns what SetLimit was told last.
func (g *Gate) Since() mono.Time { return g.since }

// Seen returns what this loop saw since then.
func (g *Gate) Seen() Sight {
	s := g.window
	s.InFlight = g.inFlight
	return s
}

// Demand returns how many places the loop could use.
func (g *Gate) Demand() int { return g.inFlight + g.queue.length }

func (g *Gate) see() {
	g.window.Peak = max(g.window.Peak, g.inFlight)
	g.window.Pressed = g.window.Pressed || g.queue.length > 0
}

// Limit returns how many may be inside.
func (g *Gate) Limit() int { return g.limit }

// InFlight returns how many are.
func (g *Gate) InFlight() int { return g.inFlight }

// Queued returns how many wait.
func (g *Gate) Queued() int { return g.queue.length }

// QueuedOf returns how many of a tenant wait with that priority.
func (g *Gate) QueuedOf(c Class, tenant uint64) int { return g.queue.LenOf(c, tenant) }

// Service returns how long half of the requests hold their place at most; 0 if that is not known.
func (g *Gate) Service() time.Duration { return seconds(g.median) }

// Wait estimates how long a request would wait that came now: those ahead of it, by the rate at which places become free.
func (g *Gate) Wait(r Request) time.Duration {
	if g.inFlight < g.limit && g.queue.length == 0 {
		return 0
	}
	l := &g.queue.lanes[r.Class]
	ahead := 0
	for i := range int(r.Class) {
		ahead += g.queue.lanes[i].length
	}
	own, all := weightOf(r), l.weight
	mine := 0
	if t := l.tenants[r.Tenant]; t != nil {
		mine = t.length
	}
	if mine == 0 {
		all += own
	}
	// When it is one of mine+1, each turn of which comes after others have had theirs; but no more than there are.
	turns := min(float64(mine+1)*all/own, float64(l.length+1))
	return seconds((float64(ahead) + turns) * g.mean / float64(max(g.limit, 1)))
}

// open tells whether a tenant may take a place.
func (g *Gate) open(t *tenant) bool {
	free, reserve := g.limit-g.inFlight, g.reserve
	return free > reserve || free > 0 && t.inside < reserve
}

// Arrive says what becomes of a request. After Admitted or Waiting the ticket is the gate's until Leave or Withdraw.
func (g *Gate) Arrive(now mono.Time, k *Ticket, r Request) Verdict {
	k.class, k.deadline = r.Class, mono.Never
	if r.Left > 0 {
		k.deadline = now.Add(r.Left)
	}
	t := g.queue.tenant(r.Class, r.Tenant, weightOf(r))
	switch {
	case g.open(t) && g.queue.length == 0 && !g.late(k, now):
		g.enter(t, k, 0, now)
		return Admitted
	case g.open(t) && t.inside < g.reserve && t.length == 0 && !g.late(k, now):
		g.enter(t, k, g.mean, now)
		return Admitted
	}
	v := Waiting
	switch {
	case r.Left > 0 && g.median > 0 && g.inFlight > 0 && g.Wait(r)+seconds(g.median) > r.Left:
		v = Late
	case float64(t.length) >= g.share(r):
		v = Full
	default:
		g.queue.push(t, k, now)
		g.see()
	}
	g.queue.lanes[r.Class].settle(t)
	return v
}

// Pass lets a request in whatever is the case, and says what Arrive would have said: for a gate that is only tried out. Those inside
// beyond the limit stand for those that would wait.
func (g *Gate) Pass(now mono.Time, k *Ticket, r Request) Verdict {
	k.class, k.deadline = r.Class, mono.Never
	if r.Left > 0 {
		k.deadline = now.Add(r.Left)
	}
	v := Admitted
	over := g.inFlight - g.limit
	wait := seconds(float64(over+1) * g.mean / float64(max(g.limit, 1)))
	switch {
	case over < 0 && g.late(k, now), over >= 0 && r.Left > 0 && wait+seconds(g.median) > r.Left:
		v = Late
	case over >= max(g.cfg.Queue, 0):
		v = Full
	case over >= 0:
		v = Waiting
		g.window.Pressed = true
	}
	g.enter(g.queue.tenant(r.Class, r.Tenant, weightOf(r)), k, 0, now)
	return v
}

// share is how much of the queue a tenant may fill: its weight of what is free. One greedy tenant comes to a half.
func (g *Gate) share(r Request) float64 {
	return max(0, float64(g.cfg.Queue-g.queue.length)) * min(weightOf(r), 8)
}

func weightOf(r Request) float64 {
	if r.Weight <= 0 {
		return 1
	}
	return r.Weight
}

// late tells whether a request could not be answered in time if it were let in. When nobody is inside, it is let in
// nevertheless: else nothing would ever be learned of an upstream that has recovered.
func (g *Gate) late(k *Ticket, now mono.Time) bool {
	return k.deadline != mono.Never && g.inFlight > 0 && k.deadline.Sub(now) < seconds(g.median)
}

func (g *Gate) enter(t *tenant, k *Ticket, cost float64, now mono.Time) {
	g.queue.enter(t, k, cost, now)
	g.inFlight++
	g.see()
}

// Next takes the next one out of the queue: it is Admitted, or it has become Late and is outside. It returns nil when nobody
// waits or no place is free; call it after each Leave, Withdraw and Configure until it does.
func (g *Gate) Next(now mono.Time) (*Ticket, Verdict) {
	k := g.queue.next(now.Add(-g.cfg.WaitMax / 2))
	if k == nil || !g.open(k.tenant) {
		return nil, Full
	}
	if g.late(k, now) {
		g.queue.remove(k)
		return k, Late
	}
	g.queue.take(k, g.mean, now)
	g.inFlight++
	g.see()
	return k, Admitted
}

// Withdraw takes a ticket out of the queue: the client is gone, or has waited long enough. It says whether it was there.
func (g *Gate) Withdraw(k *Ticket) bool {
	if k.state != waiting {
		return false
	}
	g.queue.remove(k)
	return true
}

// Leave gives a place back. latency is how long the upstream took to begin to answer, by which the limit is found; 0 or less: the
// request says nothing about the upstream. A ticket that is not inside is none of ours, and nothing happens.
func (g *Gate) Leave(now mono.Time, k *Ticket, latency time.Duration) {
	if k.state != inside {
		return
	}
	g.inFlight--
	held := max(now.Sub(k.admitted).Seconds(), 0)
	if latency > 0 {
		g.learn(held)
		if k.admitted >= g.since {
			g.window.Sum += math.Log(float64(max(latency, time.Microsecond)))
			g.window.Count++
		}
	}
	g.queue.leave(k, min(max(held, g.mean*costMin), g.mean*costMax))
	g.see()
}

func (g *Gate) learn(held float64) {
	switch {
	case g.mean == 0:
		g.mean, g.median = held, held
	case held > g.median:
		g.mean += (held - g.mean) * smoothing
		g.median *= 1 + step
	default:
		g.mean += (held - g.mean) * smoothing
		g.median /= 1 + step
	}
	g.mean, g.median = max(g.mean, 1e-6), max(g.median, 1e-6)
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s*1e9, math.MaxInt64/2))
}

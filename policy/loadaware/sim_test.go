package loadaware

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// The simulation: 50 callers that know nothing of each other, 10 instances with four workers and a queue each, in virtual
// time. Service times are lognormal around 20 ms, and the pool is used to 60 % of what it can do.
const (
	callersN   = 50
	instancesN = 10
	workersN   = 4
	serviceMS  = 20.0
	spread     = 0.4 // sigma of the logarithm
	callRate   = 1200.0
	tick       = 250 * time.Millisecond
	probeEvery = 5 * time.Second
)

// balancing is a way to choose, one for each caller.
type balancing interface {
	pick(now mono.Time, r *rand.Rand) int
	done(now mono.Time, i int, took time.Duration, report report)
	turn(now mono.Time, r *rand.Rand)                         // every tick
	probed(now mono.Time, i int, r report, rtt time.Duration) // every probeEvery
	shares() [instancesN]float64
}

// report is what a server says of itself, with each answer and to probes.
type report struct {
	cpu, mem float64
	latency  time.Duration
	qps      float64
}

type server struct {
	slower float64
	busy   int
	queue  []*call

	usedAt  mono.Time
	cpu     float64 // smoothed over half a second
	latency Average
	qps     float64
	qpsAt   mono.Time
}

func (s *server) advance(now mono.Time) {
	dt := now.Sub(s.usedAt)
	s.cpu += (float64(s.busy)/workersN - s.cpu) * approach(dt, 500*time.Millisecond)
	s.usedAt = now
}

func (s *server) report(now mono.Time) report {
	s.advance(now)
	return report{cpu: s.cpu, mem: 0.3, latency: s.latency.Duration(), qps: s.qps * math.Exp(-now.Sub(s.qpsAt).Seconds())}
}

type call struct {
	caller, server int
	sent           mono.Time
}

type event struct {
	at  mono.Time
	run func(now mono.Time)
}

type agenda []event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}

type world struct {
	r       *rand.Rand
	agenda  agenda
	servers [instancesN]*server
	callers []balancing
	// sent and took are what became of the calls, by the time they were sent.
	sent   []mono.Time
	took   []time.Duration
	to     []int
	shares [][instancesN]float64 // mean over callers, by tick
}

func (w *world) at(t mono.Time, run func(mono.Time)) { heap.Push(&w.agenda, event{t, run}) }

func (w *world) every(first mono.Time, d time.Duration, run func(mono.Time)) {
	var again func(mono.Time)
	again = func(now mono.Time) {
		run(now)
		w.at(now.Add(d), again)
	}
	w.at(first, again)
}

func simulate(seed uint64, d time.Duration, make func() balancing, change func(w *world)) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 2))}
	for i := range w.servers {
		w.servers[i] = &server{slower: 1}
	}
	for c := range callersN {
		b := make()
		w.callers = append(w.callers, b)
		w.every(mono.Time(w.r.Int64N(int64(tick))), tick, func(now mono.Time) { b.turn(now, w.r) })
		for i := range instancesN {
			w.every(mono.Time(w.r.Int64N(int64(probeEvery))), probeEvery, func(now mono.Time) {
				b.probed(now, i, w.servers[i].report(now), time.Millisecond)
			})
		}
		var call func(mono.Time)
		call = func(now mono.Time) {
			w.send(now, c)
			w.at(now.Add(w.exponential(callersN/callRate)), call)
		}
		w.at(mono.Time(w.exponential(callersN/callRate)), call)
	}
	w.every(mono.Time(tick), tick, func(mono.Time) {
		var mean [instancesN]float64
		for _, b := range w.callers {
			for i, s := range b.shares() {
				mean[i] += s / callersN
			}
		}
		w.shares = append(w.shares, mean)
	})
	if change != nil {
		change(w)
	}
	for len(w.agenda) > 0 && w.agenda[0].at < mono.Time(d) {
		e := heap.Pop(&w.agenda).(event)
		e.run(e.at)
	}
	return w
}

func (w *world) exponential(mean float64) time.Duration {
	return time.Duration(w.r.ExpFloat64() * mean * float64(time.Second))
}

func (w *world) send(now mono.Time, caller int) {
	i := w.callers[caller].pick(now, w.r)
	s := w.servers[i]
	s.advance(now)
	s.qps = s.qps*math.Exp(-now.Sub(s.qpsAt).Seconds()) + 1
	s.qpsAt = now
	c := &call{caller: caller, server: i, sent: now}
	if s.busy == workersN {
		s.queue = append(s.queue, c)
		return
	}
	s.busy++
	w.serve(now, c)
}

func (w *world) serve(now mono.Time, c *call) {
	s := w.servers[c.server]
	ms := serviceMS * math.Exp(spread*w.r.NormFloat64()-spread*spread/2) * s.slower
	w.at(now.Add(time.Duration(ms*float64(time.Millisecond))), func(now mono.Time) {
		s.advance(now)
		took := now.Sub(c.sent)
		s.latency = s.latency.Learn(took, StepServer)
		w.sent, w.took, w.to = append(w.sent, c.sent), append(w.took, took), append(w.to, c.server)
		w.callers[c.caller].done(now, c.server, took, s.report(now))
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			w.serve(now, next)
			return
		}
		s.busy--
	})
}

// quantile is of the calls sent from the one second to the other.
func (w *world) quantile(q float64, from, to int) time.Duration {
	var took []time.Duration
	for k, at := range w.sent {
		if at >= mono.Time(time.Duration(from)*time.Second) && at < mono.Time(time.Duration(to)*time.Second) {
			took = append(took, w.took[k])
		}
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0
	}
	return took[int(q*float64(len(took)-1))]
}

// part is the share of the calls sent in that time that went to i.
func (w *world) part(i, from, to int) float64 {
	n, all := 0, 0
	for k, at := range w.sent {
		if at >= mono.Time(time.Duration(from)*time.Second) && at < mono.Time(time.Duration(to)*time.Second) {
			if all++; w.to[k] == i {
				n++
			}
		}
	}
	return float64(n) / float64(max(all, 1))
}

// swing is the most by which the share of an instance, as callers together want it, departs from its mean; of the instances
// not named.
func (w *world) swing(from, to int, not ...int) float64 {
	worst := 0.0
	perSecond := int(time.Second / tick)
	for i := range instancesN {
		if slices.Contains(not, i) {
			continue
		}
		var sum, n float64
		for _, s := range w.shares[from*perSecond : to*perSecond-1] {
			sum, n = sum+s[i], n+1
		}
		for _, s := range w.shares[from*perSecond : to*perSecond-1] {
			worst = max(worst, math.Abs(s[i]/(sum/n)-1))
		}
	}
	return worst
}

// traffic is the most by which the calls an instance got in windows of five seconds depart from their mean.
func (w *world) traffic(from, to int, not ...int) float64 {
	worst := 0.0
	for i := range instancesN {
		if slices.Contains(not, i) {
			continue
		}
		mean := w.part(i, from, to)
		for t := from; t+5 <= to; t += 5 {
			worst = max(worst, math.Abs(w.part(i, t, t+5)/mean-1))
		}
	}
	return worst
}

// aware is a caller as kit/rpc is one, without atomics.
type aware struct {
	settings Settings
	members  [instancesN]*Member
	learnt   [instancesN]struct {
		own, ratio                   Average
		said                         report
		saidAt, learntAt, progressAt mono.Time
		inFlight                     int64
	}
	table *Table
}

func newAware() balancing {
	a := &aware{settings: Settings{}.Filled()}
	for i := range a.members {
		a.members[i] = NewMember(1)
	}
	a.turn(0, nil)
	return a
}

func (a *aware) turn(now mono.Time, _ *rand.Rand) {
	var chances [instancesN]Chance
	for i, m := range a.members {
		l := &a.learnt[i]
		m.Facts = Facts{Base: 100, Ready: true, CPU: -1, Memory: -1}
		m.Facts.Latency = l.own.Duration()
		if l.saidAt > 0 {
			m.Facts.CPU, m.Facts.Memory, m.Facts.LoadAge = l.said.cpu, l.said.mem, now.Sub(l.saidAt)
			if l.ratio.Known() {
				m.Facts.Latency = l.ratio.Of(l.said.latency)
			}
		}
		m.Facts.LatencyAge = now.Sub(l.learntAt)
		if l.inFlight > 0 {
			m.Facts.Stalled = now.Sub(l.progressAt)
		}
	}
	a.settings.Weigh(now, a.members[:])
	for i, m := range a.members {
		chances[i] = Chance{m.Weight.Final, m.Weight.Slowness}
	}
	a.table = NewTable(chances[:])
}

func (a *aware) pick(now mono.Time, r *rand.Rand) int {
	x, y := r.Uint64(), r.Uint64()
	first, second := a.table.Draw(x, y)
	i := a.table.Prefer(first, second, a.learnt[first].inFlight, a.learnt[second].inFlight, y)
	l := &a.learnt[i]
	if l.inFlight == 0 {
		l.progressAt = now
	}
	l.inFlight++
	return i
}

func (a *aware) done(now mono.Time, i int, took time.Duration, said report) {
	l := &a.learnt[i]
	l.inFlight--
	l.progressAt, l.learntAt = now, now
	l.own = l.own.Learn(took, StepAlone)
	if said.latency > 0 {
		l.ratio = l.ratio.LearnRatio(took, said.latency, StepRatio)
	}
	l.said, l.saidAt = said, now
}

func (a *aware) probed(now mono.Time, i int, said report, _ time.Duration) {
	a.learnt[i].said, a.learnt[i].saidAt = said, now
}

func (a *aware) shares() (out [instancesN]float64) {
	sum := 0.0
	for _, m := range a.members {
		sum += m.Weight.Final
	}
	for i, m := range a.members {
		out[i] = m.Weight.Final / sum
	}
	return out
}

// plain is the formula as it stands: reports of every fifth second, latency as the last probe or call saw it, a draw by weight.
type plain struct {
	aware
	took [instancesN]time.Duration
}

func newPlain() balancing {
	p := &plain{}
	p.turn(0, nil)
	return p
}

func (p *plain) weight(i int) float64 {
	said := p.learnt[i].said
	return max((1-max(said.cpu, said.mem))*math.Exp(-float64(p.took[i])/1e8), 1e-9)
}

func (p *plain) turn(mono.Time, *rand.Rand) {
	var c [instancesN]Chance
	for i := range c {
		c[i].Weight = p.weight(i)
	}
	p.table = NewTable(c[:])
}

func (p *plain) pick(_ mono.Time, r *rand.Rand) int { return p.table.draw(r.Uint64()) }

func (p *plain) done(_ mono.Time, i int, took time.Duration, _ report) { p.took[i] = took }

func (p *plain) shares() (out [instancesN]float64) {
	sum := 0.0
	for i := range out {
		out[i] = p.weight(i)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// turns is round robin.
type turns struct{ next int }

func (t *turns) pick(_ mono.Time, r *rand.Rand) int {
	if t.next == 0 {
		t.next = r.IntN(instancesN)
	}
	t.next++
	return t.next % instancesN
}
func (*turns) done(mono.Time, int, time.Duration, report)   {}
func (*turns) turn(mono.Time, *rand.Rand)                   {}
func (*turns) probed(mono.Time, int, report, time.Duration) {}
func (*turns) shares() (out [instancesN]float64) {
	for i := range out {
		out[i] = 1.0 / instancesN
	}
	return out
}

// weighted is the rule of gRFC A58 with its defaults: queries per second by utilisation, ten seconds of blackout, news every second.
type weighted struct {
	weights [instancesN]float64
	since   mono.Time
	table   *Table
	at      mono.Time
}

func newWeighted() balancing { return &weighted{} }

func (w *weighted) turn(now mono.Time, _ *rand.Rand) {
	if w.table != nil && now.Sub(w.at) < time.Second {
		return
	}
	w.at = now
	var c [instancesN]Chance
	for i, share := range w.shares() {
		c[i].Weight = share
	}
	w.table = NewTable(c[:])
}

func (w *weighted) pick(now mono.Time, r *rand.Rand) int {
	if w.table == nil {
		w.turn(now, r)
	}
	return w.table.draw(r.Uint64())
}

func (w *weighted) done(now mono.Time, i int, _ time.Duration, said report) {
	if w.since == 0 {
		w.since = now
	}
	if said.cpu > 0 {
		w.weights[i] = said.qps / said.cpu
	}
}
func (w *weighted) probed(mono.Time, int, report, time.Duration) {}

func (w *weighted) shares() (out [instancesN]float64) {
	sum := 0.0
	for i := range out {
		out[i] = 1
		if w.since > 0 && w.at.Sub(w.since) > 10*time.Second && w.weights[i] > 0 {
			out[i] = w.weights[i]
		}
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

var ways = []struct {
	name string
	make func() balancing
}{
	{"round robin", func() balancing { return &turns{} }},
	{"weighted round robin (A58)", newWeighted},
	{"the plain formula", newPlain},
	{"load aware", newAware},
}

const (
	slowAt = 15
	wellAt = 40
	endAt  = 56
)

func slowOne(w *world) {
	w.at(mono.Time(slowAt*time.Second), func(mono.Time) { w.servers[3].slower = 10 })
	w.at(mono.Time(wellAt*time.Second), func(mono.Time) { w.servers[3].slower = 1 })
}

// For the record: seeds 1 to 8 gave 1.05 to 1.17 times, and swings of 6 to 18 %.
func TestOneOfTenInstancesBecomesTenTimesSlower(t *testing.T) {
	const seed = 7
	rows := [][]any{{"", "p50 well", "p99 well", "p99 first 2 s", "p99 then", "slow's part", "swing", "traffic"}}
	for _, way := range ways {
		w := simulate(seed, endAt*time.Second, way.make, slowOne)
		well, slow := w.quantile(0.99, 10, slowAt), w.quantile(0.99, slowAt+2, wellAt)
		swing := max(w.swing(10, slowAt), w.swing(slowAt+5, wellAt, 3))
		traffic := max(w.traffic(10, slowAt), w.traffic(slowAt+5, wellAt, 3))
		rows = append(rows, []any{way.name, w.quantile(0.5, 10, slowAt), well, w.quantile(0.99, slowAt, slowAt+2), slow,
			percent(w.part(3, slowAt+2, wellAt)), percent(swing), percent(traffic)})
		if way.name != "load aware" {
			continue
		}
		if float64(slow) > 1.2*float64(well) {
			t.Errorf("p99 is %v while one is slow, and %v while all are well: more than 1.2 times", slow, well)
		}
		if swing > 0.2 || traffic > 0.2 {
			t.Errorf("weights swing by %.1f %%, traffic by %.1f %%", 100*swing, 100*traffic)
		}
		if part := w.part(3, wellAt+5, wellAt+15); part < 0.08 || part > 0.13 {
			t.Errorf("after it has recovered the slow one has %.1f %% of the calls", 100*part)
		}
	}
	t.Logf("seed %d\n%s", seed, table(rows))
}

// Three of ten are half as slow again, which with turns alone are filled to nine tenths.
func TestUnequalInstances(t *testing.T) {
	const seed = 3
	rows := [][]any{{"", "p50", "p99", "p99.9", "slow ones' part", "swing", "traffic"}}
	p99 := map[string]time.Duration{}
	for _, way := range ways {
		w := simulate(seed, 40*time.Second, way.make, func(w *world) {
			for i := range 3 {
				w.servers[i].slower = 1.5
			}
		})
		swing, traffic := w.swing(15, 40), w.traffic(15, 40)
		p99[way.name] = w.quantile(0.99, 15, 40)
		rows = append(rows, []any{way.name, w.quantile(0.5, 15, 40), p99[way.name], w.quantile(0.999, 15, 40),
			percent(w.part(0, 15, 40) + w.part(1, 15, 40) + w.part(2, 15, 40)), percent(swing), percent(traffic)})
		if way.name == "load aware" && (swing > 0.2 || traffic > 0.2) {
			t.Errorf("weights swing by %.1f %%, traffic by %.1f %%", 100*swing, 100*traffic)
		}
	}
	if p99["load aware"] > p99["round robin"]*85/100 {
		t.Errorf("p99 is %v, with round robin %v", p99["load aware"], p99["round robin"])
	}
	t.Logf("seed %d\n%s", seed, table(rows))
}

type percent float64

func (p percent) String() string { return fmt.Sprintf("%.2f%%", 100*float64(p)) }

func table(rows [][]any) (text string) {
	for _, row := range rows {
		text += fmt.Sprintf("%-28v", row[0])
		for _, cell := range row[1:] {
			if d, ok := cell.(time.Duration); ok {
				cell = d.Round(100 * time.Microsecond)
			}
			text += fmt.Sprintf("%16v", cell)
		}
		text += "\n"
	}
	return text
}

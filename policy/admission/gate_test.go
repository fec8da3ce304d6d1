package admission

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

const t0 = mono.Time(time.Hour)

func gateOf(limit int, cfg Config) *Gate {
	g := NewGate(cfg)
	g.SetLimit(limit, false, t0)
	return g
}

func TestGateWithRoomKeepsNobody(t *testing.T) {
	g, now := gateOf(2, Config{}), t0
	var a, b, c Ticket
	for _, k := range []*Ticket{&a, &b} {
		if v := g.Arrive(now, k, Request{Tenant: 1, Class: Normal}); v != Admitted {
			t.Fatalf("verdict %d with room", v)
		}
	}
	if v := g.Arrive(now, &c, Request{Tenant: 1, Class: Normal}); v != Waiting || !c.Waits() {
		t.Fatalf("verdict %d without room", v)
	}
	if k, _ := g.Next(now); k != nil {
		t.Fatal("somebody was let in without room")
	}
	g.Leave(now.Add(time.Second), &a, time.Second)
	k, v := g.Next(now.Add(time.Second))
	if k != &c || v != Admitted || k.Waited(0) != time.Second {
		t.Fatalf("next is %p %d, want %p", k, v, &c)
	}
	g.Leave(now, &b, 0)
	g.Leave(now, &c, 0)
	g.Leave(now, &c, 0) // none of ours any more
	if g.InFlight() != 0 || g.Queued() != 0 {
		t.Errorf("%d in flight, %d queued at the end", g.InFlight(), g.Queued())
	}
}

// queue bound: a tenant gets the free room and no more, so that a newcomer always finds some.
func TestQueueFull(t *testing.T) {
	g := gateOf(1, Config{Queue: 100})
	var inside Ticket
	g.Arrive(t0, &inside, Request{Tenant: 1})
	fill := func(tenant uint64) (n int) {
		for g.Arrive(t0, new(Ticket), Request{Tenant: tenant}) == Waiting {
			n++
		}
		return n
	}
	for i, want := range []int{50, 25, 13, 6, 3, 2, 1} {
		if n := fill(uint64(i)); n != want {
			t.Errorf("tenant %d found room for %d, want %d", i, n, want)
		}
	}
	if v := gateOf(0, Config{Queue: -1}).Arrive(t0, new(Ticket), Request{}); v != Full {
		t.Errorf("verdict %d of a gate without a queue", v)
	}
}

func TestLate(t *testing.T) {
	for _, c := range []struct {
		situation string
		inside    int
		left      time.Duration
		want      Verdict
	}{
		{"no deadline", 2, 0, Waiting},
		{"enough time", 2, time.Second, Waiting},
		{"too little for the wait", 2, 120 * time.Millisecond, Late},
		{"too little for the service", 1, 90 * time.Millisecond, Late},
		{"enough for the service", 1, 110 * time.Millisecond, Admitted},
		{"nobody inside: somebody has to try", 0, time.Millisecond, Admitted},
	} {
		g := gateOf(2, Config{})
		now := t0
		for range 40 {
			var k Ticket
			g.Arrive(now, &k, Request{})
			now = now.Add(100 * time.Millisecond)
			g.Leave(now, &k, 100*time.Millisecond)
		}
		for range c.inside {
			g.Arrive(now, new(Ticket), Request{})
		}
		g.median = 0.1
		if v := g.Arrive(now, new(Ticket), Request{Left: c.left}); v != c.want {
			t.Errorf("%s: verdict %d, want %d", c.situation, v, c.want)
		}
	}
}

func TestPassJudgesAndLetsIn(t *testing.T) {
	for _, queue := range []int{-1, 2} {
		g := gateOf(2, Config{Queue: queue})
		tickets := make([]Ticket, 6)
		var got []Verdict
		for i := range tickets {
			got = append(got, g.Pass(t0, &tickets[i], Request{}))
		}
		want := []Verdict{Admitted, Admitted, Waiting, Waiting, Full, Full}
		if queue < 0 {
			want = []Verdict{Admitted, Admitted, Full, Full, Full, Full}
		}
		if !slices.Equal(got, want) || g.InFlight() != 6 || g.Queued() != 0 {
			t.Errorf("queue %d: %v, want %v; %d in flight", queue, got, want, g.InFlight())
		}
		for i := range tickets {
			g.Leave(t0, &tickets[i], 0)
		}
		if g.InFlight() != 0 {
			t.Errorf("%d in flight at the end", g.InFlight())
		}
	}
}

func TestTenantsAreForgotten(t *testing.T) {
	g := gateOf(1, Config{Queue: 1 << 20})
	var inside Ticket
	g.Arrive(t0, &inside, Request{Tenant: 1 << 60})
	g.Leave(t0.Add(time.Second), &inside, time.Second)
	now := t0
	for i := range uint64(5 * TenantsKept) {
		var a, b Ticket
		g.Arrive(now, &a, Request{Tenant: 2 * i})
		g.Arrive(now, &b, Request{Tenant: 2*i + 1})
		now = now.Add(time.Millisecond)
		g.Leave(now, &a, time.Millisecond)
		if k, _ := g.Next(now); k != &b {
			t.Fatal("not the one that waits")
		}
		now = now.Add(time.Hour)
		g.Leave(now, &b, time.Hour)
		if n := g.queue.Tenants(); n > TenantsKept+2 {
			t.Fatalf("%d tenants are known", n)
		}
	}
}

// The twin looks at all tenants for the one whose turn it is, and counts everything anew.
func TestGateAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := gateOf(rapid.IntRange(0, 20).Draw(t, "limit"), Config{Queue: rapid.IntRange(1, 60).Draw(t, "queue")})
		now := t0
		var all []*Ticket
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "pause")) * time.Millisecond)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				k := new(Ticket)
				v := g.Arrive(now, k, Request{Tenant: uint64(rapid.IntRange(0, 6).Draw(t, "tenant")), Class: Class(rapid.IntRange(0, 3).Draw(t, "class")),
					Weight: float64(rapid.IntRange(0, 4).Draw(t, "weight")), Left: time.Duration(rapid.IntRange(0, 2000).Draw(t, "left")) * time.Millisecond})
				if v == Admitted || v == Waiting {
					all = append(all, k)
				}
			case 3:
				for _, k := range all {
					if k.Inside() {
						g.Leave(now, k, now.Sub(k.Admitted()))
						break
					}
				}
			case 4:
				if len(all) > 0 {
					k := all[rapid.IntRange(0, len(all)-1).Draw(t, "who")]
					if was := k.Waits(); g.Withdraw(k) != was {
						t.Fatal("withdrew wrongly")
					}
				}
			case 5:
				g.SetLimit(rapid.IntRange(0, 20).Draw(t, "limit"), rapid.Bool().Draw(t, "adapts"), now)
			}
			for {
				want := earliest(g, all)
				k, v := g.Next(now)
				if k == nil {
					break
				}
				if k.class != want.class || v == Admitted && want.tenant != nil && k.tenant != want.tenant && want.start < k.tenant.start-k.charged/k.tenant.weight-1e-9 {
					t.Fatal("it was another's turn")
				}
			}
			waits, insides := 0, 0
			for _, k := range all {
				if k.Waits() {
					waits++
				}
				if k.Inside() {
					insides++
				}
			}
			if waits != g.Queued() || insides != g.InFlight() {
				t.Fatalf("%d wait and %d are inside, the gate says %d and %d", waits, insides, g.Queued(), g.InFlight())
			}
			if waits > 0 && g.InFlight() < g.limit-g.reserve {
				t.Fatalf("%d wait, and %d of %d are inside", waits, insides, g.limit)
			}
		}
		for _, k := range all {
			g.Withdraw(k)
			g.Leave(now, k, 0)
		}
		if g.InFlight() != 0 || g.Queued() != 0 {
			t.Fatal("the gate is not empty")
		}
		for i := range g.queue.lanes {
			if l := &g.queue.lanes[i]; len(l.tenants) != l.idleCount || l.weight != 0 || len(l.heap) != 0 {
				t.Fatal("a tenant is left")
			}
		}
	})
}

type turnOf struct {
	class  Class
	tenant *tenant
	start  float64
}

func earliest(g *Gate, all []*Ticket) turnOf {
	c, _ := g.queue.turn()
	best := turnOf{c, nil, math.Inf(1)}
	for _, k := range all {
		if k.Waits() && k.class == c && k.tenant.start < best.start {
			best.tenant, best.start = k.tenant, k.tenant.start
		}
	}
	return best
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		limit   int
		demands []int
		want    []int
	}{
		{16, []int{0}, []int{16}},
		{16, []int{1000, 1000}, []int{8, 8}},
		{17, []int{1000, 1000}, []int{9, 8}},
		{16, []int{2, 1000}, []int{2, 14}},
		{16, []int{0, 1000}, []int{2, 16}},
		{16, []int{2, 4}, []int{7, 9}},
		{40, []int{0, 5, 1000, 1000}, []int{2, 5, 18, 17}},
		{1, []int{9, 9, 9}, []int{1, 1, 1}},
		{5, nil, nil},
	} {
		got := Share(nil, c.limit, true, c.demands)
		if len(got) != len(c.want) {
			t.Fatalf("%v", got)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%d among %v: %v, want %v", c.limit, c.demands, got, c.want)
				break
			}
		}
	}
}

func TestShareOfAFixedLimit(t *testing.T) {
	for _, c := range []struct {
		limit   int
		demands []int
		want    []int
	}{
		{16, []int{0, 1000}, []int{1, 16}}, // one more, in case
		{16, []int{1000, 1000, 1000, 1000}, []int{4, 4, 4, 4}},
		{16, []int{3, 0, 0, 0}, []int{7, 3, 3, 3}},
		{4, []int{9, 0, 0, 0}, []int{4, 1, 1, 1}},
		{2, []int{9, 9, 9, 9}, []int{1, 1, 1, 1}}, // nobody is left without
	} {
		if got := Share(nil, c.limit, false, c.demands); !slices.Equal(got, c.want) {
			t.Errorf("%d among %v: %v, want %v", c.limit, c.demands, got, c.want)
		}
	}
}

func TestShareIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 500).Draw(t, "limit")
		demands := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 20).Draw(t, "demands")
		sum, want := 0, 0
		for _, d := range demands {
			want += d
		}
		adapts := rapid.Bool().Draw(t, "adapts")
		for i, n := range Share(nil, limit, adapts, demands) {
			if sum += n; n < 1 {
				t.Fatalf("loop %d has %d", i, n)
			}
			if enough := want <= limit; enough && n < demands[i] {
				t.Fatalf("loop %d has %d of %d, and there is enough", i, n, demands[i])
			}
		}
		if !adapts && sum > limit+len(demands) {
			t.Fatalf("%d were given of exactly %d", sum, limit)
		}
		if sum > limit+max(limit/4, len(demands)) || sum < limit && want >= limit {
			t.Fatalf("%d were given of %d", sum, limit)
		}
	})
}

func TestPassingAllocatesNothing(t *testing.T) {
	g, now := gateOf(4, Config{}), t0
	rng := rand.New(rand.NewPCG(1, 2))
	var k [8]Ticket
	pass := func() {
		for i := range k {
			g.Arrive(now, &k[i], Request{Tenant: rng.Uint64() % 1000, Class: Normal})
		}
		now = now.Add(time.Millisecond)
		for range 2 {
			for i := range k {
				g.Leave(now, &k[i], time.Millisecond)
				for n, _ := g.Next(now); n != nil; n, _ = g.Next(now) {
					continue
				}
			}
		}
	}
	for range 5000 {
		pass()
	}
	if n := testing.AllocsPerRun(2000, pass); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPass(b *testing.B) {
	g, now := gateOf(4, Config{}), t0
	var k Ticket
	b.ReportAllocs()
	for i := range b.N {
		g.Arrive(now, &k, Request{Tenant: uint64(i & 63), Class: Normal})
		now = now.Add(time.Millisecond)
		g.Leave(now, &k, time.Millisecond)
	}
}

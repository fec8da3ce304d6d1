package quotas

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/storetest"
)

// slack is for what the tests cannot see: requests are noted some time after they were judged, on a machine with other things
// to do. It is in seconds of the rate.
const slack = 0.25

func TestNodesTogetherStayWithinTheBound(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	for _, c := range []struct {
		nodes, perSecond int
		rule             quota.Rule
	}{
		{2, 2000, quota.Rule{Count: 1000, Per: time.Second, Burst: 200}},
		{4, 500, quota.Rule{Count: 1000, Per: time.Second, Burst: 1000}},
		{8, 500, quota.Rule{Count: 200, Per: time.Second, Burst: 50}},
	} {
		t.Run(fmt.Sprintf("%d nodes", c.nodes), func(t *testing.T) {
			nodes := newNodes(t, c.nodes, Spec{Redis: Settings{Address: r.addr, Timeout: TimeoutMax}, Rule: c.rule, Name: t.Name()})
			got := storetest.Load(asking(nodes, "k"), c.perSecond, storetest.Within(1500*time.Millisecond))
			rate := c.rule.Rate()
			if over, most := got.Over(rate), float64(c.rule.Burst)+rate*slack; over > most {
				t.Errorf("%v over the rate, at most %v; %v", over, most, got)
			}
			// How much of it can be used is measured in virtual time, by policy/quota: here it depends on the machine.
			if len(got.Admitted) < int(c.rule.Burst) {
				t.Errorf("%v: a limit that lets nothing through", got)
			}
			trips := uint64(0)
			for _, n := range nodes {
				trips += n.link.trips.Load()
			}
			t.Logf("%v; %d round trips, slowest verdict %v", got, trips, got.Slowest)
		})
	}
}

func TestExactlySoManyInAnyWindow(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	rule := quota.Rule{Count: 50, Per: time.Second}
	nodes := newNodes(t, 4, Spec{Redis: Settings{Address: r.addr, Timeout: TimeoutMax}, Mode: Exact, Rule: rule, Name: "exact"})
	got := storetest.Load(asking(nodes, "k"), 100, storetest.Within(2200*time.Millisecond))
	// What was admitted by the store's clock is noted here by another one, a moment later.
	if d, ok := got.Closest(50); ok && d < 900*time.Millisecond {
		t.Fatalf("51 in %v", d)
	}
	if len(got.Admitted) < 50 {
		t.Errorf("%v: want 50 at least", got)
	}
}

func TestAStoppedRedisIsKnownAndComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		stop func(r *redis)
		back func(r *redis)
	}{
		{"frozen", (*redis).freeze, (*redis).thaw},
		{"killed", (*redis).kill, (*redis).start},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRedis(t)
			rule := quota.Rule{Count: 200, Per: time.Second, Burst: 40}
			nodes := newNodes(t, 2, Spec{Redis: Settings{Address: r.addr}, Rule: rule, Nodes: 2})
			stop := make(chan struct{})
			result := make(chan *storetest.Tally[quota.By])
			go func() { result <- storetest.Load(asking(nodes, "k"), 400, stop) }()
			both := func(reachable bool) func() bool {
				return func() bool {
					for _, n := range nodes {
						if v := n.link.View(mono.Now()); v.Reachable != reachable || v.Trips == 0 {
							return false
						}
					}
					return true
				}
			}
			served := func() bool { return nodes[0].source.table.counts.alone.Load() > 200 }
			storetest.Eventually(t, "Redis is in use", both(true))
			c.stop(r)
			storetest.Eventually(t, "nodes know that it is gone", both(false))
			storetest.Eventually(t, "nodes decide by themselves", served)
			if v := nodes[0].source.table.View(mono.Now()); v.Excess <= 0 {
				t.Errorf("an outage with local shares adds nothing to the bound: %+v", v)
			}
			c.back(r)
			storetest.Eventually(t, "nodes know that it is back", both(true))
			reports := nodes[0].source.table.counts.reports.Load()
			storetest.Eventually(t, "nodes ask again", func() bool { return nodes[0].source.table.counts.reports.Load() > reports+3 })
			close(stop)
			got := <-result
			// All nodes were cut off, so their shares take the place of what the store would have granted; a store that was
			// killed may grant a burst anew.
			rate := rule.Rate()
			if over, most := got.Over(rate), 3*float64(rule.Burst)+rate*slack; over > most {
				t.Errorf("%v over the rate, at most %v; %v", over, most, got)
			}
			if got.By[quota.Own] == 0 || got.By[quota.Store] == 0 {
				t.Errorf("%v: want verdicts of both", got)
			}
		})
	}
}

func TestWhatBecomesOfRequestsWithoutRedis(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		unreachable Unreachable
		mode        Mode
		nodes       int
		want        int // of 30 at once
		by          quota.By
	}{
		{"local share of one", LocalShare, Leased, 0, 20, quota.Own},
		{"local share of four", LocalShare, Leased, 4, 5, quota.Own},
		{"exact, local share of four", LocalShare, Exact, 4, 2, quota.Own},
		{"open", Open, Leased, 0, 30, quota.Policy},
		{"closed", Closed, Leased, 0, 0, quota.Policy},
		{"exact, closed", Closed, Exact, 0, 0, quota.Policy},
	} {
		m := miniredis.RunT(t)
		s := Spec{
			Redis: Settings{Address: m.Addr()}, Unreachable: c.unreachable, Mode: c.mode, Nodes: c.nodes,
			Rule: quota.Rule{Count: 10, Per: time.Hour, Burst: 20},
		}
		m.Close()
		n := newNodes(t, 1, s)[0]
		allowed := 0
		for range 30 {
			v := n.request("k")
			if v.Allowed {
				allowed++
			}
			if v.By != c.by {
				t.Errorf("%s: by %v, want %v", c.name, v.By, c.by)
			}
			if !v.Allowed && v.RetryAfter <= 0 {
				t.Errorf("%s: a refusal does not say when to come again", c.name)
			}
		}
		if allowed != c.want {
			t.Errorf("%s: %d of 30 admitted, want %d", c.name, allowed, c.want)
		}
	}
}

func TestARestartThatForgetsIsSeen(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	n := newNodes(t, 1, Spec{Redis: Settings{Address: m.Addr(), Timeout: TimeoutMax}, Rule: quota.Rule{Count: 1, Per: time.Second, Burst: 5}})[0]
	for range 5 {
		if v := n.request("k"); !v.Allowed {
			t.Fatalf("refused: %+v", v)
		}
	}
	m.FlushAll()
	storetest.Eventually(t, "the loss is seen", func() bool { n.request("k"); return n.source.table.counts.lost.Load() > 0 })
	if v := n.source.table.View(mono.Now()); v.Excess != 5 {
		t.Errorf("after a loss the bound is exceeded by %v, want a burst of 5", v.Excess)
	}
}

func TestKeysThatNobodyAsksForAreForgotten(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	n := newNodes(t, 1, Spec{Redis: Settings{Address: m.Addr(), Timeout: TimeoutMax}, Rule: quota.Rule{Count: 10, Per: time.Second, Burst: 10}, KeysMax: 3})[0]
	for i := range 3 {
		if v := n.request(fmt.Sprint(i)); v.By != quota.Store || !v.Allowed {
			t.Errorf("key %d: %+v", i, v)
		}
	}
	if v := n.request("one too many"); v.By != quota.Crowding {
		t.Errorf("a key for which there is no room: %+v", v)
	}
	storetest.Eventually(t, "keys are forgotten", func() bool { return n.source.table.View(mono.Now()).Keys == 0 })
	if v := n.request("one too many"); v.By != quota.Store || !v.Allowed {
		t.Errorf("then there is room: %+v", v)
	}
}

func TestWhatIsInHandIsGivenBackAtTheEnd(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	s := Spec{Redis: Settings{Address: m.Addr(), Timeout: TimeoutMax}, Rule: quota.Rule{Count: 100, Per: time.Hour, Burst: 100}}
	one := newNodes(t, 1, s)[0]
	spent := 0
	storetest.Eventually(t, "tokens are in hand", func() bool {
		if one.request("k").Allowed {
			spent++
		}
		return one.source.table.View(mono.Now()).Held > 0
	})
	one.source.table.Close()
	one.link.Close()
	<-one.link.Ended()
	other := newNodes(t, 1, s)[0]
	got := 0
	for other.request("k").Allowed {
		got++
	}
	if got+spent != 100 {
		t.Errorf("%d and %d admitted, want 100 together", spent, got)
	}
	other.source.table.Close()
	other.link.Close()
	one.link.Start() // so that the end of the test may end it again
	one.source.table.Start()
	other.link.Start()
}

func TestADecisionFromTheHandAllocatesNothing(t *testing.T) {
	m := miniredis.RunT(t)
	n := newNodes(t, 1, Spec{Redis: Settings{Address: m.Addr(), Timeout: TimeoutMax}, Rule: quota.Rule{Count: 1_000_000, Per: time.Second, Burst: 1_000_000}})[0]
	key := []byte("k")
	storetest.Eventually(t, "plenty is in hand", func() bool {
		for range 2000 {
			n.request("k")
		}
		return n.source.table.View(mono.Now()).Held > 5000
	})
	if allocs := testing.AllocsPerRun(500, func() { n.source.Decide(key, mono.Now(), 1) }); allocs > 0.1 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkDecide(b *testing.B) {
	m := miniredis.RunT(b)
	source, _ := Compile(Spec{Redis: Settings{Address: m.Addr()}, Unreachable: Open, Name: "b", Rule: quota.Rule{Count: 1_000_000, Per: time.Second, Burst: 1_000_000}}, Memory{})
	key := []byte("k")
	now := mono.Now()
	source.Decide(key, now, 1)
	c := source.table.find(source.table.hash(key))
	c.good.Store(int64(mono.Never))
	c.held.Store(1 << 60)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			source.Decide(key, now, 1)
		}
	})
}

// A request of an exact rule waits for a round trip.
func BenchmarkExactWaits(b *testing.B) {
	r := startRedis(b)
	n := newNodes(b, 1, Spec{Redis: Settings{Address: r.addr}, Mode: Exact, Rule: quota.Rule{Count: 10_000, Per: time.Second}})[0]
	i := 0
	for b.Loop() {
		n.request(fmt.Sprint(i % 1000))
		i++
	}
}

// Of a cluster one node is named; each key has a slot of its own.
func TestARedisCluster(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--cluster-enabled", "yes")
	if out, err := exec.Command("redis-cli", "-u", "redis://"+r.addr, "cluster", "addslotsrange", "0", "16383").CombinedOutput(); err != nil {
		t.Skipf("no redis-cli to make a cluster with: %v, %s", err, out)
	}
	nodes := newNodes(t, 2, Spec{Redis: Settings{Address: r.addr, Timeout: TimeoutMax}, Rule: quota.Rule{Count: 5, Per: time.Hour, Burst: 5}})
	for _, n := range nodes {
		storetest.Eventually(t, "the cluster answers", func() bool { return n.request("first").By == quota.Store })
	}
	for i := range 20 {
		admitted := 0
		ask := func() bool {
			for _, n := range nodes {
				if n.request(fmt.Sprint(i)).Allowed {
					admitted++
				}
			}
			return admitted >= 5
		}
		storetest.Eventually(t, "the quota is used", ask) // a token may lie in the hand of the one that is not asked
		if ask(); admitted != 5 {
			t.Errorf("key %d: %d admitted, want 5", i, admitted)
		}
	}
}

// A link that is closed lets nobody wait, and one that is started again asks again.
func TestALinkThatIsClosedAndStartedAgain(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	n := newNodes(t, 1, Spec{
		Redis: Settings{Address: r.addr, Timeout: TimeoutMax}, Unreachable: Closed, Mode: Exact, Rule: quota.Rule{Count: 10, Per: time.Hour},
	})[0]
	if v := n.request("k"); !v.Allowed || v.By != quota.Store {
		t.Fatalf("%+v: want the store's verdict", v)
	}
	n.link.Close()
	<-n.link.Ended()
	if v := n.request("k"); v.Allowed || v.By != quota.Policy {
		t.Errorf("%+v of a link that is closed, want the verdict without a store", v)
	}
	n.link.Start()
	storetest.Eventually(t, "the link asks again", func() bool { return n.request("k").By == quota.Store })
	if v := n.source.table.View(mono.Now()); v.Excess != 0 {
		t.Errorf("closing a link was taken for an outage: %+v", v)
	}
}

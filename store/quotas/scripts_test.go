package quotas

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/yumen-io/yumen/policy/quota"
	"pgregory.net/rapid"
)

// pretend is a Redis in the process, whose clock stands where it is put.
func pretend(t *testing.T) (*miniredis.Miniredis, *client) {
	t.Helper()
	m := miniredis.RunT(t)
	m.ClockTTL(true)
	c, err := dial(&Settings{Address: m.Addr(), Timeout: TimeoutMax})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return m, c
}

func run(t fatal, c *client, calls ...call) []reply {
	t.Helper()
	replies := make([]reply, len(calls))
	if err := c.do(context.Background(), calls, replies); err != nil {
		t.Fatalf("the script failed: %v", err)
	}
	return replies
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

var rules = []quota.Rule{
	{Count: 1, Per: time.Second, Burst: 1},
	{Count: 10, Per: time.Second, Burst: 10},
	{Count: 7, Per: time.Minute, Burst: 3},
	{Count: 5000, Per: time.Second, Burst: 500},
	{Count: 999_983, Per: time.Hour, Burst: 1000},
}

// The script and quota.Ledger say the same, whatever is reported, in whichever order, at whichever time.
func TestTheScriptSettlesAsTheLedgerDoes(t *testing.T) {
	t.Parallel()
	m, c := pretend(t)
	l := NewLink(Settings{}, nil)
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		rule := rules[rng.IntN(len(rules))]
		terms, err := rule.Terms()
		if err != nil {
			t.Fatal(err)
		}
		var ledger quota.Ledger
		now := time.UnixMicro(1_700_000_000_000_000)
		forget := now.Add(time.Hour)
		m.SetTime(now)
		m.FlushAll()
		for range 20 {
			step := time.Duration(rng.IntN(1_500_000)-100_000) * time.Microsecond
			now = now.Add(step)
			m.SetTime(now)
			if step < 0 { // what is pretended here knows how long a key has left, and not, as Redis does, until when
				forget = forget.Add(step)
			}
			if !now.Before(forget) {
				ledger = quota.Ledger{}
			}
			granted, owed := rng.Int64N(50), rng.Int64N(20)
			r := quota.Report{
				Terms: terms, Lease: quota.Lease.Microseconds(), Node: rng.Uint64N(4), Account: 1 + rng.Int64N(2), Serial: rng.Int64N(1000),
				Granted: granted, Spent: rng.Int64N(granted + 1), Owed: owed, Settled: rng.Int64N(owed + 1),
				Want: rng.Int64N(30), Known: rng.IntN(2) == 0,
			}
			want := ledger.Settle(now.UnixMicro(), r)
			if !want.Stale {
				keep := time.Duration(ledger.Keep(terms, r.Lease)) * time.Microsecond
				forget = now.Add((keep + time.Millisecond - 1).Truncate(time.Millisecond))
			}
			l.name = decimal(int64(r.Node))
			n := run(t, c, l.settleCall(&cell{key: "k"}, r))[0].numbers
			got := quota.Answer{Stale: n[0] == 1, Granted: n[1], Nodes: n[2], Wait: n[3], Free: n[4], Lost: n[5] == 1}
			if got != want {
				t.Fatalf("%+v:\nscript %+v\nledger %+v", r, got, want)
			}
		}
	})
}

// The script and quota.Log say the same.
func TestTheScriptAdmitsAsTheLogDoes(t *testing.T) {
	t.Parallel()
	m, c := pretend(t)
	scripts := newScripts()
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		var log quota.Log
		now := time.UnixMicro(1_700_000_000_000_000)
		m.SetTime(now)
		m.FlushAll()
		const window, count = 1_000_000, 7
		for range 20 {
			now = now.Add(time.Duration(rng.IntN(500_000)-50_000) * time.Microsecond)
			if rng.IntN(20) == 0 {
				now = now.Add(-3 * time.Second)
			}
			m.SetTime(now)
			n := rng.Int64N(5)
			want := log.Admit(now.UnixMicro(), window, count, n)
			got := run(t, c, call{scripts.admit, "k", []string{decimal(window), decimal(count), decimal(n)}})[0].numbers
			if got[0] != want.Admitted || got[1] != want.Used || got[2] != want.Wait {
				t.Fatalf("%d at %v: script %v, log %+v", n, now, got, want)
			}
		}
	})
}

func TestNodesAreCounted(t *testing.T) {
	t.Parallel()
	m, c := pretend(t)
	l := NewLink(Settings{}, nil)
	table := newTable(l, "r", false)
	now := time.UnixMicro(1_700_000_000_000_000)
	for _, s := range []struct {
		after   time.Duration
		node    string
		leaving string
		want    int64
	}{
		{0, "1", "0", 1},
		{time.Second, "1", "0", 1},
		{0, "2", "0", 2},
		{0, "3", "0", 3},
		{0, "3", "1", 2},
		{enrolKept - time.Second, "2", "0", 2},
		{time.Second, "2", "0", 1}, // the first was not heard of any more
		{time.Hour, "2", "1", 0},
	} {
		now = now.Add(s.after)
		m.SetTime(now)
		l.name = s.node
		if got := run(t, c, l.enrol(table, s.leaving))[0].numbers[0]; got != s.want {
			t.Errorf("%+v: %d nodes", s, got)
		}
	}
}

// A key that is used for something else is that key's trouble, an answer for all is everybody's.
func TestErrorsOfOneKeyAndOfAll(t *testing.T) {
	t.Parallel()
	m, c := pretend(t)
	scripts := newScripts()
	m.Set("other", "text")
	calls := []call{
		{scripts.admit, "other", []string{"1000000", "5", "1"}},
		{scripts.admit, "k", []string{"1000000", "5", "1"}},
	}
	replies := make([]reply, 2)
	if err := c.do(context.Background(), calls, replies); err != nil || replies[0].err == nil || replies[1].err != nil {
		t.Errorf("%v; %v, %v", err, replies[0].err, replies[1].err)
	}
	m.SetError("LOADING Redis is loading the dataset in memory")
	if err := c.do(context.Background(), calls, replies); err == nil {
		t.Error("a Redis that is loading was taken for one that answers")
	}
}

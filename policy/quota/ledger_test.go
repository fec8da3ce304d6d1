package quota

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

const leaseUs = int64(Lease / time.Microsecond)

// A transcript: what nodes say and what the ledger answers, of 10/s with a burst of 10.
func TestLedger(t *testing.T) {
	terms, err := (Rule{Count: 10, Per: time.Second, Burst: 10}).Terms()
	if err != nil {
		t.Fatal(err)
	}
	const s = int64(second)
	type line struct {
		at   int64
		in   Report
		want Answer
	}
	for name, lines := range map[string][]line{
		"an unknown key is full": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 4}, Answer{Granted: 4, Nodes: 1, Free: 6}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Granted: 4, Spent: 4, Want: 20}, Answer{Granted: 10, Nodes: 1, Wait: s / 10}},
		},
		"a key that somebody knew begins empty": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 4, Known: true}, Answer{Nodes: 1, Wait: s / 10, Lost: true}},
		},
		"what is still out counts after a loss": {
			{s, Report{Node: 2, Account: 1, Serial: 1}, Answer{Nodes: 1, Free: 10}},
			{s, Report{Node: 1, Account: 1, Serial: 7, Granted: 90, Spent: 82, Want: 5}, Answer{Granted: 92, Nodes: 2, Wait: s / 10}},
		},
		"a grant that never arrived comes back": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 8}, Answer{Granted: 8, Nodes: 1, Free: 2}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Want: 3}, Answer{Granted: 3, Nodes: 1, Free: 7}},
		},
		"tokens given back": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 8}, Answer{Granted: 8, Nodes: 1, Free: 2}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Granted: 3, Spent: 3}, Answer{Granted: 3, Nodes: 1, Free: 7}},
		},
		"late reports do nothing": {
			{s, Report{Node: 1, Account: 1, Serial: 2, Want: 3}, Answer{Granted: 3, Nodes: 1, Free: 7}},
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 3}, Answer{Stale: true}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Want: 3}, Answer{Stale: true}},
		},
		"what is out keeps the bucket from filling, until its lease ends": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 8}, Answer{Granted: 8, Nodes: 1, Free: 2}},
			{2 * s, Report{Node: 2, Account: 1, Serial: 1}, Answer{Nodes: 2, Free: 2}},
			{s + leaseUs + s/2, Report{Node: 2, Account: 1, Serial: 2}, Answer{Nodes: 1, Free: 7}},
		},
		"in proportion to what is wanted": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 10}, Answer{Granted: 10, Nodes: 1}},
			{s, Report{Node: 2, Account: 1, Serial: 1, Want: 30}, Answer{Nodes: 2, Wait: s / 10}},
			{s + s/10*8, Report{Node: 1, Account: 1, Serial: 2, Granted: 10, Spent: 10, Want: 10}, Answer{Nodes: 2, Granted: 10, Wait: s / 10}},
			{s + s/10*16, Report{Node: 1, Account: 1, Serial: 3, Granted: 10, Spent: 10, Want: 10}, Answer{Nodes: 2, Granted: 12, Free: 6}},
		},
		"debts are paid once": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Owed: 4}, Answer{Nodes: 1, Free: 6}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Owed: 4}, Answer{Nodes: 1, Free: 6}},
			{s, Report{Node: 1, Account: 1, Serial: 3, Owed: 40}, Answer{Nodes: 1, Free: -10}},
		},
		"debts that were paid before the lease ended are not paid again": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Owed: 4}, Answer{Nodes: 1, Free: 6}},
			{9 * s, Report{Node: 1, Account: 1, Serial: 2, Owed: 5, Settled: 4}, Answer{Nodes: 1, Free: 9}},
		},
		"a clock that goes back loses no time": {
			{9 * s, Report{Node: 1, Account: 1, Serial: 1, Want: 10}, Answer{Granted: 10, Nodes: 1}},
			{s, Report{Node: 1, Account: 1, Serial: 2, Granted: 10, Spent: 10}, Answer{Granted: 10, Nodes: 1}},
			{s + s/2, Report{Node: 1, Account: 1, Serial: 3, Granted: 10, Spent: 10}, Answer{Granted: 10, Nodes: 1, Free: 5}},
		},
		"an older account's tokens are taken for spent": {
			{s, Report{Node: 1, Account: 1, Serial: 1, Want: 4}, Answer{Granted: 4, Nodes: 1, Free: 6}},
			{s, Report{Node: 1, Account: 2, Serial: 2, Want: 4}, Answer{Granted: 4, Nodes: 1, Free: 2}},
		},
	} {
		var l Ledger
		for i, c := range lines {
			c.in.Terms, c.in.Lease = terms, leaseUs
			if got := l.Settle(c.at, c.in); got != c.want {
				t.Errorf("%s: line %d: %+v, want %+v", name, i+1, got, c.want)
			}
		}
	}
}

// Whatever is reported, a ledger never has more in the bucket and out than the bucket holds, but for nodes that say that they hold
// more than two buckets: no debt is deeper than one.
func TestTheSumIsNeverAboveTheBurst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		rule := rules[rng.IntN(len(rules))]
		terms, _ := rule.Terms()
		var l Ledger
		now := int64(1e15)
		for range 200 {
			now += int64(rng.IntN(3e6)) - 1e5
			l.Settle(now, randomReport(rng, terms))
			if out := l.out() * terms.Token; l.free+out > max(terms.full(), out-terms.full()) || l.free < -terms.full() {
				t.Fatalf("%d credits free and out, of %d", l.free+out, terms.full())
			}
		}
	})
}

// randomReport is one that no node would send after the other.
func randomReport(rng *rand.Rand, terms Terms) Report {
	granted := rng.Int64N(50)
	owed := rng.Int64N(20)
	return Report{
		Terms: terms, Lease: leaseUs, Node: rng.Uint64N(4), Account: 1 + rng.Int64N(2), Serial: rng.Int64N(1000),
		Granted: granted, Spent: rng.Int64N(granted + 1), Owed: owed, Settled: rng.Int64N(owed + 1),
		Want: rng.Int64N(30), Known: rng.IntN(2) == 0,
	}
}

func TestTermsAreExact(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want Terms
		bad  bool
	}{
		{Rule{100, time.Second, 100}, Terms{1, 10_000, 100}, false},
		{Rule{3, time.Second, 1}, Terms{3, 1_000_000, 1}, false},
		{Rule{7, time.Hour, 100}, Terms{7, 3_600_000_000, 100}, false},
		{Rule{1_000_000, time.Second, BurstMax}, Terms{1, 1, BurstMax}, false},
		{Rule{7, time.Hour, 1_000_000}, Terms{}, true},
		{Rule{1, time.Second, BurstMax + 1}, Terms{}, true},
		{Rule{0, time.Second, 1}, Terms{}, true},
		{Rule{1, time.Second, 0}, Terms{}, true},
		{Rule{1, time.Nanosecond, 1}, Terms{}, true},
	} {
		got, err := c.rule.Terms()
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: %+v, %v", c.rule, got, err)
		}
	}
}

func TestShare(t *testing.T) {
	const t0 = mono.Time(time.Hour)
	for _, c := range []struct {
		name  string
		rule  Rule
		nodes int64
		over  time.Duration
		empty bool
		want  int
	}{
		{"of one", Rule{10, time.Second, 10}, 1, 0, false, 10},
		{"of three", Rule{9, time.Second, 9}, 3, 0, false, 3},
		{"a request at least", Rule{1, time.Second, 1}, 8, 0, false, 1},
		{"and a second one eight seconds later", Rule{1, time.Second, 1}, 8, 8 * time.Second, false, 2},
		{"used up", Rule{10, time.Second, 10}, 2, 0, true, 0},
		{"used up a second ago", Rule{10, time.Second, 10}, 2, time.Second, true, 5},
	} {
		s, err := NewShare(c.rule, c.nodes)
		if err != nil {
			t.Fatal(err)
		}
		word := s.Empty(t0)
		if !c.empty {
			word = 0
		}
		got := 0
		for at := t0; at <= t0.Add(c.over); at = at.Add(time.Millisecond) {
			for {
				next, v := s.Decide(word, at, 1)
				if word = next; !v.Allowed {
					break
				}
				got++
			}
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

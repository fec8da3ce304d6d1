package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// story lets a guard live through lines of a transcript and writes down what callers see after each.
//
//	12 list a b c      at second 12 etcd is listed
//	12 wiped a         and is another one
//	13 put d           an instance is written
//	14 gone a b        some are gone
//	15 down            etcd is out of reach
//	16 wake            nothing but time
type story struct {
	t     *testing.T
	guard *guard
}

var zero = time.Unix(1_700_000_000, 0)

func named(id string) Instance {
	return Instance{Service: "s", ID: id, Address: id + ":1", Weight: 100}
}

func (s *story) line(line string) string {
	s.t.Helper()
	var at int
	var what string
	words := strings.Fields(line)
	if _, err := fmt.Sscan(words[0], &at); err != nil {
		s.t.Fatal(err)
	}
	what = words[1]
	now := zero.Add(time.Duration(at) * time.Second)
	var put []Instance
	all := map[string]Instance{}
	for _, id := range words[2:] {
		put = append(put, named(id))
		all[id] = named(id)
	}
	switch what {
	case "list", "wiped":
		s.guard.list(now, all, what == "wiped")
	case "put":
		s.guard.change(now, put, nil)
	case "gone":
		s.guard.change(now, nil, words[2:])
	case "down":
		s.guard.disconnect(now)
	case "wake":
		s.guard.wake(now)
	default:
		s.t.Fatalf("what is %q?", what)
	}
	var ids []string
	for _, i := range s.guard.shown() {
		ids = append(ids, i.ID)
	}
	text := fmt.Sprintf("%s [%s] since %d", s.guard.freshness, strings.Join(ids, " "), int(s.guard.since.Sub(zero).Seconds()))
	if at, ok := s.guard.deadline(); ok {
		text += fmt.Sprintf(" until %d", int(at.Sub(zero).Seconds()))
	}
	return text
}

func TestWhatCallersSee(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines string // each "what happens => what is seen"
	}{
		{"a service that never had instances is empty at once", `
			0 list => fresh [] since 0`},
		{"one of two may go", `
			0 list a b => fresh [a b] since 0
			1 gone b => fresh [a] since 0`},
		{"the last one is kept for the grace period", `
			0 list a => fresh [a] since 0
			5 gone a => stale [a] since 5 until 65
			64 wake => stale [a] since 5 until 65
			65 wake => fresh [] since 65`},
		{"the last one comes back", `
			0 list a => fresh [a] since 0
			5 gone a => stale [a] since 5 until 65
			9 put a => fresh [a] since 9`},
		{"without etcd everything is kept for ever", `
			0 list a b => fresh [a b] since 0
			5 down => stale [a b] since 5
			90000 wake => stale [a b] since 5
			90001 list a b => fresh [a b] since 90001`},
		{"etcd goes while instances are kept, and they get a whole grace period when it is back", `
			0 list a => fresh [a] since 0
			5 gone a => stale [a] since 5 until 65
			10 down => stale [a] since 5
			500 wake => stale [a] since 5
			600 list => stale [a] since 5 until 660
			660 wake => fresh [] since 660`},
		{"most vanish at once", `
			0 list a b c d e => fresh [a b c d e] since 0
			5 gone a b c => stale [a b c d e] since 5 until 65
			65 wake => fresh [d e] since 65`},
		{"most vanish one by one, and those that went first are brought back", `
			0 list a b c d => fresh [a b c d] since 0
			1 gone a => fresh [b c d] since 0
			2 gone b => fresh [c d] since 0
			3 gone c => stale [a b c d] since 3 until 63
			4 put a b => stale [a b c d] since 3 until 63
			5 put c => fresh [a b c d] since 5`},
		{"they vanish so slowly that it is a change and no loss", `
			0 list a b c d => fresh [a b c d] since 0
			100 gone a => fresh [b c d] since 0
			200 gone b => fresh [c d] since 0
			300 gone c => fresh [d] since 0`},
		{"a wiped etcd lists those that were quick", `
			0 list a b c d => fresh [a b c d] since 0
			5 down => stale [a b c d] since 5
			7 wiped a b c => stale [a b c d] since 5 until 67
			8 put d => fresh [a b c d] since 8`},
		{"a rollout to other names and the same addresses leaves nothing behind", `
			0 list a b => fresh [a b] since 0
			1 put c d => fresh [a b c d] since 0
			2 gone a => fresh [b c d] since 0
			3 gone b => fresh [c d] since 0`},
		{"two rollouts within a grace period are no loss", `
			0 list a b c d => fresh [a b c d] since 0
			1 put e f => fresh [a b c d e f] since 0
			2 gone a b c => fresh [d e f] since 0
			3 put g h => fresh [d e f g h] since 0
			4 gone d e => fresh [f g h] since 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &story{t, newGuard(time.Minute)}
			for line := range strings.Lines(strings.TrimSpace(c.lines)) {
				do, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
				if got := s.line(do); got != want {
					t.Fatalf("after %q callers see\n%s, want\n%s", do, got, want)
				}
			}
		})
	}
}

func TestASnapshotIsWhatIsMissedAtFirst(t *testing.T) {
	s := &story{t, newGuard(time.Minute)}
	s.guard.restore([]Instance{named("a"), named("b"), named("c")}, zero.Add(-time.Hour))
	if g := s.guard; g.freshness != FromSnapshot || len(g.shown()) != 3 || !g.since.Equal(zero.Add(-time.Hour)) {
		t.Errorf("callers see %v, %s since %v", g.shown(), g.freshness, g.since)
	}
	if got, want := s.line("0 list"), "stale [a b c] since 0 until 60"; got != want {
		t.Errorf("after an empty list callers see %s, want %s", got, want)
	}
	if got, want := s.line("1 put a b d"), "fresh [a b d] since 1"; got != want {
		t.Errorf("after three came callers see %s, want %s", got, want)
	}
}

func TestAnInstanceAtTheSameAddressTakesThePlaceOfTheOneMissed(t *testing.T) {
	g := newGuard(time.Minute)
	g.list(zero, map[string]Instance{"a": named("a")}, false)
	g.change(zero.Add(time.Second), nil, []string{"a"})
	again := named("b")
	again.Address = named("a").Address
	g.change(zero.Add(2*time.Second), []Instance{again}, nil)
	if got := g.shown(); len(got) != 1 || got[0].ID != "b" {
		t.Errorf("callers see %v, want b alone", got)
	}
}

// TestGuardKeepsItsWord runs random histories against what the guard promises, written down without any of its means.
func TestGuardKeepsItsWord(t *testing.T) {
	const grace = 10 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		g := newGuard(grace)
		now := zero
		etcd := map[string]Instance{} // what the guard was told
		ever := map[string]bool{}
		connected := false
		var empty time.Time // since when etcd is heard and has nothing, if so
		quiet := zero       // since when etcd is heard and nothing has changed
		ids := []string{"a", "b", "c", "d", "e", "f", "g"}
		if rapid.Bool().Draw(t, "snapshot") {
			g.restore([]Instance{named("a"), named("b")}, now)
			etcd["a"], etcd["b"] = named("a"), named("b")
			ever["a"], ever["b"] = true, true
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			before := g.shown()
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				etcd = map[string]Instance{}
				for _, id := range rapid.SliceOfDistinct(rapid.SampledFrom(ids), rapid.ID).Draw(t, "list") {
					etcd[id], ever[id] = named(id), true
				}
				g.list(now, maps.Clone(etcd), rapid.Bool().Draw(t, "wiped"))
				connected, quiet = true, now
			case 1:
				if connected {
					id := rapid.SampledFrom(ids).Draw(t, "put")
					etcd[id], ever[id] = named(id), true
					g.change(now, []Instance{named(id)}, nil)
					quiet = now
				}
			case 2:
				if connected {
					id := rapid.SampledFrom(ids).Draw(t, "gone")
					delete(etcd, id)
					g.change(now, nil, []string{id})
					quiet = now
				}
			case 3:
				g.disconnect(now)
				connected = false
				if !slices.EqualFunc(before, g.shown(), func(a, b Instance) bool { return a.equal(&b) }) {
					t.Fatal("losing etcd changed what callers see")
				}
			case 4:
				g.wake(now)
			}
			shown := g.shown()
			for _, i := range shown {
				if !ever[i.ID] {
					t.Fatalf("%s is shown and never was", i.ID)
				}
			}
			for id := range etcd {
				if !slices.ContainsFunc(shown, func(i Instance) bool { return i.ID == id }) {
					t.Fatalf("%s is in etcd and not shown", id)
				}
			}
			switch {
			case !connected || len(etcd) > 0:
				empty = time.Time{}
			case empty.IsZero():
				empty = now
			}
			if len(before) > 0 && len(shown) == 0 && (empty.IsZero() || now.Sub(empty) < grace) {
				t.Fatalf("the set was emptied at %v, and etcd has been empty since %v", now.Sub(zero), empty.Sub(zero))
			}
			if connected && now.Sub(quiet) >= grace {
				g.wake(now)
				if len(g.shown()) != len(etcd) || g.freshness != Fresh {
					t.Fatalf("after a quiet grace period %d are shown, %s, and etcd has %d", len(g.shown()), g.freshness, len(etcd))
				}
			}
			if at, ok := g.deadline(); ok && !at.After(now) {
				t.Fatalf("the deadline %v has passed at %v and nothing happened", at.Sub(zero), now.Sub(zero))
			}
			if g.freshness == Fresh && g.missing() > 0 {
				t.Fatal("a fresh set has missing instances")
			}
		}
	})
}

func TestBackoffIsUniformBelowABoundThatDoubles(t *testing.T) {
	b := backoff{min: 50 * time.Millisecond, max: 2 * time.Second}
	most := func(n int64) int64 { return n - 1 }
	var got []string
	for range 9 {
		got = append(got, b.next(most).String())
	}
	if want := "50ms 100ms 200ms 400ms 800ms 1.6s 2s 2s 2s"; strings.Join(got, " ") != want {
		t.Errorf("bounds %v, want %s", got, want)
	}
	if d := b.next(func(int64) int64 { return 0 }); d != 0 {
		t.Errorf("the least wait is %v, want none", d)
	}
	b.reset()
	if d := b.next(most); d != 50*time.Millisecond {
		t.Errorf("after a success the bound is %v, want the first", d)
	}
}

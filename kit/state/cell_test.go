package state

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

// spec is the obviously right twin: one step after another, on a map.
type spec struct {
	table   map[[2]uint8]letter
	state   letter
	version uint64
}

func newSpec(text string) *spec {
	s := &spec{table: map[[2]uint8]letter{}}
	for _, t := range table(text) {
		s.table[[2]uint8{uint8(t.From), uint8(t.Event)}] = t.To
	}
	return s
}

func (s *spec) fire(ev digit) (Step[letter], error) {
	to, ok := s.table[[2]uint8{uint8(s.state), uint8(ev)}]
	if !ok {
		return Step[letter]{}, ErrNotAllowed
	}
	step := Step[letter]{From: s.state, To: to, Version: s.version + 1}
	s.state, s.version = to, s.version+1
	return step, nil
}

// circle has a state that comes back, so that a lost update or a mistaken one would fit the state and only the version
// tells.
const circle = "A0B B0C C0A A1C B2A C1D D0A A2E"

var scripts = [][]digit{{0, 0, 0}, {0, 1, 0}, {1, 0, 2}, {2, 1, 0}, {1, 1, 0}, {0, 2, 1}}

// TestAllInterleavingsOfWholeEvents fires three events of each of three actors in all 1680 orders, for every choice of
// what the actors do, and compares each result with the twin.
func TestAllInterleavingsOfWholeEvents(t *testing.T) {
	m := machine(t, circle, e)
	orders := 0
	var walk func(done [3]int, order []int, actors [3][]digit)
	walk = func(done [3]int, order []int, actors [3][]digit) {
		if len(order) == 9 {
			orders++
			cell, twin := m.NewCell(), newSpec(circle)
			var at [3]int
			for _, actor := range order {
				ev := actors[actor][at[actor]]
				at[actor]++
				got, err := cell.Fire(ev)
				want, wantErr := twin.fire(ev)
				if got != want || !errors.Is(err, wantErr) {
					t.Fatalf("%v of %v: %+v, %v; want %+v, %v", order, actors, got, err, want, wantErr)
				}
			}
			return
		}
		for i := range done {
			if done[i] < 3 {
				next := done
				next[i]++
				walk(next, append(order, i), actors)
			}
		}
	}
	second := scripts
	if raceEnabled { // one goroutine, nothing for the detector: it only makes it slow
		second = scripts[:1]
	}
	for _, x := range scripts[:3] {
		for _, y := range second {
			for _, z := range scripts[3:] {
				walk([3]int{}, make([]int, 0, 9), [3][]digit{x, y, z})
			}
		}
	}
	if want := 1680 * 3 * len(second) * 3; orders != want {
		t.Errorf("%d orders, want %d", orders, want)
	}
}

// actor is a goroutine inside Fire as the model sees it: it is about to load the word, or to swap what it loaded.
type actor struct {
	done    int // events finished
	loaded  bool
	word    uint64
	outcome [3]uint64 // of each event: the word that it made, or 0 for a refusal
}

type moment struct {
	word   uint64
	actors [3]actor
}

// TestAllInterleavingsOfLoadsAndSwaps goes through every reachable moment of three actors with three events each, cut
// between the load and the swap of Fire, with its own step function. At each swap and each refusal, which is where an
// event takes effect, the twin of that moment must say the same; and a version is made once.
func TestAllInterleavingsOfLoadsAndSwaps(t *testing.T) {
	m := machine(t, circle, e)
	twin := newSpec(circle)
	all := 0
	thirds := scripts
	if raceEnabled {
		thirds = scripts[:1]
	}
	for _, third := range thirds {
		events := [3][]digit{scripts[0], scripts[3], third}
		seen := map[moment]bool{}
		var walk func(at moment)
		walk = func(at moment) {
			if seen[at] {
				return
			}
			seen[at] = true
			for i := range at.actors {
				next := at
				p := &next.actors[i]
				if p.done == 3 {
					continue
				}
				if !p.loaded {
					p.loaded, p.word = true, at.word
				} else {
					made, _, err := m.step(p.word, events[i][p.done])
					if err == nil && at.word != p.word {
						p.loaded = false // the swap fails: from the beginning
						walk(next)
						continue
					}
					// A refusal takes effect at the load, a step at the swap; the word is the same at both.
					twin.state, twin.version = split[letter](p.word)
					_, wantErr := twin.fire(events[i][p.done])
					if (err == nil) != (wantErr == nil) || err == nil && made != word(twin.state, twin.version) {
						t.Fatalf("%+v: actor %d made %x, %v; want %s %d, %v", at, i, made, err, twin.state, twin.version, wantErr)
					}
					if err == nil {
						next.word = made
						for j := range at.actors {
							if slices.Contains(at.actors[j].outcome[:], made) {
								t.Fatalf("%+v: %x was made twice", at, made)
							}
						}
					}
					p.outcome[p.done] = made
					p.done, p.loaded, p.word = p.done+1, false, 0
				}
				walk(next)
			}
			// At the end the version is the number of steps that were made.
			steps, done := uint64(0), 0
			for _, p := range at.actors {
				done += p.done
				for _, o := range p.outcome {
					if o != 0 {
						steps++
					}
				}
			}
			if _, version := split[letter](at.word); done == 9 && version != steps {
				t.Fatalf("%+v: version %d after %d steps", at, version, steps)
			}
		}
		walk(moment{word: word(a, 0)})
		all += len(seen)
	}
	t.Logf("%d moments", all)
}

func TestFireAt(t *testing.T) {
	cell := machine(t, circle, e).NewCell()
	if _, err := cell.FireAt(1, 0); !errors.Is(err, ErrConflict) {
		t.Errorf("a version that is not there yet: %v", err)
	}
	if step, err := cell.FireAt(0, 0); err != nil || step != (Step[letter]{From: a, To: b, Version: 1}) {
		t.Errorf("%+v, %v", step, err)
	}
	_, err := cell.FireAt(0, 0)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || *conflict != (ConflictError{Machine: "test", State: "B", Want: 0, Have: 1}) {
		t.Errorf("%v", err)
	}
	_, err = cell.FireAt(1, 1)
	var refused *NotAllowedError
	if !errors.As(err, &refused) || *refused != (NotAllowedError{Machine: "test", State: "B", Event: "e1", Version: 1}) {
		t.Errorf("%v", err)
	}
	if s, version := cell.Load(); s != b || version != 1 {
		t.Errorf("%s %d", s, version)
	}
}

func TestRestore(t *testing.T) {
	m := machine(t, circle, e)
	if _, err := m.Restore(9, 0); !errors.Is(err, ErrUnknownState) {
		t.Error(err)
	}
	if _, err := m.Restore(a, VersionMax+1); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	cell, err := m.Restore(c, VersionMax)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cell.Fire(0); !errors.Is(err, ErrVersion) {
		t.Errorf("past the last version: %v", err)
	}
	if s, version := cell.Load(); s != c || version != VersionMax {
		t.Errorf("%s %d", s, version)
	}
}

// TestManyGoroutines gives real goroutines the same: the steps that they were told, put in the order of their versions,
// are one walk through the table without a gap.
func TestManyGoroutines(t *testing.T) {
	m := machine(t, "A0B B0C C0A A2E", e)
	cell := m.NewCell()
	const goroutines, each = 8, 5000
	steps := make([][]Step[letter], goroutines)
	var wg sync.WaitGroup
	for i := range steps {
		wg.Go(func() {
			for n := range each {
				var step Step[letter]
				var err error
				if n%2 == 0 {
					step, err = cell.Fire(0)
				} else if _, version := cell.Load(); true {
					step, err = cell.FireAt(version, 0)
				}
				if err == nil {
					steps[i] = append(steps[i], step)
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := slices.Concat(steps...)
	slices.SortFunc(all, func(x, y Step[letter]) int { return int(x.Version) - int(y.Version) })
	at := a
	for i, s := range all {
		if to, ok := m.Next(at, 0); s.Version != uint64(i+1) || s.From != at || !ok || s.To != to {
			t.Fatalf("step %d is %+v after %s", i, s, at)
		}
		at = s.To
	}
	if s, version := cell.Load(); s != at || version != uint64(len(all)) {
		t.Errorf("%s %d after %d steps to %s", s, version, len(all), at)
	}
}

func TestAStepDoesNotAllocate(t *testing.T) {
	cell := machine(t, "A0B B0A A2E", e).NewCell()
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := cell.Fire(0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFire(b *testing.B) {
	cell := machine(b, "A0B B0A A2E", e).NewCell()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cell.Fire(0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFireParallel(b *testing.B) {
	cell := machine(b, "A0B B0A A2E", e).NewCell()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := cell.Fire(0); err != nil {
				b.Error(err)
			}
		}
	})
}

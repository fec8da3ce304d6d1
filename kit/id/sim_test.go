package id

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation has a board of worker numbers as etcd keeps it, and processes that claim, extend, lose and give back
// numbers, each with a wall clock of its own that steps and jumps, while the true time runs on. Whatever happens, no id
// may be given out twice, and those of one process, term and table must ascend.

const (
	simTTL     = 10_000 * time.Millisecond // of a lease, true time
	simValid   = simTTL * 2 / 3            // what a holder trusts
	simReserve = 3 * time.Second           // how far marks are written ahead
)

// board is what etcd holds: for each number the mark, and who has it under which lease.
type board struct {
	now     time.Duration // true time
	numbers []struct {
		mark    time.Time
		holder  *process
		fence   int
		expires time.Duration
	}
	fences int
	// meanwhile is what the others do while one process is stopped.
	meanwhile func(stopped *process)
}

// process is one program: a worker and its generator.
type process struct {
	board  *board
	rng    *rand.Rand
	offset time.Duration // of its wall clock to the true time
	cut    bool          // it does not reach the board

	gen     *Generator
	term    *Term
	fence   int
	mark    time.Time
	waiting *Term // claimed, with a mark that its clock has not reached
	latest  map[[3]int]ID
}

var simStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func (p *process) wall() time.Time { return simStart.Add(p.board.now + p.offset) }

// mono is the clock that deadlines go by: it never jumps.
func (p *process) mono() time.Time { return time.Time{}.Add(p.board.now) }

// Term makes the process the Worker of its own generator.
func (p *process) Term() (*Term, error) {
	if p.term == nil {
		return nil, ErrNoWorker
	}
	return p.term, nil
}

// start is a program started anew: it remembers nothing.
func (p *process) start(l Layout) {
	p.term, p.waiting, p.fence, p.latest = nil, nil, 0, map[[3]int]ID{}
	g, err := New(Config{
		Layout: l, Worker: p,
		now: func() (int64, time.Time) {
			wall, mono := p.wall(), p.mono()
			if p.rng.IntN(200) == 0 && p.board.meanwhile != nil {
				p.board.meanwhile(p) // stopped between reading the clock and taking numbers
			}
			return wall.UnixNano(), mono
		},
		pause: func(_ context.Context, d time.Duration) error {
			if p.rng.IntN(50) == 0 {
				return context.DeadlineExceeded
			}
			p.board.now += d
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	p.gen = g
}

// tend is one turn of what a worker does in the background.
func (p *process) tend() {
	b := p.board
	if p.cut {
		return
	}
	if t := p.waiting; t != nil {
		if !p.wall().After(t.Last()) {
			p.extend(t) // keeps the lease
			return
		}
		p.waiting, p.term = nil, t
	}
	if p.term != nil {
		if !p.extend(p.term) {
			p.term.End()
			p.term = nil
		}
		return
	}
	for _, i := range p.rng.Perm(len(b.numbers)) {
		n := &b.numbers[i]
		if n.holder != nil && b.now < n.expires {
			continue
		}
		b.fences++
		p.fence, p.mark = b.fences, n.mark
		n.holder, n.fence, n.expires = p, p.fence, b.now+simTTL
		t := NewTerm(i, n.mark)
		t.base = time.Time{}
		p.waiting = t
		p.tend()
		return
	}
}

func (p *process) extend(t *Term) bool {
	b := p.board
	n := &b.numbers[t.Number()]
	if n.holder != p || n.fence != p.fence || b.now >= n.expires {
		return false
	}
	sent := p.mono()
	n.expires = b.now + simTTL
	if mark := p.wall().Add(simReserve); mark.After(p.mark) {
		p.mark = mark
	}
	n.mark = p.mark
	if p.rng.IntN(10) > 0 { // the answer is lost now and then
		t.Extend(p.mark, sent.Add(simValid))
	}
	return true
}

// giveBack is a clean end: the mark is put down to what was used.
func (p *process) giveBack() {
	t := p.term
	if t == nil {
		return
	}
	t.End()
	n := &p.board.numbers[t.Number()]
	if !p.cut && n.holder == p && n.fence == p.fence && p.board.now < n.expires {
		n.mark, n.holder = t.Last(), nil
	}
}

// simulate runs until want ids are made. A hostile run makes few at a time and has one disturbance after another.
func simulate(t *testing.T, l Layout, seed uint64, want int, hostile bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := &board{}
	b.numbers = make([]struct {
		mark    time.Time
		holder  *process
		fence   int
		expires time.Duration
	}, l.Workers())
	processes := make([]*process, l.Workers()+2) // more than there are numbers
	for i := range processes {
		processes[i] = &process{board: b, rng: rng, offset: time.Duration(rng.IntN(200)-100) * time.Millisecond}
		processes[i].start(l)
	}
	ids := make([]ID, 0, want+20_000)
	var restarts, jumps, stops, refusedClock, refusedWorker int
	fill := func(p *process, dst []ID) {
		shard, table := rng.IntN(l.Shards()), rng.IntN(l.Tables())
		n, err := p.gen.Fill(context.Background(), shard, table, dst)
		switch {
		case errors.Is(err, ErrClockBack):
			refusedClock++
		case errors.Is(err, ErrNoWorker):
			refusedWorker++
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n == 0 {
			return
		}
		first, err := l.Parse(dst[0])
		if err != nil {
			t.Fatal(err)
		}
		place := [3]int{first.Worker, shard, table}
		if dst[0] <= p.latest[place] || !slices.IsSorted(dst[:n]) {
			t.Fatalf("seed %d: %d follows %d", seed, dst[0], p.latest[place])
		}
		p.latest[place] = dst[n-1]
		ids = append(ids, dst[:n]...)
	}
	b.meanwhile = func(stopped *process) {
		stops++
		meanwhile := b.meanwhile
		b.meanwhile = nil
		if rng.IntN(2) == 0 {
			b.now += time.Duration(rng.IntN(30)) * time.Second
		}
		if rng.IntN(3) == 0 {
			stopped.giveBack()
		}
		var dst [3]ID
		for range 100 {
			p := processes[rng.IntN(len(processes))]
			if b.now += time.Millisecond; p != stopped {
				p.tend()
				fill(p, dst[:])
			}
		}
		b.meanwhile = meanwhile
	}
	var dst [2000]ID
	for len(ids) < want {
		p := processes[rng.IntN(len(processes))]
		b.now += time.Duration(rng.IntN(2_000_000)) // up to 2 ms
		turns := 1000
		if hostile {
			turns = 50
		}
		r := rng.IntN(turns)
		if hostile && r >= 20 {
			r += 400 // one in five of these tends
			if r >= 430 && r%3 > 0 {
				r += 100
			}
		}
		switch {
		case r < 2: // kill -9
			p.start(l)
			p.cut = false
			restarts++
		case r < 4:
			p.giveBack()
			p.start(l)
			restarts++
		case r < 12: // NTP, either way
			p.offset += time.Duration(rng.IntN(20)-10) * time.Millisecond
			jumps++
		case r < 15: // somebody sets the clock
			p.offset += time.Duration(rng.IntN(20_000)-10_000) * time.Millisecond
			jumps++
		case r < 16: // and puts it right
			p.offset = 0
			jumps++
		case r < 18:
			p.cut = !p.cut
		case r < 19: // nobody runs for a while: a frozen machine
			b.now += time.Duration(rng.IntN(15)) * time.Second
		case r < 500:
			p.tend()
		default:
			n := 1 + rng.IntN(400)
			if hostile {
				n = 1 + n%4
			} else if rng.IntN(20) == 0 {
				n = len(dst)
			}
			fill(p, dst[:n])
		}
	}
	slices.Sort(ids)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			parts, _ := l.Parse(ids[i])
			t.Fatalf("seed %d: %d was given out twice: %+v", seed, ids[i], parts)
		}
	}
	t.Logf("seed %d, %s: %d ids, %d restarts, %d clock jumps, %d stops, refused %d times for the clock and %d for the worker",
		seed, l, len(ids), restarts, jumps, stops, refusedClock, refusedWorker)
	if want > 150_000 && (restarts == 0 || jumps == 0 || stops == 0 || refusedClock == 0 || refusedWorker == 0) {
		t.Error("the simulation left out what it is for")
	}
}

func TestTenMillionIDsOverRestartsAndClockJumps(t *testing.T) {
	total := 10_000_000
	if testing.Short() || raceEnabled {
		total /= 40
	}
	for i, l := range []Layout{Seed(), DB32(), {TimeBits: 41, ShardBits: 1, TableBits: 1, WorkerBits: 2, SequenceBits: 10}} {
		share := total / 10 * 6
		if i > 0 {
			share = total / 10 * 2
		}
		simulate(t, l, rand.Uint64(), share, false)
	}
}

// TestAFewNumbersAndMuchTrouble has four processes for two numbers and one table, so that a rule left out shows as a
// duplicate soon: that a number begins after its mark, that none is made past the mark, that what was taken when a term
// ended is thrown away.
func TestAFewNumbersAndMuchTrouble(t *testing.T) {
	total := 60_000
	if testing.Short() || raceEnabled {
		total /= 10
	}
	for range 3 {
		simulate(t, Layout{TimeBits: 41, WorkerBits: 1, SequenceBits: 4}, rand.Uint64(), total, true)
	}
}

// TestSimulationFindsWhatItLooksFor breaks the rule that the next holder begins after the mark, and wants a duplicate.
func TestSimulationFindsWhatItLooksFor(t *testing.T) {
	b := &board{now: time.Second}
	l := Seed()
	p := &process{board: b, rng: rand.New(rand.NewPCG(1, 1))}
	seen := map[ID]bool{}
	for range 2 {
		p.start(l)
		p.term = NewTerm(3, time.Time{}) // instead of the mark
		p.term.base = time.Time{}
		p.term.Extend(p.wall().Add(simReserve), time.Time{})
		b.now = time.Second // the clock is set back over the restart
		v, err := p.gen.Next(context.Background(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if seen[v] {
			return
		}
		seen[v] = true
	}
	t.Error("two lives of one worker number at one time made no duplicate: the simulation would not see one")
}

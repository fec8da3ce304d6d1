package buf

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// twin is a chain and the plain bytes that it has to hold.
type twin struct {
	chain Chain
	plain []byte
}

func (w *twin) check(t *rapid.T) {
	if w.chain.Len() != len(w.plain) {
		t.Fatalf("%d bytes, want %d", w.chain.Len(), len(w.plain))
	}
	if front := w.chain.Front(); len(front) == 0 && len(w.plain) > 0 || !bytes.HasPrefix(w.plain, front) {
		t.Fatalf("the front is %.20q, want %.20q", front, w.plain)
	}
	if all := bytes.Join(w.chain.Pieces(make([][]byte, 0, 1000)), nil); !bytes.Equal(all, w.plain) {
		t.Fatalf("holds %.20q, want %.20q", all, w.plain)
	}
}

// Two chains that are filled, emptied and poured into each other in any order hold what two plain slices would, and
// when they are released every chunk is back.
func TestChainsAgainstPlainBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			p     = NewPool(0)
			twins [2]twin
			next  byte
		)
		fresh := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				next++
				b[i] = next
			}
			return b
		}
		size := rapid.OneOf(rapid.IntRange(0, 100), rapid.SampledFrom([]int{Small - 1, Small, Small + 1, Large / 2, Large, Large + 1}))
		pick := func() (*twin, *twin) {
			i := rapid.IntRange(0, 1).Draw(t, "chain")
			return &twins[i], &twins[1-i]
		}
		part := func(w *twin) int { return min(size.Draw(t, "n"), len(w.plain)) }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				w, _ := pick()
				b := fresh(size.Draw(t, "n"))
				w.chain.Append(p, b)
				w.plain = append(w.plain, b...)
			},
			"append string": func(t *rapid.T) {
				w, _ := pick()
				b := fresh(size.Draw(t, "n"))
				w.chain.AppendString(p, string(b))
				w.plain = append(w.plain, b...)
			},
			"room and fill": func(t *rapid.T) {
				w, _ := pick()
				n := size.Draw(t, "n")
				room := w.chain.Room(p, n)
				if len(room) < n {
					t.Fatalf("room for %d, want %d", len(room), n)
				}
				b := fresh(rapid.IntRange(0, min(n, len(room))).Draw(t, "filled"))
				w.chain.Fill(copy(room, b))
				w.plain = append(w.plain, b...)
			},
			"push": func(t *rapid.T) {
				w, _ := pick()
				b := fresh(size.Draw(t, "n"))
				chunk := p.Get(len(b))
				chunk.Fill(copy(chunk.Room(), b))
				w.chain.Push(chunk)
				w.plain = append(w.plain, b...)
			},
			"take": func(t *rapid.T) {
				w, from := pick()
				n := part(from)
				w.chain.Take(p, &from.chain, n)
				w.plain, from.plain = append(w.plain, from.plain[:n]...), from.plain[n:]
			},
			"copy": func(t *rapid.T) {
				w, from := pick()
				n := part(from)
				w.chain.CopyFrom(p, &from.chain, n)
				w.plain = append(w.plain, from.plain[:n]...)
			},
			"move": func(t *rapid.T) {
				w, to := pick()
				w.chain.MoveTo(&to.chain)
				to.plain, w.plain = append(to.plain, w.plain...), nil
			},
			"skip": func(t *rapid.T) {
				w, _ := pick()
				n := part(w)
				w.chain.Skip(p, n)
				w.plain = w.plain[n:]
			},
			"pull": func(t *rapid.T) {
				w, _ := pick()
				n := part(w)
				if b := w.chain.Pull(p, n); len(b) < n || !bytes.HasPrefix(w.plain, b) {
					t.Fatalf("pulled %d bytes, want %d", len(b), n)
				}
			},
			"release": func(t *rapid.T) {
				w, _ := pick()
				w.chain.Release(p)
				w.plain = nil
			},
			"": func(t *rapid.T) {
				for i := range twins {
					w := &twins[i]
					w.plain = slices.Clip(w.plain)
					w.check(t)
				}
			},
		})
		for i := range twins {
			twins[i].chain.Release(p)
		}
		if p.InUse() != 0 {
			t.Fatalf("%d bytes of chunks were lost", p.InUse())
		}
	})
}

func TestEmptiedChainHoldsNothing(t *testing.T) {
	p := NewPool(0)
	var c, d Chain
	c.AppendString(p, "hello")
	c.Skip(p, 5)
	if p.InUse() != 0 {
		t.Error("after Skip")
	}
	c.AppendString(p, "hello")
	d.Take(p, &c, 5)
	d.Skip(p, 5)
	if p.InUse() != 0 {
		t.Error("after Take")
	}
	c.Room(p, 10)
	c.Fill(0)
	c.Skip(p, 0)
	if p.InUse() != 0 {
		t.Error("after a Room that nobody filled")
	}
}

// A receive that brought nothing leaves a chunk that nobody filled; what is put behind it is the front all the same.
func TestFrontSkipsAnUnfilledChunk(t *testing.T) {
	p := NewPool(0)
	var c Chain
	c.Room(p, 10)
	c.Fill(0)
	b := p.Get(5)
	b.Fill(copy(b.Room(), "hello"))
	c.Push(b)
	if got := string(c.Front()); got != "hello" {
		t.Errorf("the front is %q", got)
	}
}

// A chunk that is mostly full goes over whole; a small remainder is copied, so that it does not hold a large chunk.
func TestTakeHandsOverWhatIsWorthIt(t *testing.T) {
	p := NewPool(0)
	var src, dst Chain
	copy(src.Room(p, Large), "whole")
	src.Fill(Large)
	at := &src.Front()[0]
	dst.Take(p, &src, Large)
	if &dst.Front()[0] != at {
		t.Error("a full chunk was copied")
	}
	dst.Skip(p, Large-100)
	at = &dst.Front()[0]
	src.Take(p, &dst, 100)
	if &src.Front()[0] == at || p.InUse() != Small {
		t.Error("a remainder was handed over")
	}
}

func TestPoolAccounts(t *testing.T) {
	p := NewPool(Small + Large)
	for _, c := range []struct{ ask, size int }{{0, Small}, {Small, Small}, {Small + 1, Large}, {Large, Large}, {Large + 1, Large + 1}} {
		b := p.Get(c.ask)
		if len(b.Room()) != c.size || p.InUse() != c.size {
			t.Errorf("Get(%d): room for %d, in use %d, want %d", c.ask, len(b.Room()), p.InUse(), c.size)
		}
		p.Put(b)
	}
	if p.InUse() != 0 {
		t.Errorf("%d bytes in use", p.InUse())
	}
	a := p.Get(Small)
	if p.Pressed() {
		t.Error("pressed below the limit")
	}
	b := p.Get(Large)
	if !p.Pressed() {
		t.Error("not pressed at the limit")
	}
	p.Put(b)
	p.Put(a)
	if p.Pressed() || NewPool(0).Pressed() {
		t.Error("pressed with nothing out")
	}
}

// What a burst left behind is kept up to a bound.
func TestPoolKeepsSoMuch(t *testing.T) {
	p := NewPool(0)
	var out []*Buf
	for range largeKept + 10 {
		out = append(out, p.Get(Large))
	}
	for _, b := range out {
		p.Put(b)
	}
	if p.large.n != largeKept {
		t.Errorf("%d large chunks are kept, want %d", p.large.n, largeKept)
	}
}

func TestWarmPoolAllocatesNothing(t *testing.T) {
	p := NewPool(0)
	var c, d Chain
	line := []byte("GET / HTTP/1.1\r\n")
	if n := testing.AllocsPerRun(100, func() {
		c.Append(p, line)
		c.Fill(copy(c.Room(p, Large), line))
		c.Pull(p, c.Len())
		d.Take(p, &c, c.Len())
		d.Release(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

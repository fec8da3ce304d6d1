package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// pair is a client and a server that talk to each other through roads of their own, and what each stream should carry: the
// slow twin of both codecs is two byte slices for each stream.
type pair struct {
	t      *testing.T
	r      *rand.Rand
	p      *buf.Pool
	client Client
	server Server
	ends   [2]end // of the client and of the server
	talks  map[uint32]*talk
	ids    []uint32
}

// end is one side's chains and what it has not consumed yet.
type end struct {
	in, out buf.Chain
	h       message.Head
	untaken []portion
	code    *conn
}

type portion struct {
	stream uint32
	n      int
}

// talk is one stream as it should be.
type talk struct {
	// By direction: 0 to the server, 1 to the client.
	said, heard [2][]byte
	declared    [2]int64
	begun       [2]bool
	ended       [2]bool // END was sent
	trailers    [2]string
	over        [2]bool // END was heard
	heardTail   [2]string
	reset       bool
}

func newPair(t *testing.T, seed uint64) *pair {
	x := &pair{t: t, r: rand.New(rand.NewPCG(seed, 1)), p: buf.NewPool(0), talks: map[uint32]*talk{}}
	l := NewLimits(Limits{StreamWindow: 1 << uint(16+x.r.IntN(4)), ConnWindow: 1 << uint(16+x.r.IntN(5)), StreamsMax: 1 + x.r.IntN(40)})
	x.client.Init(l, "https")
	x.server.Init(l)
	x.ends[0].code, x.ends[1].code = &x.client.conn, &x.server.conn
	x.client.Start(&x.ends[0].out, x.p)
	x.server.Start(&x.ends[1].out, x.p)
	for !x.client.Settled() { // else it opens more streams than it is about to be told it may
		x.carry(1)
	}
	return x
}

// carry moves some bytes from one end to the other.
func (x *pair) carry(from int) {
	a, b := &x.ends[from], &x.ends[1-from]
	n := a.out.Len()
	if n > 0 && x.r.IntN(2) == 0 {
		n = 1 + x.r.IntN(n)
	}
	b.in.Take(x.p, &a.out, n)
	x.read(1 - from)
}

func (x *pair) read(at int) {
	e := &x.ends[at]
	for {
		ev, err := e.code.next(&e.in, &e.out, x.p, &e.h)
		if err != nil {
			x.t.Fatalf("side %d: %v", at, err)
		}
		dir := 1 - at // what is heard at the server (1) goes in direction 0
		talk := x.talks[ev.Stream]
		switch ev.Kind {
		case message.None:
			return
		case message.GotHead:
			if e.h.Length != talk.declared[dir] && !(ev.End && e.h.Length == 0) {
				x.t.Fatalf("stream %d: length %d instead of %d", ev.Stream, e.h.Length, talk.declared[dir])
			}
			if v, _ := e.h.Field([]byte("x-name")); string(v) != fmt.Sprint(ev.Stream, dir) {
				x.t.Fatalf("stream %d: field %q", ev.Stream, v)
			}
		case message.GotData:
			for n := ev.N; n > 0; {
				part := e.in.Front()[:min(n, len(e.in.Front()))]
				talk.heard[dir] = append(talk.heard[dir], part...)
				n -= len(part)
				e.in.Skip(x.p, len(part))
			}
			e.untaken = append(e.untaken, portion{ev.Stream, ev.N})
		case message.GotTrailers:
			v, _ := e.h.Field([]byte("x-tail"))
			talk.heardTail[dir] = string(v)
		case message.GotReset:
			if !talk.reset {
				x.t.Fatalf("stream %d was reset with %d", ev.Stream, ev.N)
			}
		case message.GotEnd, message.GotInterim:
		default:
			x.t.Fatalf("event %+v", ev)
		}
		if ev.End && ev.Kind != message.GotReset {
			talk.over[dir] = true
		}
	}
}

// took reports some of what was consumed.
func (x *pair) took(at int) {
	e := &x.ends[at]
	for len(e.untaken) > 0 && x.r.IntN(4) > 0 {
		u := e.untaken[0]
		e.untaken = e.untaken[1:]
		e.code.Took(&e.out, x.p, u.stream, u.n)
	}
}

func (x *pair) head(id uint32, dir int, h *message.Head) {
	h.Length = message.UnknownLength
	x.talks[id].declared[dir] = h.Length
	h.AddString("x-name", fmt.Sprint(id, dir))
}

func (x *pair) open() {
	if x.client.Room() == 0 {
		return
	}
	id := x.client.lastPeer + 2
	if id == 2 {
		id = 1
	}
	t := new(talk)
	x.talks[id] = t
	x.ids = append(x.ids, id)
	h := new(message.Head)
	h.Method, h.Path, h.Authority = h.StoreString("POST"), h.StoreString("/a"), h.StoreString("exam.test")
	x.head(id, 0, h)
	if x.r.IntN(2) == 0 {
		h.AddString("priority", fmt.Sprintf("u=%d", x.r.IntN(8)))
	}
	end := x.r.IntN(4) == 0
	if end {
		h.Length = 0
		t.declared[0] = 0
	}
	got, err := x.client.Open(&x.ends[0].out, x.p, h, end)
	if err != nil || got != id {
		x.t.Fatal(got, err)
	}
	t.begun[0], t.ended[0] = true, end
}

// speak says something on a stream, in a direction.
func (x *pair) speak(id uint32, dir int) {
	t, e := x.talks[id], &x.ends[dir]
	if t.reset || t.ended[dir] {
		return
	}
	if dir == 1 && !t.begun[1] {
		if s := x.server.streams.get(id); s == nil || !s.reported {
			return
		}
		h := &message.Head{Status: 200}
		x.head(id, 1, h)
		if x.r.IntN(3) == 0 {
			x.server.AppendInterim(&e.out, x.p, id, &message.Head{Status: 103})
		}
		if err := x.server.AppendHead(&e.out, x.p, id, h, false); err != nil {
			x.t.Fatal(err)
		}
		t.begun[1] = true
		return
	}
	switch x.r.IntN(6) {
	case 0:
		var trailers *message.Fields
		if x.r.IntN(2) == 0 {
			t.trailers[dir] = fmt.Sprint(x.r.Uint32())
			trailers = new(message.Fields)
			trailers.AddString("x-tail", t.trailers[dir])
		}
		if err := e.code.appendEnd(&e.out, x.p, id, trailers); err != nil {
			x.t.Fatal(err)
		}
		t.ended[dir] = true
	default:
		n := x.r.IntN(1 << uint(x.r.IntN(17)))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(x.r.Uint32())
		}
		t.said[dir] = append(t.said[dir], b...)
		var src buf.Chain
		src.Append(x.p, b)
		if err := e.code.appendBody(&e.out, x.p, id, &src, n); err != nil || src.Len() != 0 {
			x.t.Fatal(err)
		}
	}
}

func (x *pair) step() {
	switch x.r.IntN(12) {
	case 0:
		x.open()
	case 1, 2, 3, 4, 5:
		if n := len(x.ids); n > 0 {
			x.speak(x.ids[n-1-x.r.IntN(min(n, 10))], x.r.IntN(2))
		}
	case 6:
		x.took(x.r.IntN(2))
	case 7:
		at := x.r.IntN(2)
		x.ends[at].code.Flush(&x.ends[at].out, x.p, x.r.IntN(100000))
	case 8:
		if n := len(x.ids); n > 0 && x.r.IntN(10) == 0 {
			id, at := x.ids[n-1-x.r.IntN(min(n, 10))], x.r.IntN(2)
			if s := x.ends[at].code.streams.get(id); s != nil {
				if at == 1 && !s.reported {
					return
				}
				x.talks[id].reset = true
				x.ends[at].code.Reset(&x.ends[at].out, x.p, id, Cancel)
			}
		}
	default:
		x.carry(x.r.IntN(2))
	}
}

// settle lets everything run to its end.
func (x *pair) settle() {
	for range 100000 {
		busy := false
		for at := range x.ends {
			e := &x.ends[at]
			e.code.Flush(&e.out, x.p, 1<<20)
			busy = busy || e.out.Len() > 0 || len(e.untaken) > 0
			x.carry(at)
			x.took(at)
		}
		for _, id := range x.ids {
			for dir := range 2 {
				if t := x.talks[id]; !t.reset && !t.ended[dir] {
					busy = true
					x.speak(id, dir)
				}
			}
		}
		if !busy {
			return
		}
	}
	x.t.Fatal("there is no end to it")
}

// Whatever a client and a server say, in whatever order and pieces, the other side hears it: every body whole and in order,
// or the beginning of it if its stream was reset; and in the end nothing is open, queued, lost or owed.
func TestPairAgainstTwin(t *testing.T) {
	for seed := range uint64(40) {
		x := newPair(t, seed)
		for range 1500 {
			x.step()
		}
		x.settle()
		for _, id := range x.ids {
			talk := x.talks[id]
			for dir := range 2 {
				switch {
				case !bytes.HasPrefix(talk.said[dir], talk.heard[dir]):
					t.Fatalf("seed %d, stream %d, direction %d: something else was heard", seed, id, dir)
				case talk.reset:
				case len(talk.said[dir]) != len(talk.heard[dir]) || !talk.over[dir] || talk.trailers[dir] != talk.heardTail[dir]:
					t.Fatalf("seed %d, stream %d, direction %d: %d of %d bytes, over: %v", seed, id, dir, len(talk.heard[dir]), len(talk.said[dir]), talk.over[dir])
				}
			}
		}
		for at := range x.ends {
			c, peer := x.ends[at].code, x.ends[1-at].code
			if c.Open() != 0 || c.QueuedTotal() != 0 || c.schedule.used != 0 {
				t.Errorf("seed %d: %d streams, %d bytes are left", seed, c.Open(), c.QueuedTotal())
			}
			if c.sendWindow != int64(peer.recvWindow) || int(peer.recvWindow+peer.owed) != c.limits.ConnWindow {
				t.Errorf("seed %d: windows %d, %d, owed %d of %d", seed, c.sendWindow, peer.recvWindow, peer.owed, c.limits.ConnWindow)
			}
		}
		x.client.Release(x.p)
		x.server.Release(x.p)
		if x.p.InUse() != 0 {
			t.Errorf("seed %d: %d bytes of chunks were lost", seed, x.p.InUse())
		}
	}
}

// The table of streams against a map.
func TestTableAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tab table
	twin := map[uint32]*stream{}
	for i := range 200000 {
		id := uint32(2*r.IntN(1+min(i, 300)) + 1)
		if s := twin[id]; s != nil && r.IntN(2) == 0 {
			tab.remove(id)
			delete(twin, id)
		} else if s == nil {
			twin[id] = &stream{id: id}
			tab.add(twin[id])
		}
		probe := uint32(2*r.IntN(300) + 1)
		if tab.get(probe) != twin[probe] || tab.n != len(twin) {
			t.Fatalf("stream %d after %d steps", probe, i)
		}
	}
}

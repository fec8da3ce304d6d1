package loop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/internal/invariant"
	"golang.org/x/sys/unix"
)

func TestManyConnectionsEcho(t *testing.T) {
	addr := serveEcho(t, startLoop(t), nil)
	var clients sync.WaitGroup
	for i := range 100 {
		c := dialTCP(t, addr)
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range 20 {
				want := make([]byte, 1+rng.IntN(40_000))
				for j := range want {
					want[j] = byte(rng.Uint32())
				}
				go c.Write(want) // as the answer may begin before the question ends
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				if !bytes.Equal(got, want) {
					t.Errorf("client %d: other bytes came back", i)
					return
				}
			}
		})
	}
	clients.Wait()
}

func TestFullSocketStopsReadingAndNothingIsLost(t *testing.T) {
	l := startLoop(t)
	stalled, gone := make(chan struct{}, 1), make(chan error, 1)
	var server *echo
	addr := serveEcho(t, l, func(e *echo) { e.stalled, e.gone, server = stalled, gone, e })
	c := dialTCP(t, addr)

	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MB: more than the buffers of both sockets hold
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	await(t, stalled, "the server to stop reading")

	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want the %d that were sent", len(got), err, len(want))
	}
	if err := await(t, gone, "the server's connection to end"); err != io.EOF {
		t.Errorf("the server's connection ended by %v, want io.EOF", err)
	}
	if limit := echoHigh + 4096; server.outMax > limit {
		t.Errorf("the server held %d bytes, want at most %d", server.outMax, limit)
	}
}

func TestHalfCloseIsAnswered(t *testing.T) {
	c := dialTCP(t, serveEcho(t, startLoop(t), nil))
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "last words" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCloseWriteEndsOneDirection(t *testing.T) {
	l := startLoop(t)
	heard := make(chan string, 1)
	_, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) {
		s := new(Socket)
		var got []byte
		err := l.Adopt(s, fd, handlerFunc(func(ev Events) {
			for {
				var p [64]byte
				n, err := s.Recv(p[:])
				got = append(got, p[:n]...)
				if err == io.EOF {
					heard <- string(got)
					s.Close()
				}
				if err != nil {
					return
				}
			}
		}))
		if err = errors.Join(err, s.CloseWrite()); err != nil {
			t.Error(err)
		}
	}), AcceptOptions{})
	c := dialTCP(t, addr)
	if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
		t.Errorf("read %q, %v, want the end of the stream", got, err)
	}
	c.Write([]byte("still talking"))
	c.CloseWrite()
	if got := await(t, heard, "the other direction"); got != "still talking" {
		t.Errorf("heard %q", got)
	}
}

func TestPeerResetIsTold(t *testing.T) {
	gone := make(chan error, 1)
	c := dialTCP(t, serveEcho(t, startLoop(t), func(e *echo) { e.gone = gone }))
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := await(t, gone, "the reset"); err != syscall.ECONNRESET {
		t.Errorf("ended by %v, want ECONNRESET", err)
	}
}

func TestResetReachesThePeer(t *testing.T) {
	l := startLoop(t)
	_, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) {
		s := new(Socket)
		if err := l.Adopt(s, fd, handlerFunc(func(ev Events) {
			if ev&Readable != 0 {
				s.Reset()
				s.Reset()
			}
		})); err != nil {
			t.Error(err)
		}
	}), AcceptOptions{})
	c := dialTCP(t, addr)
	c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
}

// One batch of events holds two sockets. The handler of whichever comes first closes the other and opens a connection
// that gets the other's descriptor and slot; the event still in the batch is not that connection's.
func TestEventOfAClosedSocketIsNotItsSuccessors(t *testing.T) {
	l := stepLoop(t)
	var sockets [2]Socket
	var successor Socket
	adopt := func(s *Socket, fd int, h handlerFunc) {
		t.Helper()
		if err := l.Adopt(s, fd, h); err != nil {
			t.Fatal(err)
		}
	}
	calls := 0
	for i := range sockets {
		ours, theirs := pair(t)
		defer unix.Close(theirs)
		other := &sockets[1-i]
		adopt(&sockets[i], ours, func(Events) {
			calls++
			fd, slot := other.FD(), other.slot
			other.Close()
			a, b := pair(t)
			if b == fd {
				a, b = b, a
			}
			defer unix.Close(b)
			if a != fd {
				if got, err := unix.FcntlInt(uintptr(a), unix.F_DUPFD_CLOEXEC, fd); err != nil || got != fd {
					t.Fatal(got, err)
				}
				unix.Close(a)
			}
			adopt(&successor, fd, func(Events) { t.Error("the successor was told of its predecessor's event") })
			if successor.slot != slot || successor.FD() != fd {
				t.Errorf("successor has slot %d and descriptor %d, want %d and %d", successor.slot, successor.FD(), slot, fd)
			}
		})
	}
	l.step()
	if stale := l.stats.Stale.Load(); calls != 1 || stale != 1 {
		t.Errorf("%d handlers called, %d stale events; want 1 and 1", calls, stale)
	}
	successor.Close()
}

func TestClosedInReadStepIsNotRunInRunStep(t *testing.T) {
	l := stepLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	calls := 0
	if err := l.Adopt(&s, ours, handlerFunc(func(Events) { calls++; s.Close() })); err != nil {
		t.Fatal(err)
	}
	l.ReadyLater(&s, Readable)
	l.step() // its first event, and the later one
	l.step()
	if calls != 1 {
		t.Errorf("called %d times, want once", calls)
	}
}

func TestReadyLaterComesOnceInTheNextTurn(t *testing.T) {
	l := stepLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	var told []Events
	again := true
	if err := l.Adopt(&s, ours, handlerFunc(func(ev Events) {
		told = append(told, ev)
		if again {
			l.ReadyLater(&s, Readable)
			l.ReadyLater(&s, Hangup)
		}
	})); err != nil {
		t.Fatal(err)
	}
	l.turn()
	l.turn() // does not sleep: something is left to do
	again = false
	l.turn()
	l.step()
	if want := fmt.Sprint([]Events{Writable, Readable | Hangup, Readable | Hangup}); fmt.Sprint(told) != want {
		t.Errorf("told %v, want %s", told, want)
	}
}

// A socket that asks for another turn and then has an event of its own is called once, and its list does not grow.
func TestReadyLaterAndAnEventAreOneCall(t *testing.T) {
	l := stepLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	calls := 0
	if err := l.Adopt(&s, ours, handlerFunc(func(ev Events) {
		calls++
		l.ReadyLater(&s, Hangup)
	})); err != nil {
		t.Fatal(err)
	}
	for turn := 1; turn <= 20; turn++ {
		unix.Write(theirs, []byte("x"))
		l.turn()
		if calls != turn || len(l.later) != 1 {
			t.Fatalf("%d calls in %d turns, %d on the list; want as many, and 1", calls, turn, len(l.later))
		}
	}
}

func TestClosedSocketFailsAndHarmsNobody(t *testing.T) {
	var s Socket // the zero value must not stand for descriptor 0
	_, err := s.Recv(make([]byte, 1))
	if err != syscall.EBADF {
		t.Errorf("Recv: %v, want EBADF", err)
	}
	if _, err := s.Send([]byte("x")); err != syscall.EBADF {
		t.Errorf("Send: %v, want EBADF", err)
	}
	if _, err := s.Sendv([][]byte{[]byte("x")}); err != syscall.EBADF {
		t.Errorf("Sendv: %v, want EBADF", err)
	}
	if s.Open() || s.Alive() || s.FD() != -1 || s.ConnectResult() == nil || s.CloseWrite() == nil {
		t.Error("the zero socket looks open")
	}
	s.Close()
	s.Reset()
}

func TestAliveUntilThePeerClosesOrSpeaks(t *testing.T) {
	for _, c := range []struct {
		peer string
		does func(fd int) error
		want bool
	}{
		{"is silent", func(int) error { return nil }, true},
		{"closes", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }, false},
		{"speaks out of turn", func(fd int) error { _, err := unix.Write(fd, []byte("?")); return err }, false},
	} {
		l := stepLoop(t)
		ours, theirs := pair(t)
		var s Socket
		if err := l.Adopt(&s, ours, handlerFunc(func(Events) {})); err != nil {
			t.Fatal(err)
		}
		if err := c.does(theirs); err != nil {
			t.Fatal(err)
		}
		if got := s.Alive(); got != c.want {
			t.Errorf("the peer %s: Alive() = %v, want %v", c.peer, got, c.want)
		}
		s.Close()
		unix.Close(theirs)
	}
}

func TestSendvWritesPiecesInOrder(t *testing.T) {
	many := make([][]byte, vectorMax+10)
	for i := range many {
		many[i] = fmt.Appendf(nil, "<%d>", i)
	}
	for _, c := range []struct {
		pieces [][]byte
		want   string
	}{
		{nil, ""},
		{[][]byte{nil, {}}, ""},
		{[][]byte{[]byte("a"), nil, []byte("bc")}, "abc"},
		{many, string(bytes.Join(many[:vectorMax], nil))},
	} {
		l := stepLoop(t)
		ours, theirs := pair(t)
		var s Socket
		if err := l.Adopt(&s, ours, handlerFunc(func(Events) {})); err != nil {
			t.Fatal(err)
		}
		n, err := s.Sendv(c.pieces)
		for err == ErrAgain && invariant.Enabled {
			n, err = s.Sendv(c.pieces)
		}
		got := make([]byte, 4096)
		m := 0
		if n > 0 {
			m, _ = unix.Read(theirs, got)
		}
		if invariant.Enabled {
			c.want = c.want[:n]
		}
		if string(got[:m]) != c.want || n != len(c.want) || err != nil {
			t.Errorf("Sendv = %d, %v and the peer read %q, want %q", n, err, got[:m], c.want)
		}
		s.Close()
		unix.Close(theirs)
	}
}

func TestSmallSystemCallsAllocateNothing(t *testing.T) {
	if invariant.Enabled {
		t.Skip("checks allocate")
	}
	l := stepLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	var tm Timer
	tm.Init(newRing(0))
	f := &countFlushes{}
	p, v := make([]byte, 64), [][]byte{[]byte("one"), []byte("two")}
	if err := l.Adopt(&s, ours, handlerFunc(func(ev Events) {
		s.Recv(p)
		s.Recv(p) // ErrAgain
		s.Send(v[0])
		s.Sendv(v)
		s.Alive()
		l.Arm(&tm, l.Now().Add(patience))
		l.ReadyLater(&s, Readable)
		l.FlushLater(f)
	})); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() {
		unix.Write(theirs, v[0])
		l.turn()
		unix.Read(theirs, out)
	}); n != 0 {
		t.Errorf("%v allocations a turn, want 0", n)
	}
	l.Cancel(&tm)
	s.Close()
}

type countFlushes struct{ n int }

func (c *countFlushes) Flush() { c.n++ }

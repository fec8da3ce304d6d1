package loop

import (
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkEchoRoundTrip is one request and its answer over loopback TCP against a client that blocks in read: four
// system calls of the loop (recv, send, a poll that finds nothing, one that sleeps), two of the client, and two wake-ups.
func BenchmarkEchoRoundTrip(b *testing.B) {
	addr := serveEcho(b, startLoop(b), nil)
	c := dialTCP(b, addr)
	file, err := c.File()
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd()) // which makes it block
	p := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		unix.Write(fd, p)
		for n := 0; n < len(p); {
			m, err := unix.Read(fd, p[n:])
			if m <= 0 {
				b.Fatal(m, err)
			}
			n += m
		}
	}
}

// BenchmarkEchoUnderLoad is 64 connections between two loops, each with a request under way: time a request, and what
// both ends together spent of the processors.
func BenchmarkEchoUnderLoad(b *testing.B) {
	const connections = 64
	addr := serveEcho(b, startLoop(b), nil)
	l := startLoop(b)
	askers := make([]asker, connections)
	left, done := b.N, make(chan struct{})
	b.ReportAllocs()
	on(b, l, func() {
		for i := range askers {
			a := &askers[i]
			a.left, a.done = &left, done
			fd, err := Dial(addr, DialOptions{})
			if err == nil {
				err = l.Adopt(&a.socket, fd, a)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	before := processorTime(b)
	b.ResetTimer()
	<-done
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// asker sends a request whenever the answer to the last one is complete.
type asker struct {
	socket  Socket
	buf     [128]byte
	awaited int
	asked   bool
	left    *int
	done    chan struct{}
}

func (a *asker) Ready(ev Events) {
	if !a.asked && ev&Writable != 0 {
		a.asked = true
		a.ask()
	}
	if a.asked && ev&Readable != 0 {
		n, _ := a.socket.Recv(a.buf[:])
		if a.awaited -= n; a.awaited == 0 {
			a.ask()
		}
	}
}

func (a *asker) ask() {
	switch *a.left--; {
	case *a.left == 0:
		close(a.done)
	case *a.left > 0:
		a.awaited = len(a.buf)
		a.socket.Send(a.buf[:])
	}
}

func processorTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime)
}

// BenchmarkTurn is a turn with one event, its recv and send, and no sleeping: the loop under load.
func BenchmarkTurn(b *testing.B) {
	l := stepLoop(b)
	ours, theirs := pair(b)
	defer unix.Close(theirs)
	var s Socket
	p := make([]byte, 128)
	if err := l.Adopt(&s, ours, handlerFunc(func(ev Events) {
		n, _ := s.Recv(p[:])
		s.Send(p[:n])
	})); err != nil {
		b.Fatal(err)
	}
	q := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		send(int32(theirs), q[:64])
		l.turn()
		recv(int32(theirs), q)
	}
}

func BenchmarkPost(b *testing.B) {
	b.Run("from afar", func(b *testing.B) {
		l := startLoop(b)
		f := func() {}
		b.ReportAllocs()
		for b.Loop() {
			l.Post(f)
		}
		on(b, l, func() {})
		b.ReportMetric(float64(l.Stats().Wakes.Load())/float64(b.N), "wakes/op")
	})
	b.Run("and run", func(b *testing.B) {
		l := stepLoop(b)
		f := func() {}
		b.ReportAllocs()
		for b.Loop() {
			l.mail.put(f)
			l.mail.run()
		}
	})
}

package gateway_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway/upstream"
	"golang.org/x/net/http2"
)

// Windows open in any order and at any pace: as long as they do, every answer arrives whole.
func TestEveryAnswerArrivesWhateverTheWindowsDo(t *testing.T) {
	t.Parallel()
	const streams, size = 30, 200_000
	for _, back := range speeches[:2] {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(back.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				s := front(back.serve(t, noCertificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for range size / 1000 {
						if _, err := w.Write(make([]byte, 1000)); err != nil {
							return
						}
					}
				})))
				if back.two {
					s.dial.Protocols = engine.HTTP2
				}
				r := start(t, s)
				c := clientFrames(t, r.addr, window(0))
				done := make(chan error, 1)
				go func() {
					got, ended := map[uint32]int{}, 0
					for ended < streams {
						fr, err := c.ReadFrame()
						if err != nil {
							done <- err
							return
						}
						switch fr := fr.(type) {
						case *http2.DataFrame:
							got[fr.StreamID] += len(fr.Data())
							if fr.StreamEnded() {
								ended++
								if n := got[fr.StreamID]; n != size {
									done <- fmt.Errorf("stream %d has %d bytes", fr.StreamID, n)
									return
								}
							}
						case *http2.RSTStreamFrame, *http2.GoAwayFrame:
							done <- fmt.Errorf("%s", describe(fr, nil))
							return
						}
					}
					done <- nil
				}()
				check(t, c.WriteWindowUpdate(0, streams*size))
				rnd := rand.New(rand.NewPCG(seed, 2))
				given := make([]int, streams)
				for i := range given {
					c.request(uint32(2*i+1), "GET", "/", true)
				}
				for left := streams * size; left > 0; {
					i := rnd.IntN(streams)
					if seed%2 == 1 { // the last ones first, while all before them are shut
						for i = streams - 1; given[i] == size; {
							i--
						}
					}
					n := min(size-given[i], 20_000+rnd.IntN(150_000))
					if n == 0 {
						continue
					}
					check(t, c.WriteWindowUpdate(uint32(2*i+1), uint32(n)))
					given[i] += n
					left -= n
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				c.Close()
				r.nothingHeld(t)
			})
		}
	}
}

// A drain takes leave in two steps (RFC 9113 6.8), in between serves what was on its way, and lets what is open end.
func TestADrainTakesLeaveInTwoSteps(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := front(speech{}.serve(t, noCertificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-release
		}
	})))
	r := start(t, s)
	busy, idle := clientFrames(t, r.addr), clientFrames(t, r.addr)
	busy.request(1, "GET", "/long", true)
	idle.request(1, "GET", "/", true)
	idle.wants("1 head 200 end")
	r.settled(t)
	r.onEach(func(w *engine.Worker) { w.Drain() })
	idle.wants("goaway 2147483647 NO_ERROR")
	busy.wants("goaway 2147483647 NO_ERROR")
	busy.request(3, "GET", "/", true) // the client did not know yet
	busy.wants("3 head 200 end")
	idle.wants("goaway 1 NO_ERROR")
	busy.wants("goaway 3 NO_ERROR")
	busy.request(5, "GET", "/", true) // and now it should have
	busy.wants("5 reset REFUSED_STREAM")
	if got := idle.ended(); got != "" {
		t.Errorf("behind its leave: %s", got)
	}
	idle.Close()
	close(release)
	busy.wants("1 head 200 end")
	if got := busy.ended(); got != "" {
		t.Errorf("behind its leave: %s", got)
	}
	busy.Close()
	r.nothingHeld(t)
}

// The end of a drain closes those that are idle, telling them so, and then all.
func TestTheEndOfADrain(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	s := front(speech{}.serve(t, noCertificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-over
		}
	})))
	t.Cleanup(func() { close(over) })
	r := start(t, s)
	busy, idle := clientFrames(t, r.addr), clientFrames(t, r.addr)
	idle.request(1, "GET", "/", true)
	idle.wants("1 head 200 end")
	busy.request(1, "GET", "/long", true)
	busy.request(3, "GET", "/long", true)
	r.waitFor(t, "both run", func() bool { return r.metric(t, "yumen_requests_running") == 2 })
	r.onEach(func(w *engine.Worker) { w.CloseIdle() })
	idle.wants("goaway 1 NO_ERROR")
	if got := idle.ended(); got != "" {
		t.Errorf("behind its leave: %s", got)
	}
	idle.Close()
	r.onEach(func(w *engine.Worker) { w.CloseAll() })
	if _, err := busy.next(); err == nil {
		t.Error("the busy one goes on")
	}
	r.nothingHeld(t)
}

// Connections to an endpoint that left end when their last request does, those to one that stays when they are old or idle.
func TestConnectionsOfStreamsEnd(t *testing.T) {
	t.Parallel()
	f := func(name string, change func(*settings), leave func(r *running, release func())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan string, 10)
			release := make(chan struct{})
			var once sync.Once
			s := many(serveFrames(t, func(f *frames) {
				check(t, f.WriteSettings())
				var wg sync.WaitGroup
				var mu sync.Mutex
				for {
					fr, err := f.next()
					if err != nil {
						wg.Wait()
						gone <- err.Error()
						return
					}
					if fr.Header().Type == http2.FrameGoAway {
						continue
					}
					id := fr.Header().StreamID
					wg.Go(func() {
						<-release
						mu.Lock()
						defer mu.Unlock()
						_ = f.head(id, true, ":status: 200")
					})
				}
			}))
			change(&s)
			r := start(t, s)
			results := make(chan string, 5)
			for range 5 {
				go func() { results <- r.get("GET", "/", "") }()
			}
			r.waitFor(t, "five are open", func() bool { _, n, waiting := r.load(); return n == 5 && waiting == 0 })
			let := func() { once.Do(func() { close(release) }) }
			leave(r, let)
			let()
			for range 5 {
				if got := <-results; got != "200 0" {
					t.Error(got)
				}
			}
			// A connection that nobody uses is not kept for what a short write left of its GOAWAY.
			if got := <-gone; got != io.EOF.Error() && got != io.ErrUnexpectedEOF.Error() {
				t.Errorf("the connection ended with %s", got)
			}
			r.nothingHeld(t)
		})
	}
	nothing := func(*running, func()) {}
	f("its endpoint left", func(s *settings) {}, func(r *running, _ func()) {
		check(t, r.group.SetTargets([]upstream.Target{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}}))
	})
	f("idle", func(s *settings) { s.pool.IdleTimeout = 20 * time.Millisecond }, nothing)
	f("old", func(s *settings) { s.pool.AgeMax = time.Nanosecond }, nothing)
	f("worn", func(s *settings) { s.pool.ServedMax = 5 }, nothing)
}

// With one connection allowed and few streams on it, all who wait are served, and those who leave the queue are not.
func TestOneConnectionServesAQueue(t *testing.T) {
	t.Parallel()
	var conns, most, open atomic.Int64
	s := many(serveFrames(t, func(f *frames) {
		conns.Add(1)
		check(t, f.WriteSettings(streamsMax(3)))
		var ids []uint32
		echoes(f, func(id uint32) {
			ids = append(ids, id)
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			if len(ids) < 2 { // answered in pairs, the later one first
				_ = f.WritePing(false, [8]byte{})
				return
			}
			for i := len(ids) - 1; i >= 0; i-- {
				open.Add(-1)
				_ = f.head(ids[i], true, ":status: 200")
			}
			ids = nil
		})
	}))
	s.pool.ConnsMax = 1
	r := start(t, s)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if got := r.get("POST", "/", "x"); got != "200 0" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if conns.Load() != 1 || most.Load() > 3 {
		t.Errorf("%d connections, %d streams at once", conns.Load(), most.Load())
	}
	r.nothingHeld(t)
}

package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"golang.org/x/net/http2"
)

// front is a gateway whose clients may speak HTTP/2 to an upstream of HTTP/1.
func front(endpoint string) settings {
	s := usual(endpoint)
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	return s
}

// Clients open windows as they please: not at all at first, by single bytes, or while an answer is under way.
func TestWindowsOfAnySizeAreKept(t *testing.T) {
	t.Parallel()
	const size = 200_000
	r := start(t, front(serve(t, answerWith(size))))
	t.Run("closed at first", func(t *testing.T) {
		c := clientFrames(t, r.addr, window(0))
		c.request(1, "GET", "/", true)
		c.wants("1 head 200")
		for range 5 {
			check(t, c.WriteWindowUpdate(1, 1))
			c.wants("1 data 1")
		}
		check(t, c.WriteSettings(window(10))) // five of which are used up already
		c.wants("1 data 10")
		check(t, c.WriteSettings(window(0))) // now it is negative
		check(t, c.WriteWindowUpdate(1, 10))
		check(t, c.WriteSettings(window(3)))
		c.wants("1 data 3")
		check(t, c.WriteWindowUpdate(0, 1<<20))
		check(t, c.WriteSettings(window(1<<20)))
		if n, end := c.body(1); n != size-5-10-3 || end != "end" {
			t.Errorf("%d bytes came, and then %s", n, end)
		}
		c.Close()
	})
	t.Run("that of the connection is closed", func(t *testing.T) {
		c := clientFrames(t, r.addr, window(1<<20))
		c.request(1, "GET", "/", true)
		c.request(3, "GET", "/", true)
		n := map[uint32]int{}
		total := 0
		for total < 65535 {
			fr, err := c.next()
			check(t, err)
			if d, is := fr.(*http2.DataFrame); is {
				n[d.StreamID] += len(d.Data())
				total += len(d.Data())
			}
		}
		if total != 65535 {
			t.Errorf("%d bytes came", total)
		}
		check(t, c.WriteRSTStream(1, http2.ErrCodeCancel))
		check(t, c.WriteWindowUpdate(0, 1<<20))
		rest, end := c.body(3)
		if rest+n[3] != size || end != "end" {
			t.Errorf("%d bytes came, and then %s", rest+n[3], end)
		}
		c.Close()
	})
	r.nothingHeld(t)
}

// A page that stops some downloads goes on with others on the same connection.
func TestStoppedDownloadsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	r := start(t, front(serve(t, answerWith(size))))
	c := clientFrames(t, r.addr, window(0))
	for stream := uint32(1); stream < 21; stream += 2 {
		c.request(stream, "GET", "/", true)
		c.wants(fmt.Sprint(stream, " head 200"))
	}
	r.settled(t)
	c.request(21, "GET", "/", true)
	check(t, c.WriteWindowUpdate(21, size))
	check(t, c.WriteWindowUpdate(0, size))
	if n, end := c.body(21); n != size || end != "end" {
		t.Errorf("%d bytes of %d came, and then %s", n, size, end)
	}
	c.Close()
	r.nothingHeld(t)
}

// An answer may be complete before its request: the client is told that the rest is not wanted (RFC 9113 8.1).
func TestAnAnswerBeforeTheEndOfItsRequest(t *testing.T) {
	t.Parallel()
	s := answersAtOnce()
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	r := start(t, s)
	c := clientFrames(t, r.addr)
	for stream := uint32(1); stream < 9; stream += 2 {
		c.request(stream, "POST", "/", false)
		c.wants(fmt.Sprint(stream, " head 403 respond"))
		c.wants(fmt.Sprint(stream, " data 2 end"))
		c.wants(fmt.Sprint(stream, " reset NO_ERROR"))
		check(t, c.WriteData(stream, false, make([]byte, 1000))) // which was under way
	}
	c.Close()
	// And behind an answer that the client does not take yet.
	c = clientFrames(t, r.addr, window(0))
	c.request(1, "POST", "/", false)
	c.wants("1 head 403 respond")
	check(t, c.WriteData(1, false, make([]byte, 1000)))
	check(t, c.WriteWindowUpdate(1, 10))
	c.wants("1 data 2 end")
	c.wants("1 reset NO_ERROR")
	c.Close()
	r.nothingHeld(t)
}

// A client resets a stream, or cuts its connection, in each state that one can be in: nothing is left of it, and its
// neighbour does not notice.
func TestStreamsAreGivenUpInEveryState(t *testing.T) {
	t.Parallel()
	for _, two := range []bool{false, true} {
		block := make([]byte, 16<<10)
		for name, state := range map[string]func(c *frames, id uint32){
			"half a head": func(c *frames, id uint32) {
				check(c.tb, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x82}}))
			},
			"before an answer": func(c *frames, id uint32) { c.request(id, "GET", "/hang", true) },
			"in the body":      func(c *frames, id uint32) { c.request(id, "POST", "/hang", false) },
			"while the body is held": func(c *frames, id uint32) {
				c.request(id, "POST", "/hang", false)
				for range 3 { // as much as the window of the connection lets
					check(c.tb, c.WriteData(id, false, block))
				}
			},
			"behind the whole request": func(c *frames, id uint32) {
				c.request(id, "POST", "/hang", false)
				check(c.tb, c.WriteData(id, true, block))
			},
			"in the answer": func(c *frames, id uint32) {
				c.request(id, "GET", "/large", true)
				c.wants(fmt.Sprint(id, " head 200"))
			},
			"in both bodies": func(c *frames, id uint32) {
				c.request(id, "POST", "/large", false)
				check(c.tb, c.WriteData(id, false, block))
				c.wants(fmt.Sprint(id, " head 200"))
			},
			"answered and not taken": func(c *frames, id uint32) {
				c.request(id, "GET", "/small", true)
				c.wants(fmt.Sprint(id, " head 200"))
			},
			"answered and not sent": func(c *frames, id uint32) {
				c.request(id, "POST", "/small", false)
				c.wants(fmt.Sprint(id, " head 200"))
			},
		} {
			for _, way := range []string{"reset", "cut", "leave"} {
				t.Run(fmt.Sprint(name, " ", way, " ", two), func(t *testing.T) {
					t.Parallel()
					over := make(chan struct{})
					s := front(speech{two: two}.serve(t, noCertificate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						switch r.URL.Path {
						case "/hang":
							select {
							case <-over:
							case <-r.Context().Done():
							}
						case "/small":
							http.NewResponseController(w).EnableFullDuplex()
							w.Write([]byte("small"))
						case "/large":
							http.NewResponseController(w).EnableFullDuplex()
							for {
								if _, err := w.Write(block); err != nil {
									return
								}
							}
						}
					})))
					t.Cleanup(func() { close(over) })
					if two {
						s.dial.Protocols = engine.HTTP2
					}
					r := start(t, s)
					c := clientFrames(t, r.addr, window(0))
					c.request(1, "GET", "/small", true) // the neighbour
					c.wants("1 head 200")
					state(c, 3)
					r.settled(t)
					if way == "reset" && name != "half a head" {
						check(t, c.WriteRSTStream(3, http2.ErrCodeCancel))
						check(t, c.WriteWindowUpdate(1, 5))
						if n, end := c.body(1); n != 5 || end != "end" {
							t.Errorf("the neighbour got %d bytes, and then %s", n, end)
						}
					}
					if way == "leave" && name != "half a head" {
						check(t, c.WriteGoAway(0, http2.ErrCodeNo, nil))
					}
					c.Close()
					r.nothingHeld(t)
				})
			}
		}
	}
}

// A client does anything, in any order, to an upstream that does too: what comes out is what was asked for, and in the end
// nothing is held.
func TestStreamsAtRandom(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	for _, back := range speeches {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(back.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				s := front(back.serve(t, cert, http.HandlerFunc(wayward)))
				s.dial = back.dial(t, pool, tlsconn.NewHandshaker(tlsconn.HandshakerConfig{}))
				s.pool.ConnsMax = int(seed) % 3 // 0: no bound
				r := start(t, s)
				rnd := rand.New(rand.NewPCG(seed, 1))
				for range 5 {
					randomClient(t, r, rnd)
				}
				r.nothingHeld(t)
			})
		}
	}
}

// wayward is an upstream that does what its path says, with bodies of either side.
func wayward(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	block := bytes.Repeat([]byte("y"), 5000)
	switch r.URL.Path {
	case "/0": // answers before it has read
		w.Write(block)
	case "/1":
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			fmt.Fprint(w, n)
		}
	case "/2":
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "1")
	case "/3":
		for range 100 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	case "/4":
		w.Write(block)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/5":
		panic(http.ErrAbortHandler)
	case "/6":
		io.ReadFull(r.Body, make([]byte, 1))
		w.WriteHeader(204)
	}
}

// randomClient opens, feeds, reads and gives up streams, and leaves somehow.
func randomClient(t *testing.T, r *running, rnd *rand.Rand) {
	t.Helper()
	c := clientFrames(t, r.addr, window(uint32(rnd.IntN(3)*30000)))
	var open []uint32
	next := uint32(1)
	taken := make(chan error, 1)
	go func() { // a reader that opens windows in odd steps
		left := map[uint32]bool{}
		for {
			fr, err := c.ReadFrame()
			if err != nil {
				taken <- err
				return
			}
			if d, is := fr.(*http2.DataFrame); is && len(d.Data()) > 0 {
				left[d.StreamID] = true
			}
		}
	}()
	write := func(err error) bool { return err == nil }
	for range 150 {
		id := uint32(0)
		if len(open) > 0 {
			id = open[rnd.IntN(len(open))]
		}
		ok := true
		switch do := rnd.IntN(12); {
		case do < 4 || id == 0:
			if len(open) > 60 {
				continue
			}
			end := rnd.IntN(3) == 0
			method := "POST"
			if end {
				method = "GET"
			}
			ok = write(c.head(next, end, ":method: "+method, ":scheme: http", ":authority: a", fmt.Sprint(":path: /", rnd.IntN(7))))
			if !end {
				open = append(open, next)
			}
			next += 2
		case do < 6: // mind no window: little is sent
			ok = write(c.WriteData(id, false, make([]byte, rnd.IntN(300))))
		case do < 7:
			ok = write(c.WriteData(id, true, make([]byte, rnd.IntN(300))))
			open = without(open, id)
		case do < 8:
			ok = write(c.WriteRSTStream(id, http2.ErrCodeCancel))
			open = without(open, id)
		case do < 10:
			ok = write(c.WriteWindowUpdate(1+2*uint32(rnd.IntN(int(next)/2)), 1+uint32(rnd.IntN(20000))))
		case do < 11:
			ok = write(c.WriteWindowUpdate(0, 1+uint32(rnd.IntN(100000))))
		default:
			ok = write(c.WriteSettings(window(uint32(rnd.IntN(40000)))))
		}
		if !ok {
			break
		}
	}
	switch rnd.IntN(3) {
	case 0:
		_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
	case 1:
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
	}
	c.Close()
	if err := <-taken; err == nil {
		t.Error("the reader ended")
	}
}

func without(list []uint32, id uint32) []uint32 {
	for i, have := range list {
		if have == id {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

// ended reads to the end of the connection and returns what came, but for what is the connection's own.
func (f *frames) ended() string {
	var all []string
	for {
		fr, err := f.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				all = append(all, err.Error())
			}
			return strings.Join(all, ", ")
		}
		all = append(all, describe(fr, nil))
	}
}

// Every wait of a connection has an end.
func TestConnectionsThatSayNothingMoreEnd(t *testing.T) {
	t.Parallel()
	f := func(name string, change func(*engine.ServerConfig), say func(c *frames), want string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answersAtOnce()
			s.server.Protocols = engine.HTTP2
			if change != nil {
				change(&s.server)
			}
			r := start(t, s)
			c := newFrames(t, dial(t, r.addr))
			say(c)
			c.mute = true
			if got := c.ended(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
	const goodbye = "goaway 2147483647 NO_ERROR, "
	short := func(c *engine.ServerConfig) { c.HeadTimeout = 20 * time.Millisecond }
	begin := func(c *frames) {
		io.WriteString(c, http2.ClientPreface)
		c.WriteSettings()
	}
	f("nothing", short, func(c *frames) {}, "goaway 0 NO_ERROR")
	f("no SETTINGS", short, func(c *frames) { io.WriteString(c, http2.ClientPreface) }, "goaway 0 NO_ERROR")
	f("half a head", short, func(c *frames) {
		begin(c)
		c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
	}, "goaway 1 NO_ERROR")
	f("no request", func(c *engine.ServerConfig) { c.IdleTimeout = 20 * time.Millisecond }, begin, "goaway 0 NO_ERROR")
	f("no second request", func(c *engine.ServerConfig) { c.IdleTimeout = 20 * time.Millisecond }, func(c *frames) {
		begin(c)
		c.request(1, "GET", "/", true)
	}, "1 head 403 respond, 1 data 2 end, goaway 1 NO_ERROR")
	f("as many requests as it may", func(c *engine.ServerConfig) { c.RequestsMax = 2 }, func(c *frames) {
		begin(c)
		c.request(1, "GET", "/", true)
		c.request(3, "GET", "/", true)
		c.request(5, "GET", "/", true) // on its way when the client was told
	}, "1 head 403 respond, 1 data 2 end, 3 head 403 respond, 3 data 2 end, "+goodbye+"5 head 403 respond, 5 data 2 end, goaway 5 NO_ERROR")
	f("as long as it may", func(c *engine.ServerConfig) { c.AgeMax = time.Nanosecond }, func(c *frames) {
		begin(c)
		c.request(1, "GET", "/", true)
	}, "1 head 403 respond, 1 data 2 end, "+goodbye+"goaway 1 NO_ERROR")
	f("what is no preface", nil, func(c *frames) { io.WriteString(c, "PRI /x HTTP/1.1\r\nHost: a\r\n\r\n") },
		"goaway 0 PROTOCOL_ERROR")
}

// A client that takes nothing of one answer, whose window is open as far as it asked, loses that one; the connection lives.
func TestAStalledStreamIsResetAndItsConnectionLives(t *testing.T) {
	t.Parallel()
	s := front(serve(t, answerWith(300_000)))
	s.server.SendTimeout = 50 * time.Millisecond
	r := start(t, s)
	c := clientFrames(t, r.addr, window(100))
	c.request(1, "GET", "/", true)
	c.wants("1 head 200")
	c.wants("1 data 100")
	c.wants("1 reset CANCEL")
	c.request(3, "HEAD", "/", true)
	c.wants("3 head 200 end")
	c.Close()
	r.nothingHeld(t)
}

// A body that does not come is given up, unless it is us who do not take it: bodies that are held may use up the
// connection's window, and then nothing can come of the others.
func TestABodyThatCannotComeIsWaitedFor(t *testing.T) {
	t.Parallel()
	goes := make(chan struct{})
	s := front(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Method == "GET" {
				<-goes
			}
			n, _ := io.Copy(io.Discard, req.Body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d", len(fmt.Sprint(n)), n)
		}
	}))
	s.pool.ConnsMax, s.pool.QueueTimeout = 1, time.Minute
	s.server.BodyWindow, s.server.BodyRateMin = 100*time.Millisecond, 1<<20
	r := start(t, s)
	c := clientFrames(t, r.addr, window(1<<20))
	c.request(1, "GET", "/", true) // everybody waits for this one
	opened, sent := map[uint32]int{}, 0
	acked := false
	take := func() {
		fr, err := c.ReadFrame()
		check(t, err)
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				check(t, c.WriteSettingsAck())
				acked = true
			}
		case *http2.WindowUpdateFrame:
			opened[fr.StreamID] += int(fr.Increment)
		default:
			t.Fatal(describe(fr, nil))
		}
	}
	for !acked || opened[0] == 0 {
		take()
	}
	block := make([]byte, 16<<10)
	for id := uint32(3); id <= 11; id += 2 {
		c.request(id, "POST", "/", false)
		for n := 0; n+len(block) <= 256<<10 && sent+len(block) <= 65535+opened[0]; n += len(block) {
			check(t, c.WriteData(id, false, block))
			sent += len(block)
		}
	}
	c.request(13, "POST", "/", false)
	// Nothing more can be sent. Three looks later they are all there.
	tick := time.NewTimer(3200 * time.Millisecond)
	defer tick.Stop()
	<-tick.C
	close(goes)
	for id := uint32(3); id <= 13; id += 2 {
		check(t, c.WriteData(id, true, nil))
	}
	for ends := 0; ends < 7; {
		fr, err := c.next()
		check(t, err)
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			if status := fr.PseudoValue("status"); status != "200" {
				t.Fatal(describe(fr, nil))
			}
		case *http2.DataFrame:
			if fr.StreamEnded() {
				ends++
			}
		default:
			t.Fatal(describe(fr, nil))
		}
	}
	c.Close()
	r.nothingHeld(t)
}

// Half a frame is waited for, and nothing else is done meanwhile.
func TestHalfAFrameCostsNoTurns(t *testing.T) {
	t.Parallel()
	still := func(r *running, what string) {
		t.Helper()
		turns := func() (n uint64) {
			r.onEach(func(w *engine.Worker) { n = w.Loop.Stats().Turns.Load() })
			return n
		}
		r.settled(t)
		before := turns()
		pause := time.NewTimer(50 * time.Millisecond)
		defer pause.Stop()
		<-pause.C
		if n := turns() - before; n > 50 {
			t.Errorf("%s: %d turns", what, n)
		}
	}
	over := make(chan struct{})
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings())
		echoes(f, func(uint32) {
			_, _ = f.Conn.Write([]byte{0, 0, 8})
			<-over
		})
	}))
	t.Cleanup(func() { close(over) })
	r := start(t, s)
	c := clientFrames(t, r.addr)
	_, err := c.Conn.Write([]byte{0, 0, 8})
	check(t, err)
	still(r, "from a client")
	c.Close()
	r.nothingHeld(t)
	c = clientFrames(t, r.addr)
	c.request(1, "GET", "/", true)
	still(r, "from an upstream")
	c.Close()
}

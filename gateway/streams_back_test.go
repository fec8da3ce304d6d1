package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
	"golang.org/x/net/http2"
)

// many is how a cluster of streams is spoken to.
func many(endpoints ...string) settings {
	s := usual(endpoints...)
	s.dial.Protocols = engine.HTTP2
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	return s
}

// get makes a request and returns its status, reason and the length of what came, or the error.
func (r *running) get(method, path string, body string) string {
	req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	text := fmt.Sprint(resp.StatusCode, " ", n)
	if reason := resp.Header.Get("X-Yumen-Reason"); reason != "" {
		text = fmt.Sprint(resp.StatusCode, " ", reason)
	}
	if err != nil {
		text += " " + err.Error()
	}
	return text
}

// echoes answers every request with 200 once it has come whole.
func echoes(f *frames, done func(stream uint32)) {
	for {
		fr, err := f.next()
		if err != nil {
			return
		}
		if end := fr.Header().Flags.Has(http2.FlagDataEndStream); end && fr.Header().Type <= http2.FrameHeaders {
			done(fr.Header().StreamID)
		}
	}
}

// What an upstream allows is known before anything is asked of it, however many wait.
func TestNoMoreStreamsAreOpenedThanTheUpstreamAllows(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	s := many(serveFrames(t, func(f *frames) {
		open := false
		check(t, f.WriteSettings(streamsMax(1)))
		echoes(f, func(id uint32) {
			if open {
				refused.Add(1)
				_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
				return
			}
			open = true
			// The answer waits until whatever else was sent at once has been read.
			_ = f.WritePing(false, [8]byte{1})
			for {
				fr, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, is := fr.(*http2.MetaHeadersFrame); is {
					refused.Add(1)
				}
				if p, is := fr.(*http2.PingFrame); is && p.IsAck() {
					break
				}
			}
			open = false
			_ = f.head(id, true, ":status: 200")
		})
	}))
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := r.get("GET", "/", ""); got != "200 0" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d requests were one too many", n)
	}
	r.nothingHeld(t)
}

// An upstream that says nothing does not speak HTTP/2, nor one that speaks something else.
func TestAnUpstreamWithoutSettingsIsNone(t *testing.T) {
	t.Parallel()
	f := func(name, want string, treat func(f *frames)) {
		t.Helper()
		s := many(serveFrames(t, treat))
		s.pool.ConnectTimeout = 50 * time.Millisecond
		r := start(t, s)
		if got := r.get("POST", "/", "once"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		r.nothingHeld(t)
		if l := r.group.Loads(); len(l) != 1 {
			t.Error(l)
		}
		for _, l := range r.group.Loads() {
			if l.Connections != 0 {
				t.Errorf("%s: %d connections are left", name, l.Connections)
			}
		}
	}
	f("silence", "504 connect_timeout", func(f *frames) { io.Copy(io.Discard, f.Conn) })
	f("the end", "502 connect_failed", func(f *frames) {})
	f("HTTP/1", "502 bad_response", func(f *frames) {
		io.WriteString(f.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, f.Conn)
	})
}

// An upstream may take no requests for now (RFC 9113 6.5.2): they wait, and not on ever more connections.
func TestAnUpstreamThatAllowsNoStreamsIsWaitedFor(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	opened, raise := make(chan struct{}, 100), make(chan struct{})
	s := many(serveFrames(t, func(f *frames) {
		conns.Add(1)
		check(t, f.WriteSettings(streamsMax(0)))
		opened <- struct{}{}
		<-raise
		_ = f.WriteSettings(streamsMax(100))
		echoes(f, func(id uint32) { _ = f.head(id, true, ":status: 200") })
	}))
	r := start(t, s)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got := r.get("POST", "/", "x"); got != "200 0" {
				t.Error(got)
			}
		})
	}
	<-opened
	r.waitFor(t, "10 wait", func() bool { _, _, waiting := r.load(); return waiting == 10 })
	close(raise)
	wg.Wait()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	r.nothingHeld(t)
}

// Streams are taken away while they are used: those that are open end, the next waits for one of them, or goes elsewhere.
func TestTheLimitOfStreamsIsLoweredMidway(t *testing.T) {
	t.Parallel()
	var first sync.Once
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings(streamsMax(8)))
		var waiting []uint32
		echoes(f, func(id uint32) {
			lowered := false
			first.Do(func() { lowered = true })
			if lowered {
				_ = f.WriteSettings(streamsMax(0))
				_ = f.head(id, true, ":status: 200")
				_ = f.WriteSettings(streamsMax(2))
				return
			}
			waiting = append(waiting, id)
			for _, id := range waiting {
				_ = f.head(id, true, ":status: 200")
			}
			waiting = nil
		})
	}))
	s.pool.ConnsMax = 1
	r := start(t, s)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := r.get("GET", "/", ""); got != "200 0" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	r.nothingHeld(t)
}

func (r *running) load() (conns, inFlight, waiting int) {
	for _, l := range r.group.Loads() {
		conns, inFlight, waiting = conns+l.Connections, inFlight+l.InFlight, waiting+l.Waiting
	}
	return conns, inFlight, waiting
}

// waitFor waits until something is so.
func (r *running) waitFor(tb testing.TB, what string, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("in vain: %s", what)
		}
	}
}

// large answers with a body of n bytes, as HTTP/2 of Go's does.
func large(t *testing.T, n int) string {
	block := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	return speech{two: true}.serve(t, noCertificate, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		size := n
		if req.URL.Path == "/small" {
			size = 1 << 10
		}
		for left := size; left > 0; left -= len(block) {
			if _, err := w.Write(block[:min(left, len(block))]); err != nil {
				return
			}
		}
	}))
}

// Clients that do not read share a connection to the upstream with one that does, who must not notice.
func TestSlowClientsDoNotHoldUpOthersOnTheirConnection(t *testing.T) {
	t.Parallel()
	s := many(large(t, 8<<20))
	s.pool.ConnsMax = 1
	r := start(t, s)
	for range 12 {
		c := dial(t, r.addr)
		check(t, c.SetReadBuffer(4<<10))
		fmt.Fprint(c, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
		br := bufio.NewReader(c)
		if line, err := br.ReadString('\n'); !strings.Contains(line, "200") {
			t.Fatal(line, err)
		}
		defer c.Close()
	}
	for range 20 {
		if got := r.get("GET", "/small", ""); got != "200 1024" {
			t.Fatal(got)
		}
	}
}

// What an upstream sends of an answer that is given up is nobody's, and must not be missing on the connection.
func TestCancelledAnswersLeaveTheConnectionItsWindow(t *testing.T) {
	t.Parallel()
	const cancelled = 1_000
	data := make([]byte, 2<<10)
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings())
		echoes(f, func(id uint32) {
			_ = f.head(id, false, ":status: 200")
			for range 4 {
				_ = f.WriteData(id, false, data)
			}
		})
	}))
	s.pool.ConnsMax = 1
	r := start(t, s)
	c := clientFrames(t, r.addr)
	stream := uint32(1)
	for range cancelled {
		c.request(stream, "GET", "/", true)
		for {
			fr, err := c.next()
			check(t, err)
			if fr.Header().StreamID == stream {
				break
			}
		}
		check(t, c.WriteRSTStream(stream, http2.ErrCodeCancel))
		stream += 2
	}
	c.Close()
	r.nothingHeld(t)
	if conns, _, _ := r.load(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
	// All of the connection's window is there.
	last := clientFrames(t, r.addr, window(1<<20))
	last.request(1, "GET", "/", true)
	last.wants("1 head 200")
	for n := 0; n < 4*len(data); {
		fr, err := last.next()
		check(t, err)
		n += len(fr.(*http2.DataFrame).Data())
	}
	last.Close()
	r.nothingHeld(t)
}

// Answers that the upstream breaks off while their clients do not read: what was held of them is given back.
func TestAnswersBrokenOffWhileTheyAreHeldLeaveTheConnectionItsWindow(t *testing.T) {
	t.Parallel()
	data := make([]byte, 16<<10)
	sent := make(chan struct{}, 100)
	var conns atomic.Int64
	s := many(serveFrames(t, func(f *frames) {
		conns.Add(1)
		check(t, f.WriteSettings())
		echoes(f, func(id uint32) {
			_ = f.head(id, false, ":status: 200")
			for range 12 { // more than a client that does not read is given at once, and less than the stream's window
				_ = f.WriteData(id, false, data)
			}
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
			sent <- struct{}{}
		})
	}))
	s.pool.ConnsMax = 1
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	for range 20 {
		c := clientFrames(t, r.addr, window(0))
		c.request(1, "GET", "/", true)
		c.wants("1 head 200")
		<-sent
		c.wants("1 reset INTERNAL_ERROR")
		c.Close()
	}
	r.nothingHeld(t)
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A complete answer is complete, whatever becomes of its stream or of the connection before a slow client has taken it.
func TestACompleteAnswerReachesASlowClientWhateverComesAfterIt(t *testing.T) {
	t.Parallel()
	const size = 160 << 10 // more than is queued for the client, less than a stream's window
	data := make([]byte, 16<<10)
	f := func(name string, after func(f *frames, id uint32)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan struct{}, 1)
			s := many(serveFrames(t, func(f *frames) {
				check(t, f.WriteSettings())
				for {
					fr, err := f.next()
					if err != nil {
						return
					}
					if fr.Header().Type != http2.FrameHeaders {
						continue
					}
					id := fr.Header().StreamID
					_ = f.head(id, false, ":status: 200", "trailer: x-sum")
					for n := size; n > 0; n -= len(data) {
						_ = f.WriteData(id, false, data)
					}
					_ = f.head(id, true, "x-sum: 1")
					after(f, id)
					sent <- struct{}{}
					if strings.HasPrefix(name, "the connection") {
						return
					}
				}
			}))
			s.routes[0].retry.Attempts = 1
			r := start(t, s)
			c := clientFrames(t, r.addr, window(0))
			c.request(1, "POST", "/", false) // whose body never comes
			c.wants("1 head 200")
			<-sent
			r.settled(t)
			check(t, c.WriteWindowUpdate(1, 1<<20))
			check(t, c.WriteWindowUpdate(0, 1<<20))
			if n, end := c.body(1); n != size || end != "end" {
				t.Errorf("%d bytes of %d came, and then %s", n, size, end)
			}
			c.wants("1 reset NO_ERROR")
			c.Close()
			r.nothingHeld(t)
		})
	}
	f("its stream is reset for its request", func(f *frames, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeNo) })
	f("the connection is closed", func(*frames, uint32) {})
	f("the connection is left and closed", func(f *frames, id uint32) { _ = f.WriteGoAway(id, http2.ErrCodeNo, nil) })
	f("nothing", func(*frames, uint32) {})
}

// settled waits until the loop has received all that is on its way to it: what the kernel has, the next turn finds.
func (r *running) settled(tb testing.TB) {
	tb.Helper()
	last, same := -1, 0
	r.waitFor(tb, "the loop has nothing to do", func() bool {
		n := 0
		r.gateway.OnEach(func(w *gateway.Worker) { n = w.Engine().Bufs.InUse() })
		if n != last {
			last, same = n, 0
		}
		same++
		return same > 20
	})
}

// GOAWAY tells which requests were not touched: those are sent again, also those that must not be sent twice, and the
// others are answered.
func TestRequestsBehindAGoAwayAreSentElsewhere(t *testing.T) {
	t.Parallel()
	var acted sync.Map
	var twice atomic.Int64
	var goes atomic.Bool
	goes.Store(true)
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings())
		leaves := goes.Swap(false)
		paths := map[uint32]string{}
		heads := 0
		bodies := map[uint32]int{}
		answer := func(id uint32) {
			if _, was := acted.LoadOrStore(paths[id], true); was {
				twice.Add(1)
			}
			_ = f.head(id, false, ":status: 200")
			_ = f.WriteData(id, true, bytes.Repeat([]byte("x"), bodies[id]))
		}
		for {
			fr, err := f.next()
			if err != nil {
				return
			}
			id := fr.Header().StreamID
			switch fr := fr.(type) {
			case *http2.MetaHeadersFrame:
				paths[id] = fr.PseudoValue("path")
				if heads++; leaves && heads == 60 { // the first five it will serve
					_ = f.WriteGoAway(9, http2.ErrCodeNo, nil)
				}
			case *http2.DataFrame:
				bodies[id] += len(fr.Data())
			}
			if fr.Header().Flags.Has(http2.FlagDataEndStream) && (!leaves || id <= 9) {
				answer(id)
			}
		}
	}))
	s.routes[0].retry.Attempts = 2
	r := start(t, s)
	var wg sync.WaitGroup
	for i := range 60 { // more than a budget of retries has: those that are left alone cost nobody any work
		wg.Go(func() {
			size := i * 10
			want := fmt.Sprint("200 ", size)
			if got := r.get("POST", fmt.Sprint("/", i), strings.Repeat("x", size)); got != want {
				t.Errorf("%d: got %s, want %s", i, got, want)
			}
		})
	}
	wg.Wait()
	if n := twice.Load(); n > 0 {
		t.Errorf("%d requests were acted on twice", n)
	}
	r.nothingHeld(t)
}

// A connection that breaks under many requests breaks each of them once, and is one failure of its endpoint.
func TestAConnectionLostUnderManyRequestsIsOneFailure(t *testing.T) {
	t.Parallel()
	const open = 50
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings())
		n := 0
		echoes(f, func(uint32) {
			if n++; n == open {
				f.Close()
			}
		})
	}))
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	results := make(chan string, open)
	for range open {
		go func() { results <- r.get("POST", "/", "x") }()
	}
	count := map[string]int{}
	for range open {
		count[<-results]++
	}
	if count["502 connection_lost"] != open-1 || count["502 upstream_closed"]+count["502 upstream_reset"] != 1 {
		t.Errorf("got %v", count)
	}
	r.nothingHeld(t)
}

// A stream that is refused is sent again; one that is reset is not, if it must not be sent twice.
func TestAStreamIsSentAgainOnlyWhenItWasRefused(t *testing.T) {
	t.Parallel()
	f := func(method string, code http2.ErrCode, want string) {
		t.Helper()
		var n atomic.Int64
		s := many(serveFrames(t, func(f *frames) {
			check(t, f.WriteSettings())
			echoes(f, func(id uint32) {
				if n.Add(1) == 1 {
					_ = f.WriteRSTStream(id, code)
					return
				}
				_ = f.head(id, true, ":status: 200")
			})
		}))
		s.routes[0].retry.Attempts = 2
		r := start(t, s)
		if got := r.get(method, "/", "body"); got != want {
			t.Errorf("%s after %v: got %s, want %s", method, code, got, want)
		}
		r.nothingHeld(t)
	}
	f("POST", http2.ErrCodeRefusedStream, "200 0")
	f("POST", http2.ErrCodeInternal, "502 stream_reset")
	f("POST", http2.ErrCodeNo, "502 stream_reset")
	f("PUT", http2.ErrCodeInternal, "200 0")
}

// No connection carries more requests than it may, also of those that begin before the first is answered.
func TestAConnectionServesAsManyRequestsAsItMay(t *testing.T) {
	t.Parallel()
	var most atomic.Int64
	s := many(serveFrames(t, func(f *frames) {
		check(t, f.WriteSettings())
		served := int64(0)
		echoes(f, func(id uint32) {
			served++
			if served > most.Load() {
				most.Store(served)
			}
			_ = f.head(id, true, ":status: 200")
		})
	}))
	s.pool.ServedMax = 3
	r := start(t, s)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if got := r.get("GET", "/", ""); got != "200 0" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 3 {
		t.Errorf("a connection carried %d requests", n)
	}
	r.nothingHeld(t)
}

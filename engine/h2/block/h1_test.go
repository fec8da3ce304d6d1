package block

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/message"
)

var h1Limits = h1.NewLimits(h1.Limits{HeadBytesMax: 64 << 10, FieldsMax: 300})

// h1Request reads one request in HTTP/1 and tells it as story does, or the reason why it is refused.
func h1Request(p *buf.Pool, in *buf.Chain) (string, *message.Head) {
	var (
		c h1.Server
		h = new(message.Head)
		r *message.Refusal
	)
	c.Init(h1Limits)
	e, err := c.Next(in, p, h)
	switch {
	case errors.As(err, &r):
		return fmt.Sprint(r.Status, " ", r.Reason), h
	case e.Kind != message.GotHead:
		return "nothing", h
	}
	return headStory(Request, h), h
}

// Both codecs judge the same of hosts, targets, methods, names and values: nothing is let in by one door that the other
// keeps out. Where the words differ, HTTP/1 has seen the end of something that HTTP/2 has no end for.
func TestBothVersionsAreEquallyStrict(t *testing.T) {
	type sample struct{ method, host, target, field string }
	var list []sample
	for _, host := range []string{
		"exam.test", "EXAM.test:80", "exam.test:", "exam.test:65535", "exam.test:65536", "exam.test:080", "exam.test:8a",
		"exam.test:-1", "exam.test:1:2", ":80", "a@b", "a:b@c", "a,b", "a b", "a/b", "a?b", "a#b", "a\\b", "%61", "*", "_a",
		"a.", "127.0.0.1", "xn--e1afmkfd", "\xc3\xa9", "a\x00b", "~!$&'()*+;=", "a^b", "a{b",
		"[::1]", "[::1]:80", "[::1]:", "[::1", "::1", "[::1]a", "[]", "[1]", "[::1%25eth0]", "[::1%eth0]", "[fe80::1]x:80",
		"[::ffff:1.2.3.4]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:1.2.3.4]",
		"[1:2:3:4:5:6:7:1.2.3.4]", "[::1.2.3]", "[::1.2.3.04]", "[::1.2.3.256]", "[1::2::3]", "[:1]", "[1:]", "[::12345]",
		"[::G]", "[1.2.3.4]", "[v1.x]", strings.Repeat("h", 260), strings.Repeat("h", 261),
	} {
		list = append(list, sample{"GET", host, "/", ""})
	}
	for _, target := range []string{
		"/", "*", "/a?b", "/a#b", "a", "?", "/\\", "/{|}^`<>\"", "/%", "/%zz", "/\xe9", "/a\tb", "/\x7f", "/\x01", "//",
		"/../..", "/;", "//exam.test/", "/" + strings.Repeat("p", 8<<10-1), "/" + strings.Repeat("p", 8<<10),
	} {
		list = append(list, sample{"GET", "exam.test", target, ""}, sample{"OPTIONS", "exam.test", target, ""})
	}
	for _, method := range []string{
		"GET", "get", "CONNECT", "HEAD", "X-1_$", "G(T", "G,T", "G\"T", "G\xc3T", strings.Repeat("M", 32), strings.Repeat("M", 33),
	} {
		list = append(list, sample{method, "exam.test", "/", ""})
	}
	for c := range 256 {
		char := string([]byte{byte(c)})
		if char == "\n" || char == "\r" {
			continue // which end a line in one version only
		}
		for _, before := range []string{"v", "0123456"} {
			list = append(list, sample{"GET", "exam.test", "/", "a: " + before + char + "v"})
		}
		if char != ":" && (c < 'A' || c > 'Z') { // the end of a name, and too large a letter, likewise
			list = append(list, sample{"GET", "exam.test", "/", "a" + char + ": c"})
		}
	}
	list = append(list, sample{"GET", "exam.test", "/", "expect: 100-continue"}, sample{"GET", "exam.test", "/", "expect: x"},
		sample{"GET", "exam.test", "/", "content-length: 12"}, sample{"GET", "exam.test", "/", "content-length: 1a"},
		sample{"GET", "exam.test", "/", "content-length: 1234567890123456789"}, sample{"GET", "exam.test", "/", "host: exam.test"})
	p := buf.NewPool(0)
	for _, c := range list {
		var in buf.Chain
		line := strings.TrimPrefix(c.field+"\r\n", "\r\n")
		in.AppendString(p, c.method+" "+c.target+" HTTP/1.1\r\nHost: "+c.host+"\r\n"+line+"\r\n")
		old, _ := h1Request(p, &in)
		block := []byte{}
		for _, f := range [][2]string{{":method", c.method}, {":scheme", "http"}, {":path", c.target}, {"host", c.host}} {
			block = appendText(appendText(append(block, 0), f[0]), f[1])
		}
		if name, value, there := strings.Cut(c.field, ": "); there {
			block = appendText(appendText(append(block, 0), name), value)
		}
		var r Reader
		r.Init(nil)
		now := story(&r, Request, block)
		if !strings.Contains(now, "len=") || !strings.Contains(old, "len=") {
			if strings.Contains(now, "len=") != strings.Contains(old, "len=") {
				t.Errorf("%.80q\nHTTP/1: %s\nHTTP/2: %s", c, old, now)
			}
			continue
		}
		if want := strings.Replace(now, "len=-1", "len=0", 1); old != want { // without a body, only the frame says so
			t.Errorf("%.80q\nHTTP/1: %s\nHTTP/2: %s", c, old, want)
		}
	}
}

// A trailer that one version drops, the other drops too.
func TestBothVersionsDropTheSameTrailers(t *testing.T) {
	p := buf.NewPool(0)
	for _, name := range []string{
		"age", "authorization", "cache-control", "content-encoding", "content-length", "content-range", "content-type",
		"cookie", "date", "expect", "expires", "forwarded", "host", "if-match", "if-modified-since", "if-none-match",
		"if-range", "if-unmodified-since", "location", "max-forwards", "pragma", "proxy-authenticate",
		"proxy-authorization", "range", "retry-after", "set-cookie", "te", "trailer", "vary", "via", "warning",
		"www-authenticate", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip",
		"x-request-id",
		"accept", "digest", "etag", "grpc-status", "grpc-message", "last-modified", "origin", "referer", "server",
		"server-timing", "user-agent", "x-a",
	} {
		var (
			in buf.Chain
			c  h1.Server
			h  message.Head
		)
		in.AppendString(p, "POST / HTTP/1.1\r\nHost: exam.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+name+": 1\r\n\r\n")
		c.Init(h1Limits)
		for in.Len() > 0 {
			if _, err := c.Next(&in, p, &h); err != nil {
				t.Fatal(name, err)
			}
		}
		var r Reader
		r.Init(nil)
		if old, now := fieldStory(&h.Fields), story(&r, Trailers, encode(name+": 1")); old != now {
			t.Errorf("HTTP/1: %q, HTTP/2: %q", old, now)
		}
	}
}

// checkRequestPassesOn writes a request that a Reader let in, in both versions, and wants to read the same one from each: one,
// and nothing behind it.
func checkRequestPassesOn(t *testing.T, block []byte, h *message.Head) {
	t.Helper()
	want := headStory(Request, h)
	var (
		w Writer
		r Reader
	)
	r.Init(loose)
	again := story(&r, Request, w.AppendRequest(nil, h))
	if expected := rewritten(want, h); again != expected {
		t.Errorf("%s\n    it was: %s\nin HTTP/2: %s", printable(block), expected, again)
	}
	if h.Upgrade.Len > 0 {
		return // HTTP/1 asks with a key, which whoever translates has to make
	}
	var (
		c   h1.Client
		out buf.Chain
		p   = buf.NewPool(0)
	)
	c.Init(h1Limits)
	end := h.Length <= 0
	if end {
		h.Length = 0
	}
	if _, err := c.AppendHead(&out, p, h, end); err != nil {
		t.Fatal(err)
	}
	var te string // belongs to one hop in HTTP/1
	if v, there := h.Get(message.TE); there {
		te = fmt.Sprintf(" [te: %s]", v)
	}
	want = headStory(Request, h)
	for te != "" && strings.Contains(want, te) {
		want = strings.Replace(want, te, "", 1)
	}
	got, read := h1Request(p, &out)
	if got != want && !strings.Contains(want, "[te: ") {
		t.Errorf("%s\n    it was: %s\nin HTTP/1: %s", printable(block), want, got)
	}
	if out.Len() > 0 || read.Length != h.Length {
		t.Errorf("%s: %d bytes behind a request of length %d, which was %d", printable(block), out.Len(), read.Length, h.Length)
	}
}

// rewritten is what becomes of a request's story when it is written: a length that goes without saying is not said, and
// gRPC gets its te.
func rewritten(want string, h *message.Head) string {
	if h.Length == 0 && !impliesContent(h) && h.Upgrade.Len == 0 {
		want = strings.Replace(want, " len=0", " len=-1", 1)
	}
	if h.Upgrade.Len > 0 {
		want = strings.Replace(want, " to="+string(h.Bytes(h.Upgrade)), " to=websocket", 1)
	}
	grpc, te := false, 0
	for _, f := range h.All() {
		if !f.Gone {
			switch f.ID {
			case message.ContentType:
				grpc = grpc || isGRPC(h.Bytes(f.Value))
			case message.TE:
				te++
			}
		}
	}
	if grpc && te == 0 {
		want += " [te: trailers]"
	}
	return want
}

// loose are limits that a head keeps to when it has been written again, with a little more than it had.
var loose = &Limits{ListBytesMax: 64 << 10, FieldsMax: 300, TargetBytesMax: 16 << 10}

func TestHeadsPassOn(t *testing.T) {
	for _, c := range samples {
		var (
			r Reader
			h message.Head
		)
		r.Init(nil)
		r.Begin(c.kind, &h)
		if r.Write(encode(c.block)) != nil {
			t.Fatal(c.block)
		}
		if stream, _ := r.End(); stream == nil {
			checkPassesOn(t, c.kind, encode(c.block), &h)
		}
	}
}

func checkPassesOn(t *testing.T, k Kind, block []byte, h *message.Head) {
	t.Helper()
	if k == Request {
		checkRequestPassesOn(t, block, h)
		return
	}
	var (
		w    Writer
		r    Reader
		out  []byte
		want = headStory(k, h)
	)
	if k == Response {
		out = w.AppendResponse(nil, h)
		if h.Status == 304 && h.Length == 0 {
			want = strings.Replace(want, " len=0", " len=-1", 1)
		}
	} else {
		out = w.AppendTrailers(nil, &h.Fields)
	}
	r.Init(loose)
	if got := story(&r, k, out); got != want {
		t.Errorf("%s\n  it was: %s\n it came: %s", printable(block), want, got)
	}
}

// What HTTP/1 has read, HTTP/2 says: from a client in one version to an upstream in the other.
func TestHeadsOfHTTP1PassOn(t *testing.T) {
	p := buf.NewPool(0)
	for _, c := range []struct{ raw, want string }{
		{"GET /a?b HTTP/1.1\r\nHost: exam.test\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nX-Stays:  2 \r\n\r\n",
			"GET exam.test /a?b len=-1 [x-stays: 2]"},
		{"GET http://Exam.test HTTP/1.1\r\nHost: exam.test\r\n\r\n", "GET Exam.test / len=-1"},
		{"POST / HTTP/1.1\r\nHost: exam.test\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
			"POST exam.test / len=-1 [trailer: X]"},
		{"POST / HTTP/1.1\r\nHost: exam.test\r\nContent-Length: 5\r\nCookie: a=b\r\n\r\n", "POST exam.test / len=5 [cookie: a=b]"},
		{"POST / HTTP/1.1\r\nHost: exam.test\r\n\r\n", "POST exam.test / len=0"},
		{"GET /ws HTTP/1.1\r\nHost: exam.test\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
			"GET exam.test /ws len=0 to=websocket [sec-websocket-version: 13]"},
	} {
		var (
			in buf.Chain
			w  Writer
			r  Reader
		)
		in.AppendString(p, c.raw)
		_, h := h1Request(p, &in)
		r.Init(nil)
		if got := story(&r, Request, w.AppendRequest(nil, h)); got != c.want {
			t.Errorf("%q\n got: %s\nwant: %s", c.raw, got, c.want)
		}
	}
}

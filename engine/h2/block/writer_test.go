package block

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// length sets a head's length.
func length(h *message.Head, n int64) *message.Head {
	h.Length = n
	return h
}

// upgrade makes a head one that asks for a tunnel, or grants it.
func upgrade(h *message.Head) *message.Head {
	h.Upgrade = h.StoreString("WebSocket")
	return h
}

func TestRequestsWritten(t *testing.T) {
	const (
		get  = ":method: GET; :scheme: http; :authority: exam.test; :path: /a"
		post = ":method: POST; :scheme: http; :authority: exam.test; :path: /a"
	)
	plain := func(method string, fields ...string) *message.Head {
		return request(method, "exam.test", "/a", "", fields...)
	}
	gone := plain("GET", "X-A", "1", "X-B", "2")
	gone.All()[0].Gone = true
	for _, c := range []struct {
		scheme string
		h      *message.Head
		want   string
	}{
		// Pseudo-fields, RFC 9113 8.3.1.
		{"", plain("GET"), get},
		{"https", plain("POST"), ":method: POST; :scheme: https; :authority: exam.test; :path: /a; content-length: 0"},
		{"foo", plain("GET"), ":method: GET; :scheme: foo; :authority: exam.test; :path: /a"},
		{"", request("DELETE", "[::1]:80", "/", "?"), ":method: DELETE; :scheme: http; :authority: [::1]:80; :path: /?"},
		{"", request("GET", "exam.test", "/", ""), ":method: GET; :scheme: http; :authority: exam.test; :path: /"},
		{"", request("GET", "exam.test", "", ""), ":method: GET; :scheme: http; :authority: exam.test; :path: /"},
		{"", request("GET", "exam.test", "a", ""), ":method: GET; :scheme: http; :authority: exam.test; :path: a"},
		{"", request("OPTIONS", "exam.test", "*", ""), ":method: OPTIONS; :scheme: http; :authority: exam.test; :path: *"},
		{"", request("GET", "", "/a", "?b=c?d"), ":method: GET; :scheme: http; :path: /a?b=c?d"},

		// Names in lower case, without what is Gone or belongs to a connection, RFC 9113 8.2.
		{"", plain("GET", "X-Any", "A b", "USER-AGENT", "", "Accept", "*/*"), get + "; x-any: A b; user-agent: ; accept: */*"},
		{"", gone, get + "; x-b: 2"},
		{"", plain("GET", "Connection", "x", "Keep-Alive", "x", "Proxy-Connection", "x", "Transfer-Encoding", "chunked",
			"Upgrade", "h2c", "HTTP2-Settings", "x", "Host", "evil.test", "Content-Length", "7", ":path", "/b", "", "x"), get},
		{"", plain("GET", "TE", "gzip"), get},
		{"", plain("GET", "TE", "trailers", "TE", "Trailers"), get + "; te: trailers; te: Trailers"},

		// gRPC asks for te, which HTTP/1 loses.
		{"", plain("GET", "Content-Type", "application/grpc"), get + "; content-type: application/grpc; te: trailers"},
		{"", plain("GET", "Content-Type", "application/GRPC+proto"), get + "; content-type: application/GRPC+proto; te: trailers"},
		{"", plain("GET", "Content-Type", "application/grpc;x=y", "TE", "trailers"), get + "; content-type: application/grpc;x=y; te: trailers"},
		{"", plain("GET", "Content-Type", "application/grpc-web"), get + "; content-type: application/grpc-web"},
		{"", plain("GET", "Content-Type", "application/json"), get + "; content-type: application/json"},

		// The length, RFC 9110 8.6.
		{"", length(plain("POST"), 5), post + "; content-length: 5"},
		{"", length(plain("POST"), 1<<63-1), post + "; content-length: 9223372036854775807"},
		{"", length(plain("POST"), -1), post},
		{"", length(plain("GET"), 5), get + "; content-length: 5"},
		{"", length(plain("PUT"), 0), strings.Replace(post, "POST", "PUT", 1) + "; content-length: 0"},

		// RFC 8441 5.
		{"https", upgrade(plain("GET", "Sec-WebSocket-Key", "k", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Protocol", "chat")),
			":method: CONNECT; :protocol: websocket; :scheme: https; :authority: exam.test; :path: /a; " +
				"sec-websocket-version: 13; sec-websocket-protocol: chat"},
		{"", plain("GET", "Sec-WebSocket-Key", "k"), get + "; sec-websocket-key: k"},
	} {
		w := Writer{Scheme: c.scheme}
		w.Init()
		if got := lines(decoded(t, w.AppendRequest(nil, c.h))); got != c.want {
			t.Errorf(" got: %s\nwant: %s", got, c.want)
		}
	}
}

func TestResponsesWritten(t *testing.T) {
	for _, c := range []struct {
		h    *message.Head
		want string
	}{
		{response(200, -1, "Server", "x", "X-A", "b"), ":status: 200; server: x; x-a: b"},
		{response(200, 0), ":status: 200; content-length: 0"},
		{response(206, 7), ":status: 206; content-length: 7"},
		{response(400, 7), ":status: 400; content-length: 7"},
		{response(404, 7), ":status: 404; content-length: 7"},
		{response(500, 7), ":status: 500; content-length: 7"},
		{response(418, 7, "Content-Length", "8", "Connection", "close", "TE", "trailers"), ":status: 418; content-length: 7"},
		{response(204, 7), ":status: 204"},
		{response(304, 0), ":status: 304"},
		{response(304, 7), ":status: 304; content-length: 7"},
		{response(103, 0, "Link", "</a>"), ":status: 103; link: </a>"},
		{upgrade(response(101, -1, "Sec-WebSocket-Accept", "a", "Sec-WebSocket-Protocol", "chat")),
			":status: 200; sec-websocket-protocol: chat"},
		{response(200, -1, "Sec-WebSocket-Accept", "a"), ":status: 200; sec-websocket-accept: a"},
	} {
		var w Writer
		if got := lines(decoded(t, w.AppendResponse(nil, c.h))); got != c.want {
			t.Errorf(" got: %s\nwant: %s", got, c.want)
		}
	}
}

func TestTrailersWritten(t *testing.T) {
	var f message.Fields
	for _, name := range []string{
		"Grpc-Status", "Date", "X-Forwarded-FOR", "Via", "Connection", "Server", "If-Unmodified-Since", ":status",
		"Proxy-Authorization", "x-a-name-longer-than-any-forbidden-one", "ETag",
	} {
		f.AddString(name, "0")
	}
	f.All()[0].Gone = true
	const want = "server: 0; x-a-name-longer-than-any-forbidden-one: 0; etag: 0"
	var w Writer
	if got := lines(decoded(t, w.AppendTrailers(nil, &f))); got != want {
		t.Errorf(" got: %s\nwant: %s", got, want)
	}
}

// Every known name is written as itself, in lower case, and none is left out but those that are never written.
func TestKnownNames(t *testing.T) {
	var w Writer
	for id := message.OtherField + 1; int(id) < 64; id++ {
		name, there := knownName(id)
		if !there {
			break
		}
		want := "; " + strings.ToLower(name) + ": trailers"
		if neverWritten>>id&1 != 0 {
			want = ""
		}
		h := request("GET", "exam.test", "/", "", name, "trailers")
		if got := lines(decoded(t, w.AppendRequest(nil, h))); got != ":method: GET; :scheme: http; :authority: exam.test; :path: /"+want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// knownName returns the name of an ID, if there is one.
func knownName(id message.ID) (name string, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // the first that is none
		}
	}()
	return id.String(), true
}

// Secrets are never indexed, also by those who take them from us (RFC 7541 7.1.3), and nothing else forbids it.
func TestSecretsAreNeverIndexed(t *testing.T) {
	var w Writer
	fields := []string{"Authorization", "x", "Proxy-Authorization", "x", "Cookie", "x", "X-Api-Key", "x", "Accept", "x", "Via", "x"}
	for _, f := range decoded(t, w.AppendRequest(nil, request("GET", "exam.test", "/a", "", fields...))) {
		if secret := !f.IsPseudo() && f.Name != "accept" && f.Name != "via"; f.Sensitive != secret {
			t.Errorf("request: %v", f)
		}
	}
	for _, f := range decoded(t, w.AppendResponse(nil, response(200, 1, "Set-Cookie", "x", "Server", "x", "X-Cache", "x"))) {
		if f.Sensitive != (f.Name == "set-cookie") {
			t.Errorf("response: %v", f)
		}
	}
}

// A peer that makes the table smaller is told so in the next block, once (RFC 7541 4.2); nothing we write needs a table.
func TestTableUpdateRFC7541_4_2(t *testing.T) {
	h := response(200, -1)
	for _, c := range []struct {
		sizes []uint32
		want  string
	}{
		{nil, "\x88"}, {[]uint32{4096}, "\x88"}, {[]uint32{1 << 20}, "\x88"},
		{[]uint32{4095}, "\x20\x88"}, {[]uint32{0}, "\x20\x88"},
		{[]uint32{0, 4096}, "\x20\x88"}, {[]uint32{100, 50}, "\x20\x88"},
	} {
		var w Writer
		w.Init()
		for _, n := range c.sizes {
			w.SetTableMax(n)
		}
		if got := string(w.AppendResponse(nil, h)); got != c.want {
			t.Errorf("%v: %x", c.sizes, got)
		}
		w.SetTableMax(10)
		w.AppendResponse(nil, h)
		w.SetTableMax(5)
		if got := string(w.AppendResponse(nil, h)); got != "\x88" {
			t.Errorf("%v, later: %x", c.sizes, got)
		}
	}
	for _, write := range []func(w *Writer) []byte{
		func(w *Writer) []byte { return w.AppendRequest(nil, request("GET", "exam.test", "/", "")) },
		func(w *Writer) []byte { return w.AppendTrailers(nil, &h.Fields) },
	} {
		var w Writer
		w.SetTableMax(0)
		if b := write(&w); len(b) == 0 || b[0] != 0x20 {
			t.Errorf("%x", b)
		}
	}
}

// Integers and strings at the edges of their representations are what the library writes and reads, RFC 7541 5.1, 5.2.
func TestLongStrings(t *testing.T) {
	for _, n := range []int{0, 1, 0x7e, 0x7f, 0x80, 0xfe, 0xff, 0x100, 0x7f + 0x7f, 0x7f + 0x80, 0x7f + 1<<14, 40000} {
		var w Writer
		value := strings.Repeat("v", n)
		path := "/" + value
		h := request("GET", "exam.test", path, "?"+value, "a"+value, value)
		want := ":method: GET; :scheme: http; :authority: exam.test; :path: " + path + "?" + value + "; a" + value + ": " + value
		if got := lines(decoded(t, w.AppendRequest(nil, h))); got != want {
			t.Errorf("strings of %d bytes are written as others", n)
		}
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	var (
		w         Writer
		req, resp = browserHead(), smallHead()
		room      = make([]byte, 0, 1024)
	)
	if n := testing.AllocsPerRun(100, func() {
		w.AppendRequest(room, req)
		w.AppendResponse(room, resp)
		w.AppendTrailers(room, &resp.Fields)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

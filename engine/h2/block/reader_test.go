package block

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/message"
)

const (
	get  = ":method: GET; :scheme: https; :authority: exam.test; :path: /a"
	post = ":method: POST; :scheme: https; :authority: exam.test; :path: /a"
	ws   = ":method: CONNECT; :protocol: websocket; :scheme: https; :authority: exam.test; :path: /ws"
	v13  = "; sec-websocket-version: 13"
	ok   = "GET exam.test /a len=-1"
)

// samples are blocks of each kind and what becomes of them. Everything a Reader refuses on account of one message is here.
var samples = []struct {
	kind        Kind
	block, want string
}{
	// RFC 9113 8.3: before all other fields, none twice, none unknown, none of the other kind of message.
	{Request, get, ok},
	{Request, ":path: /a; :authority: exam.test; :scheme: https; :method: GET", ok},
	{Request, "x: y; " + get, "400 late_pseudo"},
	{Request, ":method: GET; :scheme: https; x: y; :path: /a; :authority: exam.test", "400 late_pseudo"},
	{Request, get + "; :path: /b", "400 several_pseudo"},
	{Request, get + "; :method: GET", "400 several_pseudo"},
	{Request, get + "; :authority: exam.test", "400 several_pseudo"},
	{Request, get + "; :scheme: https", "400 several_pseudo"},
	{Request, ws + "; :protocol: websocket", "400 several_pseudo"},
	{Request, get + "; :status: 200", "400 unknown_pseudo"},
	{Request, get + "; :Path: /b", "400 unknown_pseudo"},
	{Request, get + "; :: /b", "400 unknown_pseudo"},
	{Request, get + "; :x: y", "400 unknown_pseudo"},
	{Response, ":status: 200; :path: /", "400 unknown_pseudo"},
	{Response, ":status: 200; :x: y", "400 unknown_pseudo"},
	{Trailers, "x: y; :status: 200", "400 trailing_pseudo"},
	{Trailers, ":path: /", "400 trailing_pseudo"},

	// RFC 9113 8.3.1.
	{Request, "", "400 missing_pseudo"},
	{Request, ":scheme: https; :authority: exam.test; :path: /", "400 missing_pseudo"},
	{Request, ":method: GET; :authority: exam.test; :path: /", "400 missing_pseudo"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test", "400 missing_pseudo"},
	{Request, ":method: ; :scheme: https; :authority: exam.test; :path: /a", "400 bad_method"},
	{Request, `:method: GET\s/b; :scheme: https; :authority: exam.test; :path: /a`, "400 bad_method"},
	{Request, ":method: G\r\nX; :scheme: https; :authority: exam.test; :path: /a", "400 bad_method"},
	{Request, ":method: " + strings.Repeat("M", 33) + "; :scheme: https; :authority: exam.test; :path: /a", "501 long_method"},
	{Request, ":method: a-B_9; :scheme: HTTP; :authority: exam.test; :path: /a", "a-B_9 exam.test /a len=-1"},
	{Request, ":method: GET; :scheme: ftp; :authority: exam.test; :path: /a", "400 bad_scheme"},
	{Request, ":method: GET; :scheme: ; :authority: exam.test; :path: /a", "400 bad_scheme"},
	{Request, ":method: GET; :scheme: https://x; :authority: exam.test; :path: /a", "400 bad_scheme"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: ", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: a", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: ?a", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: http://exam.test/", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: *", "400 bad_target"},
	{Request, ":method: OPTIONS; :scheme: https; :authority: exam.test; :path: *a", "400 bad_target"},
	{Request, ":method: OPTIONS; :scheme: https; :authority: exam.test; :path: *?a", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /a#b", "400 bad_target"},
	{Request, `:method: GET; :scheme: https; :authority: exam.test; :path: /a\sHTTP/1.1`, "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /a\r\nX: y", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /\x00", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /\x7f", "400 bad_target"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /\xc3\xa9", "400 bad_target"},
	{Request, ":method: OPTIONS; :scheme: https; :authority: exam.test; :path: *", "OPTIONS exam.test * len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /", "GET exam.test / len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /?", "GET exam.test /? len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: //a/../%zz|{?b=c?d",
		"GET exam.test //a/../%zz|{?b=c?d len=-1"},

	// RFC 9113 8.3.1, RFC 9110 7.2: authority and host.
	{Request, ":method: GET; :scheme: https; :path: /a", "400 missing_host"},
	{Request, ":method: GET; :scheme: https; :path: /a; host: exam.test:80", "GET exam.test:80 /a len=-1"},
	{Request, ":method: GET; :scheme: https; :path: /a; host: exam.test:", "GET exam.test /a len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test:; :path: /a", "GET exam.test /a len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: ; :path: /a", "400 bad_host"},
	{Request, ":method: GET; :scheme: https; :authority: ; :path: /a; host: exam.test", "400 bad_host"},
	{Request, ":method: GET; :scheme: https; :authority: me@exam.test; :path: /a", "400 bad_host"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test/b; :path: /a", "400 bad_host"},
	{Request, ":method: GET; :scheme: https; :path: /a; host: exam.test,evil.test", "400 bad_host"},
	{Request, ":method: GET; :scheme: https; :path: /a; host: ", "400 bad_host"},
	{Request, get + "; host: exam.test", ok},
	{Request, get + "; host: EXAM.test:443", ok},
	{Request, get + "; host: exam.test:80", "400 other_host"},
	{Request, get + "; host: exam.test:8443", "400 other_host"},
	{Request, get + "; host: evil.test", "400 other_host"},
	{Request, ":method: GET; :scheme: http; :authority: [::1]:80; :path: /a; host: [::1]", "GET [::1]:80 /a len=-1"},
	{Request, ":method: GET; :scheme: http; :authority: [::1]; :path: /a; host: [::1]:443", "400 other_host"},
	{Request, get + "; host: exam.test; host: exam.test", "400 several_hosts"},

	// RFC 9113 8.5, RFC 8441 4: CONNECT.
	{Request, ":method: CONNECT; :authority: exam.test:443", "501 connect"},
	{Request, ":method: CONNECT; :scheme: https; :authority: exam.test; :path: /", "501 connect"},
	{Request, ws + v13, "GET exam.test /ws len=0 to=websocket [sec-websocket-version: 13]"},
	{Request, ws + v13 + "; content-length: 0", "GET exam.test /ws len=0 to=websocket [sec-websocket-version: 13]"},
	{Request, ws + v13 + "; content-length: 1", "400 bad_handshake"},
	{Request, ws, "400 bad_handshake"},
	{Request, ws + "; sec-websocket-version: 8", "400 bad_handshake"},
	{Request, ws + v13 + v13, "400 bad_handshake"},
	{Request, ":method: CONNECT; :protocol: websocket; :authority: exam.test; :path: /ws", "400 missing_pseudo"},
	{Request, ":method: CONNECT; :protocol: websocket; :scheme: https; :authority: exam.test", "400 missing_pseudo"},
	{Request, ":method: CONNECT; :protocol: websocket; :scheme: https; :path: /ws", "400 missing_host"},
	{Request, ":method: CONNECT; :protocol: websocket; :scheme: https; :authority: exam.test; :path: *", "400 bad_target"},
	{Request, ":method: CONNECT; :protocol: connect-udp; :scheme: https; :authority: exam.test; :path: /", "501 unknown_protocol"},
	{Request, ":method: CONNECT; :protocol: ; :scheme: https; :authority: exam.test; :path: /", "501 unknown_protocol"},
	{Request, get + "; :protocol: websocket", "400 bad_protocol"},

	// RFC 9113 8.2.1: names and values.
	{Request, get + "; x-a: b; x-a: c", ok + " [x-a: b] [x-a: c]"},
	{Request, get + "; x: ", ok + " [x: ]"},
	{Request, get + `; x: a\s` + "\tb\x80\xff", ok + " [x: a \tb\x80\xff]"},
	{Request, get + "; X-a: b", "400 upper_case"},
	{Request, get + "; x-A: b", "400 upper_case"},
	{Request, get + "; Connection: b", "400 upper_case"},
	{Request, get + "; x a: b", "400 bad_field_name"},
	{Request, get + "; X a: b", "400 bad_field_name"},
	{Request, get + "; x\r\ny: b", "400 bad_field_name"},
	{Request, get + "; x\x00: b", "400 bad_field_name"},
	{Request, get + "; x\xe9: b", "400 bad_field_name"},
	{Request, get + "; x:y: b", "400 bad_field_name"},
	{Request, get + "; x: a\r\ny: b", "400 bad_field_value"},
	{Request, get + "; x: a\nb", "400 bad_field_value"},
	{Request, get + "; x: a\rb", "400 bad_field_value"},
	{Request, get + "; x: a\x00b", "400 bad_field_value"},
	{Request, get + "; x: a\x7fb", "400 bad_field_value"},
	{Request, get + "; x: 0123456789a\x1fb456789", "400 bad_field_value"},
	{Request, get + `; x: \sa`, "400 padded_value"},
	{Request, get + `; x: a\s`, "400 padded_value"},
	{Request, get + "; x: \ta", "400 padded_value"},
	{Request, get + `; x: \s`, "400 padded_value"},
	{Response, ":status: 200; x: a\x00b", "400 bad_field_value"},
	{Response, ":status: 200; X: y", "400 upper_case"},
	{Trailers, "x: a\r\nb", "400 bad_field_value"},
	{Trailers, "X: y", "400 upper_case"},

	// RFC 9113 8.2.2: fields of HTTP/1's connections.
	{Request, get + "; connection: close", "400 connection_field"},
	{Request, get + "; keep-alive: timeout=5", "400 connection_field"},
	{Request, get + "; proxy-connection: keep-alive", "400 connection_field"},
	{Request, get + "; transfer-encoding: chunked", "400 connection_field"},
	{Request, get + "; upgrade: websocket", "400 connection_field"},
	{Request, get + "; http2-settings: AAMAAABk", "400 connection_field"},
	{Response, ":status: 200; connection: close", "400 connection_field"},
	{Response, ":status: 200; transfer-encoding: chunked", "400 connection_field"},
	{Trailers, "transfer-encoding: chunked", "400 connection_field"},
	{Request, get + "; te: trailers", ok + " [te: trailers]"},
	{Request, get + "; te: Trailers", ok + " [te: Trailers]"},
	{Response, ":status: 200; te: trailers", "200 len=-1"},
	{Request, get + "; te: gzip", "400 bad_te"},
	{Request, get + "; te: trailers, gzip", "400 bad_te"},
	{Request, get + "; te: ", "400 bad_te"},

	// RFC 9113 8.2.3: crumbs of a Cookie.
	{Request, get + "; cookie: a=b", ok + " [cookie: a=b]"},
	{Request, get + "; cookie: a=b; x: y; cookie: c=d; cookie: ; cookie: e=f", ok + " [x: y] [cookie: a=b; c=d; e=f]"},
	{Request, get + "; cookie: ; cookie: ", ok + " [cookie: ]"},
	{Response, ":status: 200; cookie: a; cookie: b", "200 len=-1 [cookie: a] [cookie: b]"},

	// RFC 9110 8.6, 10.1.1.
	{Request, post + "; content-length: 0", "POST exam.test /a len=0"},
	{Request, post + "; content-length: 999999999999999999", "POST exam.test /a len=999999999999999999"},
	{Request, post + "; content-length: 5; content-length: 5", "POST exam.test /a len=5"},
	{Request, post + "; content-length: 5; content-length: 6", "400 several_lengths"},
	{Request, post + "; content-length: 0; content-length: 6", "400 several_lengths"},
	{Request, post + "; content-length: 5, 5", "400 bad_length"},
	{Request, post + "; content-length: +5", "400 bad_length"},
	{Request, post + "; content-length: -5", "400 bad_length"},
	{Request, post + "; content-length: 0x5", "400 bad_length"},
	{Request, post + "; content-length: ", "400 bad_length"},
	{Request, post + "; content-length: 18446744073709551621", "400 bad_length"},
	{Request, post + "; content-length: 0000000000000000005", "400 bad_length"},
	{Request, post + "; expect: 100-Continue", "POST exam.test /a len=-1 [expect: 100-Continue]"},
	{Request, post + "; expect: 200-ok", "417 bad_expectation"},

	// RFC 9113 8.3.2, 8.6: responses.
	{Response, ":status: 200", "200 len=-1"},
	{Response, ":status: 599; content-length: 3; server: x", "599 len=3 [server: x]"},
	{Response, ":status: 103; link: </a>", "103 len=0 [link: </a>]"},
	{Response, ":status: 304; content-length: 3", "304 len=3"},
	{Response, ":status: 204", "204 len=0"},
	{Response, ":status: 204; content-length: 0", "204 len=0"},
	{Response, ":status: 204; content-length: 1", "502 forbidden_length"},
	{Response, ":status: 100; content-length: 1", "502 forbidden_length"},
	{Response, ":status: 200; host: exam.test; expect: something", "200 len=-1 [expect: something]"},
	{Response, "", "400 missing_pseudo"},
	{Response, "x: y", "400 missing_pseudo"},
	{Response, ":status: 200; :status: 200", "400 several_pseudo"},
	{Response, "x: y; :status: 200", "400 late_pseudo"},
	{Response, ":status: 101", "502 bad_switch"},
	{Response, ":status: 099", "502 bad_status"},
	{Response, ":status: 600", "502 bad_status"},
	{Response, ":status: 20", "502 bad_status"},
	{Response, ":status: 0200", "502 bad_status"},
	{Response, ":status: 2x0", "502 bad_status"},
	{Response, `:status: 200\sOK`, "502 bad_status"},
	{Response, ":status: ", "502 bad_status"},

	// RFC 9113 8.1, RFC 9110 6.5.1: trailers.
	{Trailers, "", ""},
	{Trailers, "grpc-status: 0; grpc-message: fine", " [grpc-status: 0] [grpc-message: fine]"},
	{Trailers, "date: x; x: y; content-length: 7; host: evil.test; te: gzip; authorization: z; cookie: a; cookie: b", " [x: y]"},
}

func TestBlocksRFC9113_8(t *testing.T) {
	for _, c := range samples {
		inAllCuts(t, nil, c.kind, encode(c.block), c.want)
	}
}

// few are limits that a sample can reach.
var few = &Limits{ListBytesMax: 400, FieldsMax: 3, CrumbsMax: 4, TargetBytesMax: 9}

// fat is a field that fills the list by n bytes.
func fat(n int) string { return "; x: " + strings.Repeat("v", n-1-fieldOverhead) }

var limitSamples = []struct {
	kind        Kind
	block, want string
}{
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /23456789", "GET exam.test /23456789 len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /234?6789", "GET exam.test /234?6789 len=-1"},
	{Request, ":method: GET; :scheme: https; :authority: exam.test; :path: /234567890", "414 long_target"},
	{Request, get + "; a: 1; b: 2; c: 3", ok + " [a: 1] [b: 2] [c: 3]"},
	{Request, get + "; a: 1; b: 2; c: 3; d: 4", "431 many_fields"},
	{Request, get + "; a: 1; b: 2; c: 3; host: exam.test", "431 many_fields"},
	{Trailers, "a: 1; b: 2; c: 3; d: 4", "431 many_fields"},
	{Request, get + strings.Repeat("; cookie: c", 4), ok + " [cookie: c; c; c; c]"},
	{Request, get + strings.Repeat("; cookie: c", 5), "431 cookie_crumbs"},
	{Trailers, "a: b" + fat(400-34), " [a: b] [x: " + strings.Repeat("v", 333) + "]"},
	{Trailers, "a: b" + fat(401-34), "431 large_trailers"},
	{Response, ":status: 200" + fat(400-42), "200 len=-1 [x: " + strings.Repeat("v", 325) + "]"},
	{Response, ":status: 200" + fat(401-42), "431 large_head"},
	{Response, ":status: 200" + fat(800-42), "431 large_head"},
	{Response, ":status: 200" + fat(801-42), "connection: hpack_bomb"},
	{Response, ":status: 101; X: y" + fat(801-42-34), "connection: hpack_bomb"}, // though it is refused already
}

func TestLimits(t *testing.T) {
	for _, c := range limitSamples {
		inAllCuts(t, few, c.kind, encode(c.block), c.want)
	}
}

func TestDefaultsAreThoseOfHTTP1(t *testing.T) {
	var r Reader
	r.Init(nil)
	want := h1.NewLimits(h1.Limits{})
	if l := r.limits; l.ListBytesMax != want.HeadBytesMax || l.FieldsMax != want.FieldsMax || l.TargetBytesMax != want.TargetBytesMax {
		t.Errorf("%+v, in HTTP/1 %+v", l, want)
	}
}

// bad are blocks behind which nothing can be read, RFC 7541.
var bad = []struct{ name, block, want string }{
	{"index 0, 6.1", "\x80", "connection: bad_compression"},
	{"an index beyond the table, 2.3.3", "\xbe", "connection: bad_compression"},
	{"a name's index beyond the table", "\x7f\x00\x01a", "connection: bad_compression"},
	{"an endless integer, 5.1", "\xff" + strings.Repeat("\x80", 12) + "\x00", "connection: bad_compression"},
	{"padding of zeros, 5.2", "\x00\x01a\x81\x00", "connection: bad_compression"},
	{"padding of a byte, 5.2", "\x00\x01a\x81\xff", "connection: bad_compression"},
	{"the end of string symbol, 5.2", "\x00\x01a\x84\xff\xff\xff\xff", "connection: bad_compression"},
	{"a table larger than announced, 6.3", "\x3f\xe2\x1f", "connection: bad_compression"},
	{"a table's update behind fields, 4.2", "\x40\x01a\x01b\x20", "connection: bad_compression"},
	{"a block that is cut", "\x00\x05ab", "connection: bad_compression"},
	{"a string longer than any block", "\x00\x01a\x7f\xff\xff\xff\x07", "connection: hpack_bomb"},
}

func TestBrokenCompressionRFC7541(t *testing.T) {
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) { inAllCuts(t, nil, Trailers, []byte(c.block), c.want) })
	}
}

// A table of 4 kB and a block of indexes into it make 4 kB of every byte.
func TestBombOfIndexedFields(t *testing.T) {
	var r Reader
	r.Init(nil)
	value := strings.Repeat("v", 4000)
	if got := story(&r, Trailers, appendText(appendText([]byte{0x40}, "x"), value)); got != " [x: "+value+"]" {
		t.Fatal(got)
	}
	// Up to two lists it costs the sender the message, and us no memory beyond one list.
	h := new(message.Head)
	r.Begin(Trailers, h)
	if err := r.Write(bytes.Repeat([]byte{0xbe}, 16)); err != nil {
		t.Fatal(err)
	}
	if h.RawLen() > r.limits.ListBytesMax {
		t.Errorf("%d bytes are kept of a list of at most %d", h.RawLen(), r.limits.ListBytesMax)
	}
	if stream, connection := r.End(); stream != largeTrailers || connection != nil {
		t.Error(stream, connection)
	}
	if got := story(&r, Trailers, bytes.Repeat([]byte{0xbe}, 17)); got != "connection: hpack_bomb" {
		t.Error(got)
	}
	// And that was final.
	if got := story(&r, Trailers, encode("a: b")); got != "connection: hpack_bomb" {
		t.Error(got)
	}
}

// Updates of the table's size are no fields, so that no list grows; they are bounded as bytes.
func TestBombOfTableUpdates(t *testing.T) {
	for k := range Trailers + 1 {
		var r Reader
		r.Init(few)
		block := bytes.Repeat([]byte{0x20}, r.blockMax()+1)
		if got := story(&r, k, block[:100], block[100:]); got != "connection: hpack_bomb" {
			t.Error(k, got)
		}
	}
}

// A block that is refused is still read to its end, so that the next one finds the table as the peer has it.
func TestRefusedBlockKeepsTheTableInStep(t *testing.T) {
	for _, refused := range []string{"X: y", "x: \x00", ":nothing: a", "connection: close", strings.TrimPrefix(fat(500), "; ")} {
		var r Reader
		r.Init(few)
		block := encode(refused)
		block = appendText(appendText(append(block, 0x40), "later"), "found")
		for i := range block {
			r.Init(few)
			if got := story(&r, Trailers, block[:i], block[i:]); got[:1] != "4" {
				t.Errorf("%q: %s", refused, got)
			}
			if got := story(&r, Trailers, []byte{0xbe}); got != " [later: found]" {
				t.Errorf("behind %q cut at %d: %s", refused, i, got)
			}
		}
	}
}

// Memory in which a field has waited for the rest of its block is given back, and the table outlives that.
func TestLargeBlockInPiecesIsNotKept(t *testing.T) {
	var r Reader
	r.Init(nil)
	if got := story(&r, Trailers, []byte("\x40\x01a\x011\x40\x01b\x012\x40\x01c\x013")); got != " [a: 1] [b: 2] [c: 3]" {
		t.Fatal(got)
	}
	small, large := encode("x: y"), encode("x: "+strings.Repeat("v", savedKept))
	before := r.decoder
	story(&r, Trailers, large)
	story(&r, Trailers, small[:2], small[2:])
	if r.decoder != before {
		t.Error("there was nothing to give back")
	}
	story(&r, Trailers, large[:2000], large[2000:])
	if r.decoder == before {
		t.Error("nothing was given back")
	}
	if got := story(&r, Trailers, []byte{0xbe, 0xbf, 0xc0}); got != " [c: 3] [b: 2] [a: 1]" {
		t.Error(got)
	}
	if got := story(&r, Trailers, []byte{0xc1}); got != "connection: bad_compression" {
		t.Error(got)
	}
}

// A smaller table than the protocol begins with counts once the peer has heard of it, and a larger one is possible.
func TestTableBytesMaxRFC7541_4_2(t *testing.T) {
	var r Reader
	r.Init(&Limits{TableBytesMax: 40})
	fill := []byte("\x40\x01a\x011\x40\x01b\x012")
	story(&r, Trailers, fill)
	if got := story(&r, Trailers, []byte{0xbe, 0xbf}); got != " [b: 2] [a: 1]" {
		t.Error(got)
	}
	r.Acknowledged()
	r.Acknowledged()
	if got := story(&r, Trailers, []byte{0x3f, 9, 0xbe}); got != " [b: 2]" { // 31+9, then the newest
		t.Error(got)
	}
	if got := story(&r, Trailers, []byte{0x3f, 10}); got != "connection: bad_compression" {
		t.Error("41 bytes:", got)
	}
	r.Init(&Limits{TableBytesMax: 40})
	story(&r, Trailers, fill)
	r.Acknowledged()
	if got := story(&r, Trailers, []byte{0xbf}); got != "connection: bad_compression" {
		t.Error("an entry that has gone:", got)
	}
	r.Init(&Limits{TableBytesMax: 8192})
	r.Acknowledged()
	if got := story(&r, Trailers, []byte{0x3f, 0xe1, 0x3f}); got != "" { // 8192
		t.Error(got)
	}
}

// Trailers may come into the head whose body they end, and into a head that held other trailers before.
func TestTrailersOfAHead(t *testing.T) {
	var r Reader
	r.Init(nil)
	h := new(message.Head)
	read := func(k Kind, text string) string {
		r.Begin(k, h)
		if err := r.Write(encode(text)); err != nil {
			return err.Reason
		}
		if stream, connection := r.End(); stream != nil || connection != nil {
			return fmt.Sprint(stream, connection)
		}
		return headStory(k, h)
	}
	if got := read(Request, get+"; x: y"); got != ok+" [x: y]" {
		t.Error(got)
	}
	if got := read(Trailers, "a: b; date: c"); got != " [a: b]" || string(h.PathBytes()) != "/a" || h.Proto != message.HTTP2 {
		t.Error(got, h.PathBytes())
	}
	h.Reset()
	for range 100 {
		if got := read(Trailers, "a: b"); got != " [a: b]" || h.RawLen() > 6 {
			t.Fatal(got, h.RawLen())
		}
	}
}

// Every refusal there is has a word of its own, is in the list, and is what some block is answered with.
func TestRefusalsAreAllListedAndReached(t *testing.T) {
	source, err := os.ReadFile("refusals.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := strings.Count(string(source), " = refusal("); made != len(Refusals()) {
		t.Errorf("%d refusals are made, %d are listed", made, len(Refusals()))
	}
	var reached strings.Builder
	for _, c := range samples {
		fmt.Fprintf(&reached, "%s\n", c.want)
	}
	for _, c := range limitSamples {
		fmt.Fprintf(&reached, "%s\n", c.want)
	}
	for _, c := range bad {
		fmt.Fprintf(&reached, "%s\n", c.want)
	}
	seen := map[string]bool{}
	for _, r := range Refusals() {
		if seen[r.Reason] {
			t.Errorf("%s stands for two refusals", r.Reason)
		}
		seen[r.Reason] = true
		if !strings.Contains(reached.String(), " "+r.Reason+"\n") {
			t.Errorf("no sample is refused as %s", r.Reason)
		}
	}
}

// What a peer's own encoder makes of a connection's heads, with its table, is read as what it was.
func TestHeadsOfAnotherEncoder(t *testing.T) {
	var (
		r   Reader
		out bytes.Buffer
		e   = hpack.NewEncoder(&out)
	)
	r.Init(nil)
	for i := range 50 {
		if i%10 == 9 {
			e.SetMaxDynamicTableSize(uint32(4096 >> (i / 10)))
		}
		out.Reset()
		text := fmt.Sprintf("%s; user-agent: curl/8.5.0; x-n: %d; cookie: c=%d", get, i%7, i)
		for field := range strings.SplitSeq(text, "; ") {
			colon := strings.Index(field[1:], ": ") + 1
			if err := e.WriteField(hpack.HeaderField{Name: field[:colon], Value: field[colon+2:]}); err != nil {
				t.Fatal(err)
			}
		}
		cut := i % out.Len()
		want := fmt.Sprintf("%s [user-agent: curl/8.5.0] [x-n: %d] [cookie: c=%d]", ok, i%7, i)
		if got := story(&r, Request, out.Bytes()[:cut], out.Bytes()[cut:]); got != want {
			t.Fatalf("head %d\n got: %s\nwant: %s", i, got, want)
		}
	}
}

// RFC 7541's own examples: C.4 with Huffman codes, three requests on one connection.
func TestExamplesOfRFC7541_C_4(t *testing.T) {
	var r Reader
	r.Init(nil)
	for _, c := range []struct{ block, want string }{
		{"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "GET www.example.com / len=-1"},
		{"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", "GET www.example.com / len=-1 [cache-control: no-cache]"},
		{"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
			"GET www.example.com /index.html len=-1 [custom-key: custom-value]"},
	} {
		if got := story(&r, Request, []byte(c.block)); got != c.want {
			t.Errorf(" got: %s\nwant: %s", got, c.want)
		}
	}
}

func TestReadingRepeatedHeadsAllocatesNothing(t *testing.T) {
	var (
		r   Reader
		h   message.Head
		out bytes.Buffer
		e   = hpack.NewEncoder(&out)
		w   Writer
	)
	r.Init(nil)
	read := func() error {
		r.Begin(Request, &h)
		if err := r.Write(out.Bytes()[:7]); err != nil {
			return err
		}
		if err := r.Write(out.Bytes()[7:]); err != nil {
			return err
		}
		if stream, connection := r.End(); stream != nil || connection != nil {
			return errors.New("refused")
		}
		return nil
	}
	list := decoded(t, w.AppendRequest(nil, browserHead()))
	list = append(list, hpack.HeaderField{Name: "cookie", Value: "a=b"}, hpack.HeaderField{Name: "content-length", Value: "0"})
	for range 2 {
		out.Reset()
		for _, f := range list {
			if err := e.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}); err != nil {
				t.Fatal(err)
			}
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each head", n)
	}
}

package h1

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

func TestServerReads(t *testing.T) {
	const host = "Host: exam.test\r\n"
	for _, c := range []struct{ raw, want string }{
		// RFC 9112 3: request lines and targets.
		{"GET /a HTTP/1.1\r\n" + host + "\r\n", `GET "exam.test" /a 1.1 len=0 []` + "\nend"},
		{"GET /a?b=c?d HTTP/1.1\r\n" + host + "\r\n", `GET "exam.test" /a?b=c?d 1.1 len=0 []` + "\nend"},
		{"GET /a? HTTP/1.1\r\n" + host + "\r\n", `GET "exam.test" /a? 1.1 len=0 []` + "\nend"},
		{"GET http://EXAM.test:80?x HTTP/1.1\r\n" + host + "\r\n", `GET "EXAM.test:80" /?x 1.1 len=0 []` + "\nend"},
		{"GET https://exam.test:443/ HTTP/1.1\r\n" + host + "\r\n", `GET "exam.test:443" / 1.1 len=0 []` + "\nend"},
		{"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", `OPTIONS "exam.test" * 1.1 len=0 []` + "\nend"},
		{"OPTIONS http://exam.test HTTP/1.1\r\n" + host + "\r\n", `OPTIONS "exam.test" * 1.1 len=0 []` + "\nend"},
		{"\r\nGET / HTTP/1.1\r\n" + host + "\r\n", `GET "exam.test" / 1.1 len=0 []` + "\nend"},
		{"GET / HTTP/1.0\r\n\r\n", `GET "" / 1.0 len=0 []` + "\nend\nlast"},
		{"GET http://exam.test/ HTTP/1.0\r\n\r\n", `GET "exam.test" / 1.0 len=0 []` + "\nend\nlast"},
		{"\r\n\r\n", "refused 400 bad_method"},
		{"\nGET / HTTP/1.1\r\n", "refused 400 bare_lf"},
		{"\rGET / HTTP/1.1\r\n", "refused 400 bare_cr"},
		{"\x16\x03\x01\x02\x00\x01\x00", "refused 400 bad_method"},
		{strings.Repeat("A", 33), "refused 501 long_method"},
		{"GET / HTTP/1.1\n", "refused 400 bare_lf"},
		{"GET /\r\n", "refused 400 bad_target"},
		{"GET  / HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET / HTTP/1.1 \r\n", "refused 400 bad_version"},
		{"GET / HTTP/1.1\r\r", "refused 400 bare_cr"},
		{"GET / http/1.1\r\n", "refused 400 bad_version"},
		{"GET / HTTP/1.2\r\n", "refused 505 unknown_version"},
		{"GET / HTTP/2.0\r\n", "refused 505 unknown_version"},
		{"GET * HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET a HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET /a#b HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET /\xe9 HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET ftp://exam.test/ HTTP/1.1\r\n", "refused 400 bad_target"},
		{"GET http://u@exam.test/ HTTP/1.1\r\n", "refused 400 bad_target"},
		{"CONNECT exam.test:443 HTTP/1.1\r\n", "refused 501 connect"},

		// RFC 9112 3.2: the host.
		{"GET / HTTP/1.1\r\n\r\n", "refused 400 missing_host"},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", "refused 400 bad_host"},
		{"GET / HTTP/1.1\r\n" + host + host + "\r\n", "refused 400 several_hosts"},
		{"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "refused 400 other_host"},
		{"GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "refused 400 other_host"},

		// RFC 9112 5: field lines.
		{"GET / HTTP/1.1\r\n" + host + "A:b\r\nC: \t d e\t \r\nF:\r\n\r\n", `GET "exam.test" / 1.1 len=0 [A: b; C: d e; F: ]` + "\nend"},
		{"GET / HTTP/1.1\r\n" + host + "A: \xff\t\x80\r\n\r\n", `GET "exam.test" / 1.1 len=0 [A: ` + "\xff\t\x80]\nend"},
		{"GET / HTTP/1.1\r\nA : b\r\n", "refused 400 space_before_colon"},
		{"GET / HTTP/1.1\r\n A: b\r\n", "refused 400 folded_field"},
		{"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n", "refused 400 folded_field"},
		{"GET / HTTP/1.1\r\n: b\r\n", "refused 400 bad_field_name"},
		{"GET / HTTP/1.1\r\nA\r\n", "refused 400 bad_field_name"},
		{"GET / HTTP/1.1\r\nA\n", "refused 400 bare_lf"},
		{"GET / HTTP/1.1\r\nA: b\x00\r\n", "refused 400 bad_field_value"},
		{"GET / HTTP/1.1\r\nA: b\x7f\r\n", "refused 400 bad_field_value"},
		{"GET / HTTP/1.1\r\nA: b\n", "refused 400 bare_lf"},
		{"GET / HTTP/1.1\r\nA: b\rC", "refused 400 bare_cr"},
		{"GET / HTTP/1.1\r\n\rX", "refused 400 bare_cr"},

		// RFC 9110 7.6.1: what is meant for this hop.
		{"GET / HTTP/1.1\r\nA: 1\r\n" + host + "Connection: a, ,B\r\nb: 2\r\nC: 3\r\nConnection: host\r\n\r\n",
			`GET "exam.test" / 1.1 len=0 [C: 3]` + "\nend"},
		{"POST / HTTP/1.1\r\n" + host + "Connection: content-length\r\nContent-Length: 1\r\n\r\nx",
			`POST "exam.test" / 1.1 len=1 []` + "\nbody \"x\"\nend"},
		{"GET / HTTP/1.1\r\n" + host + "Keep-Alive: 1\r\nProxy-Connection: x\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
			`GET "exam.test" / 1.1 len=0 []` + "\nend"},
		{"GET / HTTP/1.1\r\n" + host + "Connection: \"a\"\r\n\r\n", "refused 400 bad_connection"},
		{"GET / HTTP/1.1\r\n" + host + "Connection: " + strings.Repeat("a,", 33) + "\r\n\r\n", "refused 400 bad_connection"},
		{"GET / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\nGET", `GET "exam.test" / 1.1 len=0 []` + "\nend\nlast"},
		{"GET / HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n", `GET "exam.test" / 1.0 len=0 []` + "\nend"},

		// RFC 9110 10.1.1: expectations.
		{"GET / HTTP/1.1\r\n" + host + "Expect: 100-Continue\r\n\r\n", `GET "exam.test" / 1.1 len=0 [Expect: 100-Continue]` + "\nend"},
		{"GET / HTTP/1.0\r\n" + host + "Expect: 100-continue\r\n\r\n", `GET "exam.test" / 1.0 len=0 []` + "\nend\nlast"},
		{"GET / HTTP/1.1\r\n" + host + "Expect: x\r\n\r\n", "refused 417 bad_expectation"},

		// RFC 9112 6: lengths.
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 05\r\n\r\nhello", `POST "exam.test" / 1.1 len=5 []` + "\nbody \"hello\"\nend"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n", `POST "exam.test" / 1.1 len=0 []` + "\nend"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nhell", `POST "exam.test" / 1.1 len=5 []` + "\nbody \"hell\"\ncut 400 truncated_body"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "refused 400 several_lengths"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n", "refused 400 bad_length"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 1000000000000000000\r\n\r\n", "refused 400 bad_length"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n", "refused 400 bad_length"},
		{"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "refused 400 length_and_chunked"},
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", "refused 501 unknown_coding"},
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\n\r\n", "refused 400 bad_coding"},
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "refused 400 several_codings"},
		{"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", "refused 400 chunked_http10"},

		// RFC 9112 7.1: chunks and trailers.
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: Chunked\r\n\r\n2;a=b;c=\"d;\\\"\"\r\nhe\r\n03\r\nllo\r\n0\r\n\r\n",
			`POST "exam.test" / 1.1 len=-1 []` + "\nbody \"hello\"\nend"},
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nX: y\r\n\r\n0\r\nA: b\r\nHost: x\r\n\r\n",
			`POST "exam.test" / 1.1 len=-1 [X: y]` + "\ntrailers [A: b]\nend"},
		{"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n", `POST "exam.test" / 1.1 len=-1 []` + "\ncut 400 truncated_body"},

		// RFC 9112 9.3.2: pipelining; RFC 9112 8: incomplete messages.
		{"GET /1 HTTP/1.1\r\n" + host + "\r\nPOST /2 HTTP/1.1\r\n" + host + "Content-Length: 1\r\n\r\nx\r\nGET /3 HTTP/1.1\r\n" + host + "\r\n",
			`GET "exam.test" /1 1.1 len=0 []` + "\nend\n" + `POST "exam.test" /2 1.1 len=1 []` + "\nbody \"x\"\nend\n" + `GET "exam.test" /3 1.1 len=0 []` + "\nend"},
		{"\r\n", ""},
		{"\r", "cut 400 truncated_head"},
		{"G", "cut 400 truncated_head"},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r", "cut 400 truncated_head"},
	} {
		inAllCuts(t, c.raw, c.want, func(apart bool, pieces ...string) string {
			return serverStory(t, standard, apart, pieces...)
		})
	}
}

func TestChunkedBodyRefusedRFC9112_7_1(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct{ body, want string }{
		{"\r\n", "400 bad_chunk_size"},
		{" 5\r\n", "400 bad_chunk_size"},
		{"+5\r\n", "400 bad_chunk_size"},
		{"0x5\r\n", "400 bad_chunk_size"},
		{"5 \r\n", "400 bad_chunk_size"},
		{"00000000000000005\r\n", "400 bad_chunk_size"},
		{"10000000001\r\n", "413 large_chunk"},
		{"ffffffffffffffff\r\n", "413 large_chunk"},
		{"5\n", "400 bare_lf"},
		{"5\r\r", "400 bare_cr"},
		{"5;\r\n", "400 bad_chunk_extension"},
		{"5;=b\r\n", "400 bad_chunk_extension"},
		{"5;a=\r\n", "400 bad_chunk_extension"},
		{"5;a=b c\r\n", "400 bad_chunk_extension"},
		{"5;a=\"\x00\"\r\n", "400 bad_chunk_extension"},
		{"5;a=\"\\\n\"\r\n", "400 bad_chunk_extension"},
		{"5;a=\"b\r\n", "400 bad_chunk_extension"},
		{"5;\nxx", "400 bad_chunk_extension"},
		{"5;a\n", "400 bare_lf"},
		{"5;a\rX", "400 bare_cr"},
		{"1\r\nxx", "400 bad_chunk_end"},
		{"1\r\nx\rx", "400 bad_chunk_end"},
		{"1\r\nx\n", "400 bad_chunk_end"},
		{"1;" + strings.Repeat("a", 255), "400 large_extensions"},
		{strings.Repeat("1;"+strings.Repeat("a", 100)+"\r\nx\r\n", 163), "400 large_extensions"},
		{"0\r\nA\r\n", "400 bad_field_name"},
		{"0\r\n A: b\r\n", "400 folded_field"},
		{"0\r\nA: b\n", "400 bare_lf"},
		{"0\r\nA: " + strings.Repeat("a", 8<<10), "431 large_trailers"},
		{"0\r\n" + strings.Repeat("A:\r\n", 101), "431 many_fields"},
	} {
		want := "POST \"x\" / 1.1 len=-1 []\nrefused " + c.want
		tell := func(apart bool, pieces ...string) string {
			return serverStory(t, standard, apart, append([]string{head}, pieces...)...)
		}
		if len(c.body) < 1000 {
			inAllCuts(t, c.body, want, tell)
		} else if got := withoutCutBody(tell(false, c.body)); got != want {
			t.Errorf("%.40q...\n got %s\nwant %s", c.body, got, want)
		}
	}
}

// An over-long part is refused when it has become too long, not when its end comes.
func TestLimitsAreReachedWithoutTheLineEnd(t *testing.T) {
	small := NewLimits(Limits{HeadBytesMax: 100, TargetBytesMax: 20, FieldsMax: 3})
	for _, c := range []struct{ raw, want string }{
		{"GET /" + strings.Repeat("a", 20), "refused 414 long_target"},
		{"GET /" + strings.Repeat("a", 19), "cut 400 truncated_head"},
		{"GET / HTTP/1.1\r\nA: " + strings.Repeat("b", 82), "refused 431 large_head"},
		{"GET / HTTP/1.1\r\nA: " + strings.Repeat("b", 81), "cut 400 truncated_head"},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("n", 85), "refused 431 large_head"},
		{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A:\r\n", 2) + "\r\n", "GET \"a\" / 1.1 len=0 [A: ; A: ]\nend"},
		{"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A:\r\n", 3), "refused 431 many_fields"},
		{"GET / HTTP/1.1\r\nHost: a\r\nB: " + strings.Repeat("b", 68) + "\r\n\r\n", "GET \"a\" / 1.1 len=0 [B: " + strings.Repeat("b", 68) + "]\nend"},
		{"GET / HTTP/1.1\r\nHost: a\r\nB: " + strings.Repeat("b", 69) + "\r\n\r\n", "refused 431 large_head"},
	} {
		inAllCuts(t, c.raw, c.want, func(apart bool, pieces ...string) string {
			return serverStory(t, small, apart, pieces...)
		})
	}
	tight := NewLimits(Limits{HeadBytesMax: 10})
	if got := serverStory(t, tight, false, "GET /aaaaaaaaaaaa"); got != "refused 431 large_head" {
		t.Errorf("a request line longer than the head may be: %s", got)
	}
}

// The line a peer drips costs one look at each byte, however long it is (threat class 8).
func TestDrippedLineIsLookedAtOnce(t *testing.T) {
	var (
		in buf.Chain
		c  Server
		h  message.Head
		p  = buf.NewPool(0)
	)
	c.Init(standard)
	in.AppendString(p, "GET / HTTP/1.1\r\nA: ")
	for i := range 20000 {
		in.AppendString(p, "b")
		if e, err := c.Next(&in, p, &h); e.Kind != message.None || err != nil {
			t.Fatal(e, err)
		}
		if want := uint32(len("A: ") + i + 1); c.in.pos != want {
			t.Fatalf("after %d bytes of the line, %d were looked at", want, c.in.pos)
		}
	}
}

func TestHostsRFC3986_3_2_2(t *testing.T) {
	const bad = -1
	for _, c := range []struct {
		host string
		want int
	}{
		{"exam.test", 9}, {"a_b", 3}, {"a:0", 3}, {"a:65535", 7}, {"a:", 1}, {"127.0.0.1:80", 12},
		{"[::1]", 5}, {"[::1]:8", 7}, {"[::ffff:1.2.3.4]", 16}, {"", 0},
		{"a:65536", bad}, {"a:8x", bad}, {"a:-1", bad}, {"a:1:2", bad}, {":80", bad}, {"a b", bad}, {"a/b", bad},
		{"a%41", bad}, {"a%", bad}, {"a,b", bad}, {"u@a", bad}, {"a#", bad}, {"a\x80", bad},
		{"[::1", bad}, {"::1", bad}, {"::1]", bad}, {"[]", bad}, {"[1.2.3.4]", bad}, {"[fe80::1%25e]", bad}, {"[::1]x", bad},
		{"[::1]:99999", bad}, {"[v1.a]", bad}, {strings.Repeat("a", 261), bad},
	} {
		n, err := hostLen([]byte(c.host))
		if err != nil {
			n = bad
		}
		if n != c.want {
			t.Errorf("hostLen(%q) = %d, want %d", c.host, n, c.want)
		}
	}
}

// The address parser agrees with netip on addresses and near misses.
func TestIPv6AgainstNetip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.OneOf(
			rapid.StringMatching(`[0-9a-f:.]{0,20}`),
			rapid.StringMatching(`([0-9a-fA-F]{1,4}:){0,8}:?([0-9a-f]{1,5}:){0,7}([0-9a-f]{0,4}|[0-9.]{7,9}|(1?[0-9]{1,2}\.){3}[0-9]{1,3})`),
		).Draw(t, "address")
		parsed, err := netip.ParseAddr(a)
		if want := err == nil && parsed.Is6(); isIPv6([]byte(a)) != want {
			t.Fatalf("isIPv6(%q) = %v", a, !want)
		}
	})
}

func TestSmallStateOfIdleConnections(t *testing.T) {
	if n := unsafe.Sizeof(Server{}); n > 96 {
		t.Errorf("a Server takes %d bytes", n)
	}
	if n := unsafe.Sizeof(Client{}); n > 96 {
		t.Errorf("a Client takes %d bytes", n)
	}
}

// reply is what a Server sends to a request that begins with the given line and fields, when answer has answered it, and
// whether the connection goes on.
func reply(t *testing.T, request string, answer func(c *Server, out *buf.Chain, p *buf.Pool) error) (sent string, again bool, err error) {
	t.Helper()
	var (
		in, out buf.Chain
		c       Server
		h       message.Head
		p       = buf.NewPool(0)
	)
	c.Init(standard)
	in.AppendString(p, request)
	for in.Len() > 0 {
		e, err := c.Next(&in, p, &h)
		if err != nil || e.Kind == message.None || e.End {
			break // a refusal and half a request are among the cases
		}
		in.Skip(p, e.N)
	}
	err = answer(&c, &out, p)
	if err == nil {
		again = c.Finished()
	}
	sent = string(out.Pull(p, out.Len()))
	out.Release(p)
	in.Release(p)
	if p.InUse() != 0 {
		t.Errorf("%d bytes of chunks were lost", p.InUse())
	}
	return sent, again, err
}

// send answers with a head and pieces of a body.
func send(h *message.Head, trailers *message.Fields, body ...string) func(c *Server, out *buf.Chain, p *buf.Pool) error {
	return func(c *Server, out *buf.Chain, p *buf.Pool) error {
		if err := c.AppendHead(out, p, 0, h, body == nil); err != nil || body == nil {
			return err
		}
		for _, piece := range body {
			var src buf.Chain
			src.AppendString(p, piece)
			err := c.AppendData(out, p, 0, &src, len(piece))
			src.Release(p)
			if err != nil {
				return err
			}
		}
		return c.AppendEnd(out, p, 0, trailers)
	}
}

func TestServerAnswers(t *testing.T) {
	const (
		get   = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		head  = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
		old   = "GET / HTTP/1.0\r\n\r\n"
		older = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
		post  = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"
		last  = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	)
	var trailers message.Fields
	trailers.AddString("A", "b")
	trailers.AddString("Content-Length", "5")
	const unknown = message.UnknownLength
	for _, c := range []struct {
		name, request string
		answer        func(c *Server, out *buf.Chain, p *buf.Pool) error
		want          string
		again         bool
		err           error
	}{
		{"a length", get, send(response(200, 5, "A", "b"), nil, "he", "llo"), "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello", true, nil},
		{"no body", get, send(response(404, 0), nil), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true, nil},
		{"no body, length unknown", get, send(response(299, unknown), nil), "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n", true, nil},
		{"chunks", get, send(response(200, unknown), nil, "he", "", "llo"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", true, nil},
		{"trailers RFC 9110 6.5.1", get, send(response(200, unknown), &trailers, "x"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", true, nil},
		{"trailers behind a length", get, send(response(200, 1), &trailers, "x"), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true, nil},
		{"HEAD keeps the length RFC 9110 8.6", head, send(response(200, 5), nil), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, nil},
		{"HEAD drops a body", head, send(response(200, 5), nil, "hello"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, nil},
		{"HEAD without length", head, send(response(200, unknown), nil), "HTTP/1.1 200 OK\r\n\r\n", true, nil},
		{"204 has no length RFC 9110 8.6", get, send(response(204, 0), nil), "HTTP/1.1 204 No Content\r\n\r\n", true, nil},
		{"204 drops a body", get, send(response(204, unknown), nil, "x"), "HTTP/1.1 204 No Content\r\n\r\n", true, nil},
		{"304", get, send(response(304, 0), nil), "HTTP/1.1 304 Not Modified\r\n\r\n", true, nil},
		{"304 keeps the length", get, send(response(304, 5), nil), "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true, nil},
		{"HTTP/1.0", old, send(response(200, 1), nil, "x"), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", false, nil},
		{"HTTP/1.0 keep-alive", older, send(response(200, 1), nil, "x"), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx", true, nil},
		{"HTTP/1.0 without length RFC 9112 6.3", older, send(response(200, unknown), &trailers, "x"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx", false, nil},
		{"close asked for", last, send(response(200, 0), nil), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, nil},
		{"body unread", post, send(response(413, 0), nil), "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", false, nil},
		{"refused", "GET /\n", send(response(400, 0), nil), "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, nil},
		{"HEAD refused", "HEAD / HTTP/1.1\r\n\r\n", send(response(400, 3), nil, "bad"), "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", false, nil},
		{"refused in its body", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx", send(response(400, 0), nil), "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, nil},
		{"framing fields are the codec's", get, send(response(200, 0, "Connection", "x", "Content-Length", "9", "Transfer-Encoding", "x"), nil), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, nil},
		{"too long a body", get, send(response(200, 1), nil, "he"), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", false, ErrLongBody},
		{"a body behind the end", get, func(c *Server, out *buf.Chain, p *buf.Pool) error {
			c.AppendHead(out, p, 0, response(200, 0), true)
			var src buf.Chain
			src.AppendString(p, "x")
			defer src.Release(p)
			return c.AppendData(out, p, 0, &src, 1)
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, ErrLongBody},
		{"too short a body", get, send(response(200, 2), nil, "h"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", false, ErrShortBody},
		{"a length without a body", get, send(response(200, 2), nil), "", false, ErrShortBody},
		{"drain before the head", get, func(c *Server, out *buf.Chain, p *buf.Pool) error {
			c.CloseAfter()
			return c.AppendHead(out, p, 0, response(200, 0), true)
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, nil},
		{"drain behind the head", get, func(c *Server, out *buf.Chain, p *buf.Pool) error {
			err := c.AppendHead(out, p, 0, response(200, 0), true)
			c.CloseAfter()
			return err
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, nil},
		{"interim", get, func(c *Server, out *buf.Chain, p *buf.Pool) error {
			c.AppendInterim(out, p, response(103, 0, "Link", "</a>"))
			c.AppendInterim(out, p, response(101, 0))
			err := c.AppendHead(out, p, 0, response(200, 0), true)
			c.AppendInterim(out, p, response(103, 0))
			return err
		}, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, nil},
		{"interim for HTTP/1.0 RFC 9110 15.2", old, func(c *Server, out *buf.Chain, p *buf.Pool) error {
			c.AppendInterim(out, p, response(100, 0))
			return c.AppendHead(out, p, 0, response(200, 0), true)
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, nil},
	} {
		sent, again, err := reply(t, c.request, c.answer)
		if sent != c.want || again != c.again || err != c.err {
			t.Errorf("%s\n got %q again=%v err=%v\nwant %q again=%v err=%v", c.name, sent, again, err, c.want, c.again, c.err)
		}
	}
}

// A refusal is final: what follows it on the connection is never read (threat class 1).
func TestNothingIsReadBehindARefusal(t *testing.T) {
	var (
		in buf.Chain
		c  Server
		h  message.Head
		p  = buf.NewPool(0)
	)
	c.Init(standard)
	in.AppendString(p, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	for range 3 {
		if e, err := c.Next(&in, p, &h); err == nil || e.Kind != message.None {
			t.Fatalf("got %v, %v", e, err)
		}
	}
	if c.EOF(&in) == nil {
		t.Error("the close behind a refusal looks clean")
	}
}

// While a head or trailers are incomplete the chain is not empty, so whoever sees an empty chain may give the head away.
func TestEmptyChainNeedsNoHead(t *testing.T) {
	for _, raw := range []string{
		"\r\nGET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
	} {
		var (
			in   buf.Chain
			c    Server
			s    story
			p    = buf.NewPool(0)
			h    = new(message.Head)
			want = serverStory(t, standard, false, raw)
		)
		c.Init(standard)
		for i := range len(raw) {
			in.AppendString(p, raw[i:i+1])
			for {
				e, err := c.Next(&in, p, h)
				if err != nil {
					t.Fatal(err)
				}
				if e.Kind == message.None {
					break
				}
				s.event(e, fmt.Sprintf("%s %q %s %s", h.MethodBytes(), h.AuthorityBytes(), target(h), h.Proto), &in, p, h)
			}
			if in.Len() == 0 {
				if _, err := c.Next(&in, p, nil); err != nil {
					t.Fatal(err)
				}
				h = new(message.Head)
			}
		}
		if got := finish(t, &s, p, &in); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
}

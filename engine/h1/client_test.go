package h1

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

func TestClientReads(t *testing.T) {
	get, head := []string{"GET"}, []string{"HEAD"}
	for _, c := range []struct {
		methods []string
		closed  bool
		raw     string
		want    string
	}{
		// RFC 9112 4: status lines.
		{get, false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello", "#1 200 \"OK\" 1.1 len=5 [A: b]\nbody \"hello\"\nend\nreusable"},
		{get, false, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "#1 200 \"\" 1.1 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "#1 200 \"\" 1.1 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 200 all is\twell \xe9\r\nContent-Length: 0\r\n\r\n", "#1 200 \"all is\\twell \\xe9\" 1.1 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 099 X\r\n", "refused 502 bad_status"},
		{get, false, "HTTP/1.1 600 X\r\n", "refused 502 bad_status"},
		{get, false, "HTTP/1.1 20 OK\r\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/1.1 2000 OK\r\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/1.1  200 OK\r\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/1.2 200 OK\r\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/2.0 200 OK\r\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/1.1 200 OK\n", "refused 502 bad_status_line"},
		{get, false, "HTTP/1.1 200 OK\rX", "refused 400 bare_cr"},
		{get, false, "HTTP/1.1 200 O\x00K\r\n", "refused 502 bad_status_line"},
		{get, false, "hello", "refused 502 bad_status_line"}, // HTTP/0.9
		{get, false, "\r\nHTTP/1.1 200 OK\r\n", "refused 502 bad_status_line"},

		// RFC 9112 6.3: where a response ends.
		{get, true, "HTTP/1.1 200 OK\r\n\r\nhello", "#1 200 \"OK\" 1.1 len=-1 []\nbody \"hello\"\nend"},
		{get, true, "HTTP/1.0 200 OK\r\n\r\n", "#1 200 \"OK\" 1.0 len=-1 []\nend"},
		{get, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\nSet-Cookie: x\r\n\r\n", "#1 200 \"OK\" 1.1 len=-1 []\nbody \"hello\"\ntrailers [A: b]\nend\nreusable"},
		{head, false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "#1 200 \"OK\" 1.1 len=5 []\nend\nreusable"},
		{head, false, "HTTP/1.1 200 OK\r\n\r\n", "#1 200 \"OK\" 1.1 len=-1 []\nend\nreusable"},
		{head, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "#1 200 \"OK\" 1.1 len=-1 []\nend\nreusable"},
		{get, false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "#1 304 \"Not Modified\" 1.1 len=5 []\nend\nreusable"},
		{get, false, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "#1 204 \"No Content\" 1.1 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "refused 502 forbidden_length"},
		{get, false, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "refused 502 forbidden_length"},
		{get, false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "refused 400 length_and_chunked"},
		{get, false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "refused 400 several_lengths"},
		{get, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "refused 400 bad_coding"},
		{get, false, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "refused 400 chunked_http10"},

		// RFC 9110 15.2: interim responses.
		{get, false, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"interim #1 100 \"Continue\" 1.1 []\ninterim #1 103 \"X\" 1.1 [Link: </a>]\n#1 200 \"OK\" 1.1 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "refused 502 unasked_switch"},
		{get, false, "HTTP/1.1 199 X\r\nContent-Length: 7\r\n\r\n", "refused 502 forbidden_length"},

		// RFC 9112 9.3: what may come next on the connection.
		{get, false, "HTTP/1.1 200 OK\r\nConnection: close, a\r\nA: b\r\nContent-Length: 0\r\n\r\n", "#1 200 \"OK\" 1.1 len=0 []\nend"},
		{get, false, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "#1 200 \"OK\" 1.0 len=0 []\nend"},
		{get, false, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", "#1 200 \"OK\" 1.0 len=0 []\nend\nreusable"},
		{get, false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nX", "#1 200 \"OK\" 1.1 len=0 []\nend\nrefused 502 unasked_bytes"},
		{nil, false, "HTTP/1.1 408 Request Timeout\r\n", "refused 502 unasked_bytes"},
		{[]string{"GET", "HEAD", "GET"}, false, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n",
			"#1 200 \"OK\" 1.1 len=1 []\nbody \"a\"\nend\n#2 404 \"Not Found\" 1.1 len=9 []\nend\n#3 200 \"OK\" 1.1 len=-1 []\nbody \"c\"\nend\nreusable"},
		{[]string{"GET", "GET"}, false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n", "#1 200 \"OK\" 1.1 len=0 []\nend\nrefused 502 unasked_bytes"},

		// RFC 9112 8: incomplete responses.
		{nil, true, "", ""},
		{get, true, "", "cut 502 no_response"},
		{get, true, "HTTP/1.1 200 OK\r\nConte", "cut 400 truncated_head"},
		{get, true, "HTTP/1.1 100 Continue\r\n\r\n", "interim #1 100 \"Continue\" 1.1 []\ncut 400 truncated_head"},
		{get, true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "#1 200 \"OK\" 1.1 len=5 []\nbody \"hell\"\ncut 400 truncated_body"},
		{get, true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "#1 200 \"OK\" 1.1 len=-1 []\nbody \"hello\"\ncut 400 truncated_body"},
		{get, true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "#1 200 \"OK\" 1.1 len=-1 []\ncut 400 truncated_body"},
		{[]string{"GET", "GET"}, true, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "#1 200 \"OK\" 1.1 len=0 []\nend\ncut 502 no_response"},
	} {
		inAllCuts(t, c.raw, c.want, func(apart bool, pieces ...string) string {
			return clientStory(t, standard, apart, c.closed, c.methods, pieces...)
		})
	}
}

func TestInterimFloodIsRefused(t *testing.T) {
	raw := strings.Repeat("HTTP/1.1 103 X\r\n\r\n", 17)
	got := clientStory(t, standard, false, false, []string{"GET"}, raw)
	want := strings.Repeat("interim #1 103 \"X\" 1.1 []\n", 16) + "refused 502 many_interim"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Stray bytes that came together with the end of a response poison the connection before anybody asks it for more
// (threat class 10).
func TestStrayBytesMakeUnusable(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	for _, c := range []struct {
		methods  []string
		raw      string
		reusable bool
	}{
		{[]string{"GET"}, answer, true},
		{[]string{"GET"}, answer + "H", false},
		{[]string{"GET", "GET"}, answer + "H", true},
		{[]string{"HEAD"}, answer, false},
	} {
		var (
			in, out buf.Chain
			cl      Client
			h       message.Head
			p       = buf.NewPool(0)
		)
		cl.Init(standard)
		for _, m := range c.methods {
			cl.AppendHead(&out, p, request(m, "x", "/"), true)
		}
		in.AppendString(p, c.raw)
		for {
			e, err := cl.Next(&in, p, &h)
			if err != nil || e.Kind == message.None {
				t.Fatal("the response did not end", err)
			}
			in.Skip(p, e.N)
			if e.End {
				break
			}
		}
		if got := cl.Reusable(); got != c.reusable {
			t.Errorf("%v, %q: reusable %v, want %v", c.methods, c.raw, got, c.reusable)
		}
	}
}

// Which requests are HEAD is remembered in one word: the places in it are used again, and forget what they held.
func TestHeadsAreForgotten(t *testing.T) {
	var (
		in, out buf.Chain
		c       Client
		h       message.Head
		p       = buf.NewPool(0)
	)
	c.Init(standard)
	for i := range 3 * outstandingMax {
		method, ends := "GET", false
		if i < outstandingMax && i%3 == 0 {
			method, ends = "HEAD", true
		}
		if _, err := c.AppendHead(&out, p, request(method, "x", "/"), true); err != nil {
			t.Fatal(err)
		}
		in.AppendString(p, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
		e, err := c.Next(&in, p, &h)
		if err != nil || e.End != ends || e.Stream != uint32(i+1) {
			t.Fatalf("request %d, %s: %+v, %v", i+1, method, e, err)
		}
		if !ends {
			in.AppendString(p, "x")
			c.Next(&in, p, &h)
			in.Skip(p, 1)
		}
	}
}

func TestClientWrites(t *testing.T) {
	with := func(h *message.Head, length int64, query string) *message.Head {
		h.Length = length
		if query != "" {
			h.HasQuery = true
			h.Query = h.StoreString(query[1:])
		}
		return h
	}
	var trailers message.Fields
	trailers.AddString("A", "b")
	trailers.AddString("Transfer-Encoding", "x")
	for _, c := range []struct {
		h    *message.Head
		body []string
		want string
		err  error
	}{
		{request("GET", "x", "/a", "A", "b"), nil, "GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n", nil},
		{request("GET", "", "/"), nil, "GET / HTTP/1.1\r\nHost: \r\n\r\n", nil},
		{with(request("GET", "x", "/a"), 0, "?"), nil, "GET /a? HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{with(request("GET", "x", "/a"), 0, "?b=c"), nil, "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{request("POST", "x", "/"), nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", nil},
		{with(request("POST", "x", "/"), -1, ""), nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", nil},
		{with(request("POST", "x", "/"), 5, ""), []string{"he", "llo"}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", nil},
		{with(request("GET", "x", "/"), -1, ""), []string{"hello world, hello"}, "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n12\r\nhello world, hello\r\n0\r\nA: b\r\n\r\n", nil},
		{request("GET", "x", "/", "Host", "y", "connection", "close", "Content-length", "3", "TRANSFER-ENCODING", "chunked"), nil, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{with(request("POST", "x", "/"), 5, ""), nil, "", ErrShortBody},
		{with(request("POST", "x", "/"), 5, ""), []string{"he"}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe", ErrShortBody},
		{with(request("POST", "x", "/"), 1, ""), []string{"he"}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", ErrLongBody},
		{with(request("POST", "x", "/"), 0, ""), []string{"he"}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", ErrLongBody},
	} {
		sent, err := write(t, c.h, &trailers, c.body)
		if sent != c.want || err != c.err {
			t.Errorf("\n got %q, %v\nwant %q, %v", sent, err, c.want, c.err)
		}
	}
}

// write sends a request and returns its bytes.
func write(t testing.TB, h *message.Head, trailers *message.Fields, body []string) (string, error) {
	var (
		out buf.Chain
		c   Client
		p   = buf.NewPool(0)
	)
	c.Init(standard)
	stream, err := c.AppendHead(&out, p, h, body == nil)
	for _, piece := range body {
		if err == nil {
			var src buf.Chain
			src.AppendString(p, piece)
			err = c.AppendData(&out, p, stream, &src, len(piece))
			src.Release(p)
		}
	}
	if err == nil && body != nil {
		err = c.AppendEnd(&out, p, stream, trailers)
	}
	sent := string(out.Pull(p, out.Len()))
	out.Release(p)
	if p.InUse() != 0 {
		t.Errorf("%d bytes of chunks were lost", p.InUse())
	}
	return sent, err
}

func TestClientTakesNoFurtherRequest(t *testing.T) {
	var (
		in, out buf.Chain
		c       Client
		h       message.Head
		p       = buf.NewPool(0)
	)
	busy := func(situation string) {
		t.Helper()
		if _, err := c.AppendHead(&out, p, request("GET", "x", "/"), true); err != ErrBusy {
			t.Errorf("%s: %v", situation, err)
		}
	}
	c.Init(standard)
	half := request("POST", "x", "/")
	half.Length = 1
	c.AppendHead(&out, p, half, false)
	busy("while a request is half sent")

	c.Init(standard)
	for i := range uint32(outstandingMax) {
		if n, err := c.AppendHead(&out, p, request("GET", "x", "/"), true); err != nil || n != i+1 {
			t.Fatal(n, err)
		}
	}
	busy("with 64 requests unanswered")

	c.Init(standard)
	c.AppendHead(&out, p, request("GET", "x", "/"), true)
	in.AppendString(p, "HTTP/1.1 200 OK\r\n\r\n")
	c.Next(&in, p, &h)
	busy("behind a response that ends with the connection")
}

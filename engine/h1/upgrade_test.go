package h1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

const (
	wsKey     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	wsVersion = "Sec-WebSocket-Version: 13\r\n"
	wsAsk     = "GET /ws HTTP/1.1\r\nHost: exam.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" + wsKey + wsVersion + "\r\n"
	wsAccept  = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	ws101     = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + wsAccept + "\r\n"
)

func TestAcceptOfRFC6455_1_3(t *testing.T) {
	if got := string(acceptOf([]byte("dGhlIHNhbXBsZSBub25jZQ=="))[:]); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Error(got)
	}
}

// Only a whole handshake asks; whatever falls short of one is an ordinary request, without the fields of this hop.
func TestServerIsAskedToSwitchRFC6455_4_2_1(t *testing.T) {
	const (
		host = "Host: exam.test\r\n"
		conn = "Connection: Upgrade\r\n"
		up   = "Upgrade: websocket\r\n"
		key  = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
		left = `[Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==; Sec-WebSocket-Version: 13]`
	)
	asks := `GET "exam.test" /ws 1.1 to=websocket len=0 ` + left + "\nend"
	plain := `GET "exam.test" /ws 1.1 len=0 ` + left + "\nend"
	for _, c := range []struct{ raw, want string }{
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsVersion + "\r\n", asks},
		{"GET /ws HTTP/1.1\r\n" + host + up + "Connection: keep-alive\r\nConnection: a, uPGRADE\r\n" + wsKey + wsVersion + "Content-Length: 0\r\n\r\n", asks},
		{wsAsk, strings.Replace(asks, "to=websocket", "to=WebSocket", 1)},

		// This hop is not told of it, or the field says something else as well.
		{"GET /ws HTTP/1.1\r\n" + host + up + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + "Upgrade: h2c\r\n" + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + "Upgrade: websocket, h2c\r\n" + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + "Upgrade: websocket/13\r\n" + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + "Upgrade: h2c\r\n" + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + up + wsKey + wsVersion + "\r\n", plain},
		{"GET /ws HTTP/1.1\r\n" + host + conn + "Upgrade:\r\n" + wsKey + wsVersion + "\r\n", plain},

		// Another version, method or a body.
		{"GET /ws HTTP/1.0\r\n" + host + conn + up + wsKey + wsVersion + "\r\n", strings.Replace(plain, "1.1", "1.0", 1) + "\nlast"},
		{"HEAD /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsVersion + "\r\n", strings.Replace(plain, "GET", "HEAD", 1)},
		{"POST /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsVersion + "\r\n", strings.Replace(plain, "GET", "POST", 1)},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsVersion + "Content-Length: 1\r\n\r\nx",
			`GET "exam.test" /ws 1.1 len=1 ` + left + "\nbody \"x\"\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsVersion + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			`GET "exam.test" /ws 1.1 len=-1 ` + left + "\nend"},

		// Without its own fields it is none; Connection can take them away, too.
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsKey + "\r\n", `GET "exam.test" /ws 1.1 len=0 [` + key + "]\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsVersion + "\r\n", `GET "exam.test" /ws 1.1 len=0 [Sec-WebSocket-Version: 13]` + "\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + "Connection: upgrade, sec-websocket-key\r\n" + up + wsKey + wsVersion + "\r\n",
			`GET "exam.test" /ws 1.1 len=0 [Sec-WebSocket-Version: 13]` + "\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + "Connection: upgrade, upgrade\r\n" + up + wsKey + "Sec-WebSocket-Version: 8\r\n\r\n",
			`GET "exam.test" /ws 1.1 len=0 [` + key + "; Sec-WebSocket-Version: 8]\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + wsKey + wsKey + wsVersion + "\r\n",
			`GET "exam.test" /ws 1.1 len=0 [` + key + "; " + left[1:] + "\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\r\n" + wsVersion + "\r\n",
			`GET "exam.test" /ws 1.1 len=0 [Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ; Sec-WebSocket-Version: 13]` + "\nend"},
		{"GET /ws HTTP/1.1\r\n" + host + conn + up + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" + wsVersion + "\r\n",
			`GET "exam.test" /ws 1.1 len=0 [Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA; Sec-WebSocket-Version: 13]` + "\nend"},

		// The answer was 200: what comes behind is a request like any other (threat class 3).
		{wsAsk + "GET /denied HTTP/1.1\r\n" + host + "\r\n",
			strings.Replace(asks, "to=websocket", "to=WebSocket", 1) + "\n" + `GET "exam.test" /denied 1.1 len=0 []` + "\nend"},
		{wsAsk + "\x81\x05hello", strings.Replace(asks, "to=websocket", "to=WebSocket", 1) + "\nrefused 400 bad_method"},
	} {
		inAllCuts(t, c.raw, c.want, func(apart bool, pieces ...string) string {
			return serverStory(t, standard, apart, pieces...)
		})
	}
}

// Bytes behind the handshake stay where they are until the 101 was sent, at once or when everything is there; then all of
// them are data, to the end.
func TestServerTunnel(t *testing.T) {
	const early = "GET /denied HTTP/1.1\r\nHost: exam.test\r\n\r\n"
	want := "asked\nbody \"" + strings.ReplaceAll(early, "\r\n", `\r\n`) + "\""
	for _, late := range []bool{false, true} {
		inAllCuts(t, wsAsk+early, want, func(apart bool, pieces ...string) string {
			return tunnelStory(t, apart, late, pieces)
		})
	}
}

func tunnelStory(t *testing.T, apart, late bool, pieces []string) string {
	var (
		s            story
		in, out, src buf.Chain
		c            Server
		p            = buf.NewPool(0)
		h            = new(message.Head)
		asked        bool
	)
	read := func() {
		for {
			e, err := c.Next(&in, p, h)
			if err != nil || e.Kind == message.GotData && e.End {
				t.Fatal(e, err)
			}
			switch e.Kind {
			case message.None:
				return
			case message.GotHead:
				asked = true
				s.line("asked")
			default:
				s.event(e, "", &in, p, h)
			}
		}
	}
	consent := func() {
		if err := c.AppendHead(&out, p, 0, response(101, message.UnknownLength, "A", "b"), false); err != nil {
			t.Fatal(err)
		}
		read()
	}
	c.Init(standard)
	for _, piece := range pieces {
		arrive(&in, p, piece, apart)
		read()
		if asked && !late && !c.headSent {
			consent()
		}
	}
	if late {
		consent()
	}
	if err := c.EOF(&in); err != nil {
		t.Error(err)
	}
	src.AppendString(p, "raw")
	if err := c.AppendData(&out, p, 0, &src, 3); err != nil {
		t.Error(err)
	}
	if !c.EndsByClose() {
		t.Error("a cut would not be seen")
	}
	if err := c.AppendEnd(&out, p, 0, nil); err != nil || c.Finished() {
		t.Error("the connection goes on behind a tunnel", err)
	}
	const sent = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nraw"
	if got := string(out.Pull(p, out.Len())); got != sent {
		t.Errorf("sent %q, want %q", got, sent)
	}
	return finish(t, &s, p, &in, &out, &src)
}

func TestServerSwitchesForNobodyElse(t *testing.T) {
	for _, c := range []struct {
		request string
		end     bool
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", false},
		{wsAsk, true},
	} {
		sent, _, err := reply(t, c.request, func(s *Server, out *buf.Chain, p *buf.Pool) error {
			return s.AppendHead(out, p, 0, response(101, 0), c.end)
		})
		if err != ErrSwitch || sent != "" {
			t.Errorf("%q: %q, %v", c.request, sent, err)
		}
	}
}

func TestClientAsksToSwitch(t *testing.T) {
	const start = "GET / HTTP/1.1\r\nHost: exam.test\r\n"
	const fields = wsKey + wsVersion
	half := handshake()
	half.Upgrade = half.StoreString("h2c")
	keyless := handshake()
	keyless.RemoveField([]byte("sec-websocket-key"))
	for _, c := range []struct {
		name string
		h    *message.Head
		want string
	}{
		{"a handshake", handshake(), start + upgradeLines + fields + "\r\n"},
		{"fields that a filter added", handshake("Connection", "x", "Upgrade", "h2c"), start + upgradeLines + fields + "\r\n"},
		{"another protocol", half, start + fields + "\r\n"},
		{"a handshake that lost its key", keyless, start + wsVersion + "\r\n"},
	} {
		if got, err := write(t, c.h, nil, nil); err != nil || got != c.want {
			t.Errorf("%s: %v\n got %q\nwant %q", c.name, err, got, c.want)
		}
	}
}

func TestClientSwitchesRFC6455_4_1(t *testing.T) {
	ask, get := []string{"switch"}, []string{"GET"}
	const took = "#1 101 \"Switching Protocols\" 1.1 to=websocket len=-1 [Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=]"
	const line = "HTTP/1.1 101 Switching Protocols\r\n"
	for _, c := range []struct {
		methods []string
		closed  bool
		raw     string
		want    string
	}{
		{ask, false, ws101, took},
		{ask, true, ws101, took + "\nend"},
		{ask, true, ws101 + "HTTP/1.1 200 OK\r\n\r\n", took + "\nbody \"HTTP/1.1 200 OK\\r\\n\\r\\n\"\nend"},
		{ask, true, "HTTP/1.1 100 Continue\r\n\r\n" + ws101 + "x", "interim #1 100 \"Continue\" 1.1 []\n" + took + "\nbody \"x\"\nend"},

		// Not as asked.
		{ask, false, line + "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade\r\nUpgrade: websocket\r\n" + wsAccept + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade, sec-websocket-accept\r\nUpgrade: websocket\r\n" + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade\r\n" + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Upgrade: websocket\r\n" + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade\r\nUpgrade: h2c\r\n" + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, "HTTP/1.0 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + wsAccept + "\r\n", "refused 502 bad_switch"},
		{ask, false, line + "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n" + wsAccept + "\r\n", "refused 502 forbidden_length"},
		{ask, false, line + "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n" + wsAccept + "\r\n", "refused 502 forbidden_length"},

		// Not asked, or not any more.
		{get, false, ws101, "refused 502 unasked_switch"},
		{nil, false, ws101, "refused 502 unasked_bytes"},
		{ask, false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + ws101, "#1 200 \"OK\" 1.1 len=0 []\nend\nrefused 502 unasked_bytes"},

		// Refused: the connection serves whoever comes next.
		{ask, false, "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno",
			"#1 426 \"Upgrade Required\" 1.1 len=2 []\nbody \"no\"\nend\nreusable"},
		{ask, true, "HTTP/1.1 200 OK\r\n\r\n\x81", "#1 200 \"OK\" 1.1 len=-1 []\nbody \"\\x81\"\nend"},
		{ask, true, "", "cut 502 no_response"},
	} {
		inAllCuts(t, c.raw, c.want, func(apart bool, pieces ...string) string {
			return clientStory(t, standard, apart, c.closed, c.methods, pieces...)
		})
	}
}

// A request that asks for the switch shares its connection with none (threat class 3: the poisoned pool).
func TestSwitchIsAloneOnItsConnection(t *testing.T) {
	var (
		in, out buf.Chain
		c       Client
		h       message.Head
		p       = buf.NewPool(0)
	)
	try := func(h *message.Head) string {
		n, err := c.AppendHead(&out, p, h, true)
		return fmt.Sprint(n, " ", err == ErrBusy, " ", c.Reusable())
	}
	expect := func(situation, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", situation, got, want)
		}
	}
	answer := func(raw string) {
		t.Helper()
		in.AppendString(p, raw)
		if e, err := c.Next(&in, p, &h); err != nil || e.Kind != message.GotHead {
			t.Fatal(e, err)
		}
	}
	c.Init(standard)
	expect("a request", try(request("GET", "x", "/")), "1 false true")
	expect("a handshake behind it", try(handshake()), "0 true true")
	answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	expect("a handshake alone", try(handshake()), "2 false false")
	expect("a request behind it", try(request("GET", "x", "/")), "0 true false")
	answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	expect("a handshake after it was refused", try(handshake()), "3 false false")
	answer(ws101)
	expect("a request into the tunnel", try(request("GET", "x", "/")), "0 true false")

	var src buf.Chain
	out.Release(p)
	src.AppendString(p, "raw")
	if err := c.AppendData(&out, p, 3, &src, 3); err != nil || string(out.Pull(p, out.Len())) != "raw" {
		t.Error("the tunnel is not raw", err)
	}
	if err := c.AppendEnd(&out, p, 3, nil); err != nil || c.Reusable() {
		t.Error("the connection can be used behind a tunnel", err)
	}
}

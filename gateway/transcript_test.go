package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
)

var update = flag.Bool("update", false, "rewrite the transcripts with what happened; read the diff")

// TestTranscripts plays the stories in testdata: what the client sent, what the upstream got and did, what came out.
//
// A story is a list of commands. A command is a line that begins with "> ", then the text it sends, if any, then "----" and
// what it showed:
//
//	set NAME VALUE            before the first connection: a setting of the gateway
//	send WHO                  WHO (a client c1, c2.. or an upstream connection u1, u2..) sends the text, lines ended by CRLF
//	read WHO                  WHO reads one message and shows it
//	rest WHO                  WHO reads until the connection ends and shows how it ended
//	take WHO N                WHO reads N bytes and shows them
//	pending WHO               shows what has arrived for WHO and is not read
//	fin WHO, close WHO, reset WHO
//	metric NAME               shows the metrics of that name that are not zero
//	after DURATION            lets at least so much time pass
//	connections N             waits until so many clients are connected
//	waiting N                 waits until so many requests wait for a connection to an upstream
//
// A client connects when it is first named; an upstream connection is accepted when it is first named. Upstreams whose
// names begin with v are connections to a second endpoint.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	check(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			check(t, err)
			got := play(t, string(want))
			if *update {
				check(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			if got != string(want) {
				t.Errorf("%s went otherwise:\n%s", file, firstDifference(string(want), got))
			}
		})
	}
}

// TestTranscriptsByteByByte plays the stories with everything that anyone sends in as many packets as it has bytes. Nothing may
// come out otherwise.
func TestTranscriptsByteByByte(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	check(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			check(t, err)
			if want, got := anyCut(string(want)), anyCut(playIn(t, string(want), 1)); got != want {
				t.Errorf("%s went otherwise:\n%s", file, firstDifference(want, got))
			}
		})
	}
}

// anyCut takes out of a story what depends on how bytes are cut into packets: chunks, and whether some byte was still on its
// way to a connection when the gateway closed it, which makes the kernel reset it.
func anyCut(text string) string { return strings.ReplaceAll(joinChunks(text), "<reset>", "<closed>") }

// joinChunks makes one chunk of chunks that follow each other: how a body is cut is nobody's business.
func joinChunks(text string) string {
	lines := strings.Split(text, "\n")
	isChunk := func(i int) bool {
		if i+1 >= len(lines) {
			return false
		}
		n, err := strconv.ParseInt(lines[i], 16, 32)
		return err == nil && n > 0 && len(lines[i+1]) == int(n)
	}
	for i := 0; i < len(lines); i++ {
		for isChunk(i) && isChunk(i+2) {
			lines[i+1] += lines[i+3]
			lines[i] = strconv.FormatInt(int64(len(lines[i+1])), 16)
			lines = slices.Delete(lines, i+2, i+4)
		}
	}
	return strings.Join(lines, "\n")
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			from := max(0, i-6)
			return fmt.Sprintf("line %d\n--- want\n%s\n--- got\n%s", i+1,
				strings.Join(w[from:min(len(w), i+8)], "\n"), strings.Join(g[from:min(len(g), i+8)], "\n"))
		}
	}
	return ""
}

// stage is a story being played.
type stage struct {
	t         *testing.T
	settings  settings
	gateway   *running
	upstreams map[byte]net.Listener
	conns     map[string]*actor
	pieces    int // the most bytes sent at once
}

// actor is one end of a connection with the gateway.
type actor struct {
	net.Conn
	r *bufio.Reader
}

func play(t *testing.T, story string) string { return playIn(t, story, 1<<20) }

// playIn plays a story in which everybody sends at most so many bytes at once.
func playIn(t *testing.T, story string, pieces int) string {
	s := &stage{t: t, pieces: pieces, conns: map[string]*actor{}, upstreams: map[byte]net.Listener{}}
	for _, name := range []byte{'u', 'v'} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		t.Cleanup(func() { l.Close() })
		s.upstreams[name] = l
	}
	s.settings = usual(s.upstreams['u'].Addr().String())
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(story, "\n"), "\n")
	for i := 0; i < len(lines); {
		next := i + 1
		for next < len(lines) && !strings.HasPrefix(lines[next], "> ") && !strings.HasPrefix(lines[next], "# ") {
			next++
		}
		s.block(&out, lines[i:next])
		i = next
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.gateway.nothingHeld(s.t)
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// block plays one command and writes it with what it showed.
func (s *stage) block(out *strings.Builder, lines []string) {
	write := func(lines ...string) { out.WriteString(strings.Join(lines, "\n") + "\n") }
	if !strings.HasPrefix(lines[0], "> ") {
		write(lines...)
		return
	}
	input := lines
	if i := slices.Index(lines, "----"); i >= 0 {
		input = lines[:i]
	}
	write(input...)
	shown := s.command(strings.Fields(lines[0][2:]), strings.Join(input[1:], "\n")+"\n")
	if shown != "" {
		write("----", shown, "")
	}
}

func (s *stage) command(words []string, text string) string {
	switch words[0] {
	case "set":
		s.set(words[1], strings.Join(words[2:], " "))
		return ""
	case "metric":
		return s.gateway.metricLines(s.t, words[1])
	case "after":
		d, err := time.ParseDuration(words[1])
		check(s.t, err)
		<-time.After(d)
		return ""
	case "connections":
		s.await("client connections", words[1], func() (n int) {
			s.gateway.gateway.OnEach(func(w *gateway.Worker) { n += w.Engine().Open() })
			return n
		})
		return ""
	case "waiting":
		s.await("waiting requests", words[1], func() (n int) {
			for _, l := range s.gateway.group.Loads() {
				n += l.Waiting
			}
			return n
		})
		return ""
	}
	c := s.actor(words[1])
	switch words[0] {
	case "send":
		for piece := range slices.Chunk([]byte(strings.ReplaceAll(unescape(text), "\n", "\r\n")), s.pieces) {
			if _, err := c.Write(piece); err != nil {
				break // who reads from the other end will show why
			}
		}
	case "read":
		return s.show(readMessage(c.r))
	case "rest":
		return s.show(readRest(c.r))
	case "take":
		n, _ := strconv.Atoi(words[2])
		raw := make([]byte, n)
		n, err := io.ReadFull(c.r, raw)
		return s.show(raw[:n], ending(err))
	case "pending":
		return s.show(c.pending(), "that is all")
	case "fin":
		check(s.t, c.Conn.(*net.TCPConn).CloseWrite())
	case "close":
		c.Close()
	case "reset":
		check(s.t, c.Conn.(*net.TCPConn).SetLinger(0))
		c.Close()
	default:
		s.t.Fatalf("no command %q", words[0])
	}
	return ""
}

// await waits until something has the number it is to have.
func (s *stage) await(what, number string, have func() int) {
	want, _ := strconv.Atoi(number)
	for deadline := time.Now().Add(patience); have() != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%d %s, want %d", have(), what, want)
		}
	}
}

// unescape lets a text end without a line end ("\c") and hold bytes that a text file cannot show ("\x00").
func unescape(s string) string {
	s, _, _ = strings.Cut(s, `\c`)
	return regexp.MustCompile(`\\x[0-9a-f]{2}`).ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}

func (s *stage) set(name, value string) {
	d, _ := time.ParseDuration(value)
	n, _ := strconv.Atoi(value)
	r := &s.settings.routes[0]
	switch name {
	case "second_endpoint":
		s.settings.endpoints = append(s.settings.endpoints, s.upstreams['v'].Addr().String())
	case "no_endpoint_but_dead":
		s.set("dead_endpoint", "")
		s.settings.endpoints = s.settings.endpoints[:1]
	case "dead_endpoint": // comes first in turn
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(s.t, err)
		l.Close()
		s.settings.endpoints = append([]string{l.Addr().String()}, s.settings.endpoints...)
	case "attempts":
		r.retry.Attempts = n
	case "retry_status":
		r.retry.Statuses = []int{n}
		r.retry.BackoffBase = -1
	case "per_try":
		r.retry.PerTry, r.retry.BackoffBase = d, -1
	case "first_byte":
		r.firstByte = d
	case "between_bytes":
		r.betweenBytes = d
	case "request":
		r.request = d
	case "head_timeout":
		s.settings.server.HeadTimeout = d
	case "idle_timeout":
		s.settings.server.IdleTimeout = d
	case "requests_max":
		s.settings.server.RequestsMax = n
	case "body_max":
		s.settings.listener.BodyBytesMax = int64(n)
	case "conns_max":
		s.settings.pool.ConnsMax = n
	case "queue_max":
		s.settings.pool.QueueMax = n
	case "queue_timeout":
		s.settings.pool.QueueTimeout = d
	case "pipeline":
		s.settings.pool.Pipeline = n
	case "forwarded":
		s.settings.listener.Trust.XFields, s.settings.listener.Trust.Forwarded = value == "x", value == "rfc7239"
	case "trust":
		s.settings.listener.Trust.From = append(s.settings.listener.Trust.From, prefix(s.t, value))
	case "methods":
		r.spec.Match = match.Spec{Methods: strings.Fields(value)}
	case "path":
		r.spec.Path = value
	case "deny":
		s.settings.routes = append(s.settings.routes, routeSettings{spec: route.Spec{Name: "deny", Path: value},
			respond: &gateway.Respond{Status: 403, Body: []byte("no\n")}})
	case "redirect":
		s.settings.routes = append(s.settings.routes, routeSettings{spec: route.Spec{Name: "old", Path: "/old/:id"},
			redirect: &gateway.Redirect{Status: 308, To: gateway.Template{{Literal: value}, {Of: gateway.OfParam, Name: "id"}, {Of: gateway.OfQuery}}}})
	default:
		s.t.Fatalf("no setting %q", name)
	}
	if r.retry.BackoffBase == 0 {
		r.retry = retry.Config{Attempts: r.retry.Attempts, Statuses: r.retry.Statuses, BackoffBase: -1}
	}
}

func (s *stage) actor(name string) *actor {
	if c := s.conns[name]; c != nil {
		return c
	}
	if s.gateway == nil {
		s.gateway = start(s.t, s.settings)
	}
	var conn net.Conn
	var err error
	if name[0] == 'c' {
		conn, err = net.Dial("tcp", s.gateway.addr)
	} else {
		l := s.upstreams[name[0]].(*net.TCPListener)
		check(s.t, l.SetDeadline(time.Now().Add(patience)))
		conn, err = l.Accept()
	}
	check(s.t, err)
	check(s.t, conn.SetDeadline(time.Now().Add(patience)))
	c := &actor{conn, bufio.NewReader(conn)}
	s.conns[name] = c
	return c
}

// pending returns what has arrived and is not read, without waiting.
func (a *actor) pending() []byte {
	raw, _ := a.r.Peek(a.r.Buffered())
	socket, err := a.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return raw
	}
	room := make([]byte, 4096)
	_ = socket.Read(func(fd uintptr) bool {
		if n, _, err := syscall.Recvfrom(int(fd), room, syscall.MSG_PEEK|syscall.MSG_DONTWAIT); err == nil {
			raw = append(bytes.Clone(raw), room[:n]...)
		}
		return true
	})
	return raw
}

// patience is how long something that must happen may take on a busy machine.
const patience = 20 * time.Second

// show makes text the same in every run: ports differ, and so do lines that are told apart by CR LF on the wire.
func (s *stage) show(raw []byte, end string) string {
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	for name, l := range s.upstreams {
		text = strings.ReplaceAll(text, l.Addr().String(), string(name)+":port")
	}
	if s.gateway != nil {
		text = strings.ReplaceAll(text, s.gateway.addr, "gateway:port")
	}
	text = regexp.MustCompile(`[0-9a-f]{32}`).ReplaceAllString(text, "<id>")
	text = regexp.MustCompile(`(?m)^Date: .*$`).ReplaceAllString(text, "Date: <now>")
	text = strings.TrimRight(text, "\n")
	if end != "" {
		text = strings.TrimLeft(text+"\n<"+end+">", "\n")
	}
	return text
}

// readMessage reads one message: a head, and a body as long as its framing says.
func readMessage(r *bufio.Reader) ([]byte, string) {
	var raw bytes.Buffer
	length, chunked := 0, false
	for {
		line, err := r.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			return raw.Bytes(), ending(err)
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		case "transfer-encoding":
			chunked = true
		case "":
			end := ""
			if chunked {
				end = readChunks(r, &raw)
			} else if _, err := io.CopyN(&raw, r, int64(length)); err != nil {
				end = ending(err)
			}
			return raw.Bytes(), end
		}
	}
}

func readChunks(r *bufio.Reader, raw *bytes.Buffer) string {
	for last := false; ; {
		line, err := r.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			return ending(err)
		}
		if last {
			if line == "\r\n" {
				return ""
			}
			continue
		}
		n, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if last = n == 0; last {
			continue
		}
		if _, err := io.CopyN(raw, r, n+2); err != nil {
			return ending(err)
		}
	}
}

// readRest reads to the end of the connection.
func readRest(r *bufio.Reader) ([]byte, string) {
	raw, err := io.ReadAll(r)
	if err == nil {
		err = io.EOF
	}
	return raw, ending(err)
}

func ending(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, io.EOF):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing came"
	default:
		return "reset"
	}
}

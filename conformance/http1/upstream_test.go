//go:build linux

package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	honestPrefix = "/honest/"
	// headBytesMax bounds what the upstream stores of one head; more than any gateway forwards.
	headBytesMax = 4 << 20
	// upstreamQuiet is how long nothing may arrive at the upstream before a case counts as over: many times the way
	// from one socket of this machine to another.
	upstreamQuiet = 25 * time.Millisecond
	// upstreamSettle bounds the wait for that, and for a request that was begun to be either finished or given up.
	upstreamSettle = 400 * time.Millisecond
)

// request is what arrived at the upstream, read leniently.
type request struct {
	head                    []byte // as it came, with the empty line
	method, target, version string
	fields, trailers        fields
	body                    []byte
	complete                bool     // the whole body came
	faults                  []string // in head, framing and chunks
}

func (r *request) honest() bool { return strings.HasPrefix(r.target, honestPrefix) }

// recorder is an upstream that keeps all it is sent. One case at a time is on record.
type recorder struct {
	listener net.Listener
	ended    sync.WaitGroup
	mu       struct {
		sync.Mutex
		current  *testCase
		requests []*request // of the current case, honest ones excluded
		raw      []byte     // whatever is not a request: bytes after 101
		last     time.Time  // of the latest byte
		busy     map[net.Conn]bool
	}
}

func newRecorder(t *testing.T, addr string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	u := &recorder{listener: l}
	u.mu.busy = map[net.Conn]bool{}
	u.ended.Go(u.accept)
	t.Cleanup(u.close)
	return u
}

func (u *recorder) addr() string { return u.listener.Addr().String() }

func (u *recorder) close() {
	u.listener.Close()
	u.mu.Lock()
	for c := range u.mu.busy {
		c.Close()
	}
	u.mu.Unlock()
	u.ended.Wait()
}

func (u *recorder) accept() {
	for {
		c, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.mu.busy[c] = false
		u.mu.Unlock()
		u.ended.Go(func() {
			u.serve(c)
			c.Close()
			u.mu.Lock()
			delete(u.mu.busy, c)
			u.mu.Unlock()
		})
	}
}

// begin puts a case on record.
func (u *recorder) begin(c *testCase) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.current, u.mu.requests, u.mu.raw = c, nil, nil
	u.mu.last = time.Now()
}

// finish takes the case off the record. Connections in the middle of something are closed, so that nothing of this case
// reaches the next; idle ones stay, as they would in life.
func (u *recorder) finish() (requests []*request, raw []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c, busy := range u.mu.busy {
		if busy {
			c.Close()
		}
	}
	u.mu.current = nil
	return u.mu.requests, u.mu.raw
}

// settle waits until nothing more is coming.
func (u *recorder) settle() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(upstreamSettle); time.Now().Before(deadline); <-tick.C {
		u.mu.Lock()
		quiet := time.Since(u.mu.last) > upstreamQuiet
		open := slices.ContainsFunc(u.mu.requests, func(r *request) bool { return !r.complete })
		inFlight := false
		for _, busy := range u.mu.busy {
			inFlight = inFlight || busy
		}
		u.mu.Unlock()
		if quiet && !(open && inFlight) {
			return
		}
	}
}

func (u *recorder) reached() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.mu.requests)
}

func (u *recorder) locked(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

// seen notes the time of each arrival.
type seen struct {
	net.Conn
	u *recorder
}

func (s seen) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.u.locked(func() { s.u.mu.last = time.Now() })
	}
	return n, err
}

func (u *recorder) serve(c net.Conn) {
	in := bufio.NewReaderSize(seen{c, u}, 64<<10)
	for {
		u.locked(func() { u.mu.busy[c] = false })
		if _, err := in.Peek(1); err != nil {
			return
		}
		u.locked(func() { u.mu.busy[c] = true })
		r, headErr := readHead(in)
		if r.honest() {
			if headErr != nil || readBody(in, r) != nil || u.answer(c, r) != nil {
				return
			}
			continue
		}
		var script *testCase
		u.locked(func() {
			u.mu.requests = append(u.mu.requests, r)
			if u.mu.current != nil && u.mu.current.Upstream != nil {
				script = u.mu.current
			}
		})
		if headErr != nil {
			return
		}
		atHead := script != nil && script.UpstreamWhen == "head"
		if atHead && u.play(c, script) != nil {
			return
		}
		if script != nil && script.Tunnel {
			u.locked(func() { r.complete = true }) // an upgrade has no body
			u.echo(c, in)
			return
		}
		if script == nil && r.version == "HTTP/1.1" && slices.Contains(r.fields.tokens("Expect"), "100-continue") {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		body := request{method: r.method, fields: r.fields}
		err := readBody(in, &body)
		u.locked(func() {
			r.body, r.trailers, r.complete = body.body, body.trailers, err == nil
			r.faults = append(r.faults, body.faults...)
		})
		switch {
		case err != nil:
			return
		case script == nil:
			err = u.answer(c, r)
		case !atHead:
			err = u.play(c, script)
		}
		if err != nil {
			return
		}
	}
}

// errClosing says that the upstream has decided to end the connection.
var errClosing = errors.New("the upstream closes")

// play sends a case's answer.
func (u *recorder) play(c net.Conn, script *testCase) error {
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // a gateway that stops reading must not keep us for ever
	for _, s := range script.Upstream {
		switch {
		case s.Reset:
			_ = c.(*net.TCPConn).SetLinger(0)
			return errClosing
		case s.Sleep > 0:
			pause(s.Sleep)
		default:
			if _, err := c.Write(s.Bytes); err != nil {
				return err
			}
		}
	}
	if script.UpstreamClose {
		return errClosing
	}
	return nil
}

// pause is the time a script asks for.
func pause(seconds float64) { <-time.After(time.Duration(seconds * float64(time.Second))) }

// answer is the usual 200: it names the request it belongs to.
func (u *recorder) answer(c net.Conn, r *request) error {
	body := r.method + " " + strconv.QuoteToASCII(r.target) + "\n"
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Target: %s\r\nX-Upstream: recorder\r\n\r\n",
		len(body), strconv.QuoteToASCII(r.target))
	if r.method == "HEAD" {
		body = ""
	}
	if _, err := io.WriteString(c, head+body); err != nil {
		return err
	}
	if slices.Contains(r.fields.tokens("Connection"), "close") ||
		r.version == "HTTP/1.0" && !slices.Contains(r.fields.tokens("Connection"), "keep-alive") {
		return errClosing
	}
	return nil
}

// echo is the upstream's end of a tunnel.
func (u *recorder) echo(c net.Conn, in io.Reader) {
	chunk := make([]byte, 4096)
	for {
		n, err := in.Read(chunk)
		u.locked(func() { u.mu.raw = append(u.mu.raw, chunk[:n]...) })
		if err != nil {
			return
		}
		if _, err := c.Write(chunk[:n]); err != nil {
			return
		}
	}
}

// readHead reads up to an empty line, ended by CRLF or by LF alone. What came is in the request even on error.
func readHead(in *bufio.Reader) (*request, error) {
	r := &request{}
	for {
		line, err := in.ReadSlice('\n')
		r.head = append(r.head, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			r.parseHead()
			return r, err
		}
		if len(r.head) > headBytesMax {
			r.parseHead()
			return r, fmt.Errorf("head of over %d bytes", headBytesMax)
		}
		if err == nil && len(bytes.TrimRight(line, "\r\n")) == 0 && len(bytes.TrimLeft(r.head, "\r\n")) > 0 &&
			(bytes.HasSuffix(r.head, []byte("\n\r\n")) || bytes.HasSuffix(r.head, []byte("\n\n"))) {
			r.parseHead()
			r.faults = append(r.faults, headFaults(r)...)
			return r, nil
		}
	}
}

func (r *request) parseHead() {
	line, rest, _ := bytes.Cut(bytes.TrimLeft(r.head, "\r\n"), []byte("\n"))
	parts := strings.Fields(string(bytes.TrimRight(line, "\r")))
	if len(parts) > 0 {
		r.method = parts[0]
	}
	if len(parts) > 1 {
		r.target = parts[1]
	}
	if len(parts) > 2 {
		r.version = parts[len(parts)-1]
	}
	r.fields = parseFields(rest)
}

func headFaults(r *request) []string {
	faults := lineFaults(r.head, true)
	line, _, _ := bytes.Cut(r.head, []byte("\r\n"))
	parts := strings.Split(string(line), " ")
	if len(parts) != 3 || !isToken([]byte(parts[0])) || parts[1] == "" ||
		parts[2] != "HTTP/1.1" && parts[2] != "HTTP/1.0" {
		faults = append(faults, fmt.Sprintf("request line %.80q", line))
	}
	return faults
}

// readBody reads leniently what a recipient of this head might take for the body, chunked first.
func readBody(in *bufio.Reader, r *request) error {
	if slices.ContainsFunc(r.fields.all("Transfer-Encoding"), func(v string) bool {
		return strings.Contains(strings.ToLower(v), "chunked")
	}) {
		return readChunks(in, r)
	}
	lengths := r.fields.all("Content-Length")
	if len(lengths) == 0 {
		return nil
	}
	length, err := strconv.ParseUint(lengths[0], 10, 62)
	if err != nil {
		return nil // framingFaults reports it
	}
	body, err := io.ReadAll(io.LimitReader(in, int64(length)))
	r.body = body
	if err == nil && uint64(len(body)) < length {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func readChunks(in *bufio.Reader, r *request) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		digits := line[:len(line)-len(strings.TrimLeft(line, "0123456789abcdefABCDEF"))]
		if rest := line[len(digits):]; rest != "\r\n" && !strings.HasPrefix(rest, ";") || strings.ContainsAny(strings.TrimSuffix(rest, "\r\n"), "\r\n\x00") {
			r.faults = append(r.faults, fmt.Sprintf("chunk line %.40q", line))
		}
		size, err := strconv.ParseUint(digits, 16, 62)
		if err != nil {
			r.faults = append(r.faults, fmt.Sprintf("chunk size %.40q", line))
			return fmt.Errorf("reading a chunk size: %w", err)
		}
		if size == 0 {
			return readTrailers(in, r)
		}
		data, err := io.ReadAll(io.LimitReader(in, int64(size)))
		r.body = append(r.body, data...)
		if err != nil {
			return err
		}
		end := make([]byte, 2)
		if _, err := io.ReadFull(in, end); err != nil {
			return err
		}
		if string(end) != "\r\n" {
			r.faults = append(r.faults, fmt.Sprintf("chunk data ends in %q", end))
			return errors.New("chunk without an end")
		}
	}
}

func readTrailers(in *bufio.Reader, r *request) error {
	var block []byte
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			r.trailers = parseFields(block)
			r.faults = append(r.faults, lineFaults(append(block, line...), false)...)
			return nil
		}
		block = append(block, line...)
	}
}

//go:build linux

package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// awaitWithin is the corpus's own bound for an await.
	awaitWithin = 1500 * time.Millisecond
	// answerWithin is how long a case waits for its first whole answer: longer than any pause in a script.
	answerWithin = 2500 * time.Millisecond
	// furtherWithin is how long it waits for the answers of what follows, once there is one.
	furtherWithin = 250 * time.Millisecond
	// extraWithin is how long it listens for bytes that nobody asked for.
	extraWithin = 40 * time.Millisecond
	// closeWithin is how long a gateway that must close may take.
	closeWithin = time.Second
)

// answer is a response the client saw, read strictly: what is not well-formed is in faults.
type answer struct {
	status   int
	version  string
	fields   fields
	body     []byte
	complete bool
	faults   []string
}

// dialogue is what the client saw of one connection.
type dialogue struct {
	interim []*answer
	final   []*answer
	tunnel  []byte // bytes after a 101
	junk    []byte // bytes that belong to no response
	eof     bool   // the gateway closed, in whatever way
	reset   bool
}

// first is the first final answer, or one with status 0.
func (d *dialogue) first() *answer {
	if len(d.final) > 0 {
		return d.final[0]
	}
	return &answer{}
}

func (d *dialogue) whole() int {
	n := 0
	for _, a := range d.final {
		if a.complete {
			n++
		}
	}
	return n
}

// player is the client's end of one connection: it sends a script and collects what comes back.
type player struct {
	c       *net.TCPConn
	ended   sync.WaitGroup
	changed chan struct{} // one element: something new arrived
	mu      struct {
		sync.Mutex
		got   []byte
		eof   bool
		reset bool
	}
}

func dialPlayer(addr string) (*player, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	p := &player{c: c.(*net.TCPConn), changed: make(chan struct{}, 1)}
	p.ended.Go(p.collect)
	return p, nil
}

func (p *player) collect() {
	chunk := make([]byte, 64<<10)
	for {
		n, err := p.c.Read(chunk)
		p.mu.Lock()
		p.mu.got = append(p.mu.got, chunk[:n]...)
		if err != nil {
			p.mu.eof, p.mu.reset = true, !errors.Is(err, io.EOF)
		}
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *player) close() {
	p.c.Close()
	p.ended.Wait()
}

func (p *player) look(c *testCase) *dialogue {
	p.mu.Lock()
	got, eof, reset := p.mu.got[:len(p.mu.got):len(p.mu.got)], p.mu.eof, p.mu.reset
	p.mu.Unlock()
	d := parseDialogue(got, c.method, eof && !reset)
	d.eof, d.reset = eof, reset
	return d
}

// until waits for a state of the dialogue, at most that long, and says whether it came.
func (p *player) until(c *testCase, within time.Duration, reached func(*dialogue) bool) bool {
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		if d := p.look(c); reached(d) {
			return true
		}
		select {
		case <-p.changed:
		case <-over.C:
			return reached(p.look(c))
		}
	}
}

// send plays a script. A write that fails ends it: the gateway has closed, and what it said counts.
func (p *player) send(c *testCase, u *recorder) {
	finals := 0
	for _, s := range c.Raw {
		_ = p.c.SetWriteDeadline(time.Now().Add(5 * time.Second))
		var err error
		switch {
		case s.Fin:
			err = p.c.CloseWrite()
		case s.Sleep > 0:
			pause(s.Sleep)
		case len(s.Drip) > 0:
			for i := 0; i < len(s.Drip) && err == nil; i++ {
				_, err = p.c.Write(s.Drip[i : i+1])
				pause(s.Gap)
			}
		case s.Await == "up":
			p.until(c, awaitWithin, func(*dialogue) bool { return u.reached() > 0 })
		case s.Await == "100":
			p.until(c, awaitWithin, func(d *dialogue) bool { return len(d.interim)+len(d.final) > 0 || d.eof })
		case s.Await == "final":
			finals++
			p.until(c, awaitWithin, func(d *dialogue) bool { return d.whole() >= finals || d.eof })
		default:
			_, err = p.c.Write(s.Bytes)
		}
		if err != nil {
			return
		}
	}
}

// listen waits until the case has shown all it will show.
func (p *player) listen(c *testCase) {
	want := c.answersWanted()
	p.until(c, answerWithin, func(d *dialogue) bool { return d.whole() > 0 || d.eof })
	further := furtherWithin
	if c.RequestMin != nil {
		further = answerWithin // all of them must come
	}
	p.until(c, further, func(d *dialogue) bool { return d.whole() >= want || d.eof || d.whole() == 0 })
	if c.Close == "must" {
		p.until(c, closeWithin, func(d *dialogue) bool { return d.eof })
		return
	}
	p.until(c, extraWithin, func(d *dialogue) bool { return d.eof })
}

// parseDialogue reads the bytes as responses to requests with the given methods.
func parseDialogue(got []byte, method func(int) string, ended bool) *dialogue {
	d := &dialogue{}
	for len(got) > 0 {
		if !bytes.HasPrefix(got, []byte("HTTP/")) {
			if len(got) >= 5 || !bytes.HasPrefix([]byte("HTTP/"), got) || ended {
				d.junk = got
			}
			return d
		}
		a, rest, ok := parseAnswer(got, method(len(d.final)), ended)
		if !ok {
			// A head that has not ended yet: if it never will, it is an answer cut short.
			if ended {
				d.final = append(d.final, a)
			}
			return d
		}
		got = rest
		switch {
		case a.status == 101:
			d.final = append(d.final, a)
			d.tunnel = rest
			return d
		case a.status < 200:
			d.interim = append(d.interim, a)
		default:
			d.final = append(d.final, a)
			if !a.complete {
				return d
			}
		}
	}
	return d
}

// parseAnswer reads one response; ok is false while its head has not ended.
func parseAnswer(got []byte, method string, ended bool) (a *answer, rest []byte, ok bool) {
	a = &answer{}
	end := bytes.Index(got, []byte("\r\n\r\n"))
	upTo := got
	if end >= 0 {
		upTo = got[:end] // and no further: 20,000 interim answers are searched one by one
	}
	if lf := bytes.Index(upTo, []byte("\n\n")); lf >= 0 {
		a.faults = append(a.faults, "head ends in bare LF")
		end = lf - 2
	}
	if end < 0 {
		a.faults = append(a.faults, "head does not end")
		return a, nil, false
	}
	head, rest := got[:end+4], got[end+4:]
	a.faults = append(a.faults, lineFaults(head, true)...)
	line, block, _ := bytes.Cut(head, []byte("\n"))
	a.parseStatusLine(string(bytes.TrimRight(line, "\r")))
	a.fields = parseFields(block)
	a.faults = append(a.faults, framingFaults(a.fields, false)...)

	chunked := len(a.fields.all("Transfer-Encoding")) > 0
	lengths := a.fields.all("Content-Length")
	switch {
	case a.status/100 == 1 || a.status == 204:
		// RFC 9110 sections 8.6 and 9112 section 6.1: neither length nor coding.
		if chunked || len(lengths) > 0 {
			a.faults = append(a.faults, fmt.Sprintf("%d with a length or a coding", a.status))
		}
		a.complete = true
	case method == "HEAD" || a.status == 304 || method == "CONNECT" && a.status/100 == 2:
		a.complete = true
	case chunked:
		rest = a.parseChunks(rest)
	case len(lengths) > 0:
		n, err := strconv.Atoi(lengths[0])
		if err != nil || n < 0 {
			return a, nil, true // in the faults already; nothing after it can be read
		}
		a.complete = len(rest) >= n
		n = min(n, len(rest))
		a.body, rest = rest[:n], rest[n:]
	default:
		a.body, rest, a.complete = rest, nil, ended
	}
	return a, rest, true
}

func (a *answer) parseStatusLine(line string) {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	a.version = version
	status, err := strconv.Atoi(code)
	if version != "HTTP/1.1" && version != "HTTP/1.0" || err != nil || len(code) != 3 || status < 100 {
		a.faults = append(a.faults, fmt.Sprintf("status line %.60q", line))
		return
	}
	a.status = status
}

// parseChunks reads a chunked body; it stays incomplete until the last chunk and its trailers have come.
func (a *answer) parseChunks(rest []byte) []byte {
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return nil
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseUint(string(digits), 16, 40)
		if err != nil {
			a.faults = append(a.faults, fmt.Sprintf("chunk line %.40q", line))
			return nil
		}
		if size == 0 {
			return a.parseTrailers(after)
		}
		if uint64(len(after)) < size+2 {
			a.body = append(slices.Clip(a.body), after[:min(uint64(len(after)), size)]...)
			return nil
		}
		a.body = append(slices.Clip(a.body), after[:size]...)
		if string(after[size:size+2]) != "\r\n" {
			a.faults = append(a.faults, fmt.Sprintf("chunk data ends in %q", after[size:size+2]))
			return nil
		}
		rest = after[size+2:]
	}
}

func (a *answer) parseTrailers(rest []byte) []byte {
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return nil
		}
		rest = after
		if len(line) == 0 {
			a.complete = true
			return rest
		}
		a.faults = append(a.faults, lineFaults(append(slices.Clip(line), "\r\n"...), false)...)
	}
}

//go:build linux

package drills

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// tangled is an upstream that takes pipelined requests and breaks connections at the worst places: inside a head, inside a
// body, between two answers, with requests unanswered behind.
type tangled struct {
	brokenIn int          // one answer in so many
	cut      atomic.Int64 // answers broken after their first byte
	batched  atomic.Int64 // requests that were already there when the one before was answered

	mu   sync.Mutex
	dice *rand.Rand
}

func (o *tangled) roll(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dice.IntN(n)
}

func (o *tangled) serve(c net.Conn) {
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if in.Buffered() > 0 {
			o.batched.Add(1)
		}
		id := r.Header.Get("X-Id")
		body := strings.Repeat(id+" ", 1+o.roll(200))
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body)
		if o.roll(2) == 0 { // the other framing
			answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", id, len(body), body)
		}
		if o.roll(o.brokenIn) == 0 {
			at := o.roll(len(answer))
			if at > 0 {
				o.cut.Add(1)
			}
			if o.roll(2) == 0 {
				reset(c)
			}
			_, _ = io.WriteString(c, answer[:at])
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// Requests share pipelined connections to two upstreams that break at random, while 32 clients send 30,000 of them. No
// client ever sees a byte of another's answer; what broke before its first byte is sent again, so that only answers cut
// in the middle are lost.
func TestPipelinedAnswersAreNeverMixedUp(t *testing.T) {
	const requests = 30_000
	a := &tangled{brokenIn: 300, dice: rand.New(rand.NewPCG(5, 0))}
	b := &tangled{brokenIn: 300, dice: rand.New(rand.NewPCG(6, 0))}
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q, %q], pipeline: 16}}
routes: [{path: /*, cluster: app, retry: {attempts: 3}}]
`, addr, startRaw(t, a.serve), startRaw(t, b.serve)), gateway.Options{})
	var mixed atomic.Int64

	tally := gateway.Load{
		Addr: addr, Clients: 32,
		Request: func(client, n int) string {
			return fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: exam.test\r\nX-Id: %d-%d\r\n\r\n", n, client, n)
		},
		Check: func(client, n int, answer *gateway.Answer) error {
			id := fmt.Sprintf("%d-%d", client, n)
			switch {
			case answer.Status != http.StatusOK:
				return fmt.Errorf("status %d (%s)", answer.Status, answer.Header.Get("X-Yumen-Reason"))
			case answer.Header.Get("X-Id") != id || strings.Trim(strings.ReplaceAll(answer.Body, id, ""), " ") != "":
				mixed.Add(1)
				return fmt.Errorf("MIXED UP: an answer to another request")
			}
			return nil
		},
	}.Run(requests)

	cut := int(a.cut.Load() + b.cut.Load())
	t.Logf("%v; the upstreams cut %d answers short and took %d requests in batches", tally, cut, a.batched.Load()+b.batched.Load())
	if mixed.Load() > 0 {
		t.Errorf("%d answers went to the wrong request", mixed.Load())
	}
	if tally.Failures() > cut {
		t.Errorf("%d requests failed, but only %d answers were cut after their first byte", tally.Failures(), cut)
	}
	if a.batched.Load()+b.batched.Load() == 0 {
		t.Error("no two requests shared a connection: nothing was pipelined")
	}
}

//go:build linux

package drills

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// odds say how often an upstream misbehaves: once in so many requests, 0 for never.
type odds struct {
	stale  int // a close that nobody announced, after an answer
	dead   int // a close in the face of a request on a connection already used, before it is carried out
	silent int // a close instead of an answer, after it was carried out
}

// fickle is an upstream that breaks connections by a die, and keeps a log of what it has carried out.
type fickle struct {
	odds odds
	mu   struct {
		sync.Mutex
		dice     *rand.Rand
		executed map[string]int // times, by request id
	}
}

func newFickle(odds odds, seed uint64) *fickle {
	f := &fickle{odds: odds}
	f.mu.dice = rand.New(rand.NewPCG(seed, 0))
	f.mu.executed = map[string]int{}
	return f
}

// one says whether the die shows the one face in n; never for 0.
func (f *fickle) one(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return n > 0 && f.mu.dice.IntN(n) == 0
}

func (f *fickle) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for used := false; ; used = true {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if used && f.one(f.odds.dead) {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		id := r.Header.Get("X-Id")
		f.mu.Lock()
		f.mu.executed[id]++
		f.mu.Unlock()
		if f.one(f.odds.silent) {
			return
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(id), id); err != nil {
			return
		}
		if f.one(f.odds.stale) {
			return
		}
	}
}

// wantOwnID refuses an answer to another request.
func wantOwnID(client, n int, a *gateway.Answer) error {
	want := fmt.Sprintf("%d-%d", client, n)
	switch {
	case a.Status != http.StatusOK:
		return fmt.Errorf("status %d (%s)", a.Status, a.Header.Get("X-Yumen-Reason"))
	case a.Header.Get("X-Id") != want || a.Body != want:
		return fmt.Errorf("MIXED UP: an answer to another request")
	}
	return nil
}

// Two upstreams close kept connections when they please: after an answer, or in the face of the next request. A GET that
// met such a connection has not been answered by a single byte and is sent again: none fails.
func TestGETMeetsDeadConnectionsAndNeverFails(t *testing.T) {
	const requests = 8000
	a, b := newFickle(odds{stale: 5, dead: 50}, 1), newFickle(odds{stale: 5, dead: 50}, 2)
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q, %q]}}
routes: [{path: /*, cluster: app, retry: {attempts: 3}}]
`, addr, startRaw(t, a.serve), startRaw(t, b.serve)), gateway.Options{})

	tally := gateway.Load{
		Addr: addr, Clients: 8, Check: wantOwnID,
		Request: func(client, n int) string {
			return fmt.Sprintf("GET / HTTP/1.1\r\nHost: exam.test\r\nX-Id: %d-%d\r\n\r\n", client, n)
		},
	}.Run(requests)

	t.Log(tally)
	if tally.Failures() > 0 {
		t.Error("GETs failed that could have been sent again")
	}
}

// Upstreams carry POSTs out and then fall silent, or fall silent first: whichever it was the gateway cannot know, so it
// may fail the request but never send it twice. The upstreams' logs of what they carried out are the judge.
func TestPOSTIsNeverCarriedOutTwice(t *testing.T) {
	const requests = 4000
	dice := odds{stale: 5, dead: 20, silent: 20}
	a, b := newFickle(dice, 3), newFickle(dice, 4)
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q, %q]}}
routes: [{path: /*, cluster: app, retry: {attempts: 3}}]
`, addr, startRaw(t, a.serve), startRaw(t, b.serve)), gateway.Options{})
	var answered sync.Map

	tally := gateway.Load{
		Addr: addr, Clients: 8,
		Request: func(client, n int) string {
			return fmt.Sprintf("POST / HTTP/1.1\r\nHost: exam.test\r\nX-Id: %d-%d\r\nContent-Length: 5\r\n\r\nhello", client, n)
		},
		Check: func(client, n int, answer *gateway.Answer) error {
			err := wantOwnID(client, n, answer)
			if err == nil {
				answered.Store(answer.Body, true)
			}
			return err
		},
	}.Run(requests)

	t.Log(tally)
	executed := map[string]int{}
	for _, f := range []*fickle{a, b} {
		f.mu.Lock()
		for id, times := range f.mu.executed {
			executed[id] += times
		}
		f.mu.Unlock()
	}
	for id, times := range executed {
		if times > 1 {
			t.Errorf("POST %s was carried out %d times", id, times)
		}
	}
	answered.Range(func(id, _ any) bool {
		if executed[id.(string)] != 1 {
			t.Errorf("POST %s was answered with 200 and carried out %d times", id, executed[id.(string)])
		}
		return true
	})
	if len(executed) < requests/2 {
		t.Errorf("only %d of %d POSTs were carried out at all: the drill proves little", len(executed), requests)
	}
}

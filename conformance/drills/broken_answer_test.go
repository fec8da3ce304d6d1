//go:build linux

package drills

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// brokenAnswers is an upstream that breaks off in the way the path names.
func brokenAnswers(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		way := strings.TrimPrefix(r.URL.Path, "/")
		if way == "hangs" {
			_, _ = io.Copy(io.Discard, in) // until the gateway gives up
			return
		}
		if strings.HasSuffix(way, "-reset") {
			reset(c)
		}
		answer, known := map[string]string{
			"ok":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			"length":       "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
			"chunked":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
			"inside-chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this",
			"bad-chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n",
			"close":        "HTTP/1.0 200 OK\r\n\r\nonly this",
			"nothing":      "",
			"half-head":    "HTTP/1.1 200 OK\r\nContent-Le",
			"garbage":      "\x16\x03\x01 this is no HTTP\r\n\r\n",
			"two-lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		}[strings.TrimSuffix(way, "-reset")]
		if !known {
			answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
		}
		if _, err := io.WriteString(c, answer); err != nil || way != "ok" {
			return
		}
	}
}

func startBroken(t *testing.T) (addr string) {
	t.Helper()
	addr = gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /*, cluster: app, timeouts: {first_byte: 300ms}, retry: {attempts: 1}}
`, addr, startRaw(t, brokenAnswers)), gateway.Options{})
	return addr
}

// The upstream's answer is cut after its first bytes: the client must be able to see that, whatever framing is used
// towards it. A gateway that ends the chunks neatly, or drops the length, makes half an answer look whole.
func TestCutAnswerStaysCut(t *testing.T) {
	addr := startBroken(t)
	for _, way := range []string{
		"length", "length-reset", "chunked", "chunked-reset", "inside-chunk", "inside-chunk-reset", "bad-chunk", "close-reset",
	} {
		if a, err := get(addr, "/"+way); err == nil && a.Status < 500 {
			t.Errorf("%s: the client sees a whole answer: %d %q", way, a.Status, a.Body)
		}
		if a, err := get(addr, "/ok"); err != nil || a.Body != "ok" {
			t.Errorf("after %s: %+v, %v", way, a, err)
		}
	}
}

// What the upstream sends is no answer at all: 502, or 504 when it says nothing in time, each with a reason, and nothing of
// it reaches the client.
func TestGarbageAnswerIsRefused(t *testing.T) {
	addr := startBroken(t)
	for way, status := range map[string]int{
		"nothing": 502, "nothing-reset": 502, "half-head": 502, "half-head-reset": 502, "garbage": 502, "two-lengths": 502,
		"hangs": 504,
	} {
		a, err := get(addr, "/"+way)
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		if a.Status != status || a.Header.Get("X-Yumen-Reason") == "" || strings.Contains(a.Body, "no HTTP") {
			t.Errorf("%s: status %d, want %d; reason %q; body %q", way, a.Status, status, a.Header.Get("X-Yumen-Reason"), a.Body)
		}
		if a, err := get(addr, "/ok"); err != nil || a.Body != "ok" {
			t.Errorf("after %s: %+v, %v", way, a, err)
		}
	}
}

//go:build linux

package http1

import (
	"fmt"
	"strings"
	"testing"
)

// The judge is judged first: by columns, and without any gateway.
func TestDeniedPaths(t *testing.T) {
	f := func(target string, byRFC, loosely bool) {
		t.Helper()
		if got := isDenied(rfcPath(target)); got != byRFC {
			t.Errorf("RFC 3986: %q denied: %v, want %v (path %q)", target, got, byRFC, rfcPath(target))
		}
		if got := isDenied(loosePath(target)); got != loosely {
			t.Errorf("loosely: %q denied: %v, want %v (path %q)", target, got, loosely, loosePath(target))
		}
	}
	f("/denied", true, true)
	f("/denied/", true, true)
	f("/denied/x", true, true)
	f("/denied?x=1", true, true)
	f("http://other.test/denied", true, true)
	f("/x/../denied", true, true)
	f("/../denied", true, true)
	f("/%64enied", true, true)
	f("/x/%2e%2E/denied", true, true)
	f("/denied/.", true, true)

	f("/.//denied", false, true)
	f("/denied%2fx", false, true)
	f("/x/..;/denied", false, true)
	f("/denied;x", false, true)
	f(`/x\..\denied`, false, true)
	f("/denied%00", false, true)
	f("/%2564enied", false, true)

	f("/deniedx", false, false)
	f("/x/denied", false, false)
	f("/denied/..", false, false)
	f("/a?b=/denied", false, false)
}

func TestParseDialogue(t *testing.T) {
	f := func(got string, ended bool, want string) {
		t.Helper()
		d := parseDialogue([]byte(got), func(i int) string { return []string{"GET", "HEAD", "GET"}[i] }, ended)
		var b strings.Builder
		fmt.Fprintf(&b, "%d interim", len(d.interim))
		for _, a := range d.final {
			fmt.Fprintf(&b, "; %d %q whole=%v faults=%d", a.status, a.body, a.complete, len(a.faults))
		}
		if len(d.junk) > 0 {
			fmt.Fprintf(&b, "; junk %q", d.junk)
		}
		if b.String() != want {
			t.Errorf("%q\n got %s\nwant %s", got, b.String(), want)
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, `0 interim; 200 "ok" whole=true faults=0`)
	f("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true, `0 interim; 200 "ok" whole=false faults=0`)
	f("HTTP/1.1 200 OK\r\n\r\nok", false, `0 interim; 200 "ok" whole=false faults=0`)
	f("HTTP/1.1 200 OK\r\n\r\nok", true, `0 interim; 200 "ok" whole=true faults=0`)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, `0 interim; 200 "ok" whole=true faults=0`)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", true, `0 interim; 200 "ok" whole=false faults=0`)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true, `0 interim; 200 "" whole=false faults=1`)
	f("HTTP/1.1 103 X\r\nX: y\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false,
		`1 interim; 204 "" whole=true faults=0; 200 "" whole=true faults=0`)
	f("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\npoison", false, `0 interim; 200 "" whole=true faults=0; junk "poison"`)
	f("HTTP/1.1 200 OK\nContent-Length: 0\n\n", true, `0 interim; 200 "" whole=true faults=4`)
	f("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\nX Y: z\r\n\r\n", true, `0 interim; 200 "" whole=true faults=2`)
	f("nonsense", true, `0 interim; junk "nonsense"`)
}

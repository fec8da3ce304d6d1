//go:build linux

package guards

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestRequestsOfARouteAreBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			fmt.Fprint(w, n)
		}
	}))
	t.Cleanup(server.Close)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /watched/*, filters: [sizes: {target_bytes: 100B, body_bytes: 100kB, mode: shadow}], cluster: app}
  - {path: /small/*, filters: [decompress: on, sizes: {target_bytes: 100B, head_bytes: 2KiB, fields: 20, body_bytes: 100kB}], cluster: app}
`, addr, server.Listener.Addr()), gateway.Options{})
	c := plainClient(t)

	f := func(target, fields string, body io.Reader, want string) {
		t.Helper()
		resp := ask(t, c, addr, "POST "+target, fields, body)
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason"))
		if resp.StatusCode == 200 {
			got = "200 " + string(text)
		}
		if got != want {
			t.Errorf("%.40s, %.40s: %s, want %s", target, fields, got, want)
		}
	}
	declared := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
	chunked := func(n int) io.Reader { return struct{ io.Reader }{declared(n)} }
	long := strings.Repeat("x", 100)
	f("/small/a", "", nil, "200 0")
	f("/small/a", "", declared(100_000), "200 100000")
	f("/small/a", "", chunked(100_000), "200 100000")
	f("/small/a", "", declared(100_001), "413 body_too_large")
	f("/small/a", "", chunked(100_001), "413 body_too_large")
	f("/small/a", "", chunked(1_000_000), "413 body_too_large")
	f("/small/a", "Content-Encoding: gzip", strings.NewReader(encoded(t, "gzip", strings.Repeat("x", 100_000))), "200 100000")
	f("/small/a", "Content-Encoding: gzip", strings.NewReader(encoded(t, "gzip", strings.Repeat("x", 100_001))), "413 body_too_large")
	f("/small/"+long, "", nil, "414 long_target")
	f("/small/a?"+long, "", nil, "414 long_target")
	f("/small/a", "X-Long: "+strings.Repeat("x", 2048), nil, "431 large_head")
	f("/small/a", strings.Repeat("X-A: b; ", 20), nil, "431 many_fields")
	f("/watched/"+long, "", nil, "200 0")
	f("/watched/a", "", chunked(200_000), "200 200000")
	f("/watched/a", "", declared(200_000), "200 200000")
	if n, err := p.Metric("yumen_guard_decisions_total", `kind="sizes"`, `mode="shadow"`, `outcome="refused"`); err != nil || n != 3 {
		t.Errorf("%v refusals in shadow, %v", n, err)
	}
}

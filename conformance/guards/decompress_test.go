//go:build linux

package guards

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/yumen-io/yumen/conformance/gateway"
)

// encoded is a body with a coding.
func encoded(t *testing.T, coding, body string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		e, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = e
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRequestsAreDecodedForUpstreamsThatCannot(t *testing.T) {
	whole := make(chan string, 100) // of each request that the upstream took for complete
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		whole <- string(body)
		fmt.Fprintf(w, "%d %s %s", len(body), r.Header.Get("Content-Encoding"), r.Header.Get("Content-Digest"))
	}))
	t.Cleanup(server.Close)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /watched, filters: [decompress: {max_body: 1MB, mode: shadow}], cluster: app}
  - {path: /*, filters: [decompress: {max_body: 1MB}], cluster: app}
`, addr, server.Listener.Addr()), gateway.Options{})
	c := plainClient(t)

	f := func(path, coding, body, want string) {
		t.Helper()
		for len(whole) > 0 {
			<-whole
		}
		resp := ask(t, c, addr, "POST "+path, "Content-Encoding: "+coding+"; Content-Digest: sha-256=:x:", strings.NewReader(body))
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(resp.StatusCode, " ")
		if resp.StatusCode == 200 {
			got += strings.TrimSpace(string(text))
		} else {
			got += resp.Header.Get("X-Yumen-Reason")
			if len(whole) > 0 {
				t.Errorf("%s: the upstream took a body of %d bytes for complete", want, len(<-whole))
			}
		}
		if got != want {
			t.Errorf("%s of %d bytes: %s, want %s", coding, len(body), got, want)
		}
		if accept := resp.Header.Get("Accept-Encoding"); (resp.StatusCode == 415) != (accept == "gzip, br, zstd, deflate") {
			t.Errorf("%s: accepts %q", want, accept)
		}
	}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		body := encoded(t, coding, page)
		f("/up", coding, body, fmt.Sprintf("200 %d", len(page)))
		f("/up", coding, body[:len(body)-1], "400 encoding_truncated")
		f("/up", coding, strings.Repeat("no coding at all ", 10), "400 encoding_malformed")
		f("/up", coding, encoded(t, coding, strings.Repeat("\x00", 3<<20)), "413 decoded_too_large")
		f("/watched", coding, body, fmt.Sprintf("200 %d %s sha-256=:x:", len(body), coding))
		f("/watched", coding, body[:20], fmt.Sprintf("200 20 %s sha-256=:x:", coding))
	}
	f("/up", "gzip, br", encoded(t, "br", encoded(t, "gzip", page)), fmt.Sprintf("200 %d", len(page)))
	f("/up", "gzip, gzip, gzip", "x", "415 too_many_encodings")
	f("/up", "compress", "x", "415 unsupported_encoding")
	f("/up", "identity", "plain", "200 5 identity sha-256=:x:")
	f("/up", "br", encoded(t, "br", page)+"x", "400 encoding_trailing")

	for _, outcome := range []string{"refused", "passed"} {
		for _, mode := range []string{"enforce", "shadow"} {
			n, err := p.Metric("yumen_guard_decisions_total", `kind="decompress"`, fmt.Sprintf("mode=%q", mode), fmt.Sprintf("outcome=%q", outcome))
			if err != nil || n < 4 {
				t.Errorf("%s, %s: %v decisions, %v", mode, outcome, n, err)
			}
		}
	}
}

//go:build linux

package guards

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/yumen-io/yumen/conformance/gateway"
)

// page is a body worth encoding.
var page = strings.Repeat("<p>All work and no play makes Jack a dull boy.</p>\n", 2000)

// compressUpstream answers what its path says.
func compressUpstream(t *testing.T, events chan string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("ETag", `"v1"`)
		switch match := r.Header.Get("If-Match"); {
		case r.Header.Get("If-None-Match") == `W/"v1"`:
			w.WriteHeader(http.StatusNotModified)
			return
		case match != "" && match != `"v1"`: // compared strongly, RFC 9110 13.1.1
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(page)))
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/small", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "small")
	})
	mux.HandleFunc("/picture", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/kept", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "no-transform")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/encoded", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "x-own")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/part", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/1000000", len(page)-1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, page)
		w.Header().Set("X-Sum", "7")
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case e := <-events:
				if e == "" {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", e)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		for range 200 {
			_, _ = io.WriteString(w, page)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// plainClient changes nothing of its own accord.
func plainClient(t *testing.T) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// ask sends a request, "GET /x", with fields "Name: value; Name: value".
func ask(t *testing.T, c *http.Client, addr, request, fields string, body io.Reader) *http.Response {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	req, err := http.NewRequest(method, "http://"+addr+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for f := range strings.SplitSeq(fields, "; ") {
		if name, value, ok := strings.Cut(f, ": "); ok {
			req.Header.Add(name, value)
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// plain reads a body without its coding.
func plain(t *testing.T, resp *http.Response) string {
	t.Helper()
	var r io.Reader = resp.Body
	var err error
	switch resp.Header.Get("Content-Encoding") {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%v behind %d bytes", err, len(text))
	}
	return string(text)
}

func TestAnswersAreEncodedAsTheirClientsLike(t *testing.T) {
	events := make(chan string)
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /own, filters: [compress: on], respond: {status: 200, headers: {content-type: text/plain}, body: %q}}
  - {path: /*, filters: [compress: on], cluster: app}
`, addr, compressUpstream(t, events), strings.Repeat("own ", 1000)), gateway.Options{})
	c := plainClient(t)

	f := func(request, fields, want string) {
		t.Helper()
		resp := ask(t, c, addr, request, fields, nil)
		text := ""
		if !strings.HasPrefix(request, "HEAD") {
			text = plain(t, resp)
		}
		got := fmt.Sprint(resp.StatusCode)
		for _, name := range []string{"Content-Encoding", "Vary", "ETag"} {
			if v := resp.Header.Values(name); len(v) > 0 {
				got += " " + strings.Join(v, ",")
			}
		}
		if resp.ContentLength >= 0 {
			got += fmt.Sprintf(" %d bytes", resp.ContentLength)
		}
		if got != want {
			t.Errorf("%s, %s: %s, want %s", request, fields, got, want)
		}
		if full := strings.HasPrefix(request, "GET") && (resp.StatusCode == 200 || resp.StatusCode == 206); full && len(text) < 5 {
			t.Errorf("%s, %s: %d bytes", request, fields, len(text))
		}
	}
	whole := fmt.Sprintf("%d bytes", len(page))
	f("GET /page", "Accept-Encoding: gzip, deflate, br, zstd", `200 zstd Accept-Encoding W/"v1"`)
	f("GET /page", "Accept-Encoding: gzip, br", `200 br Accept-Encoding W/"v1"`)
	f("GET /page", "Accept-Encoding: gzip", `200 gzip Accept-Encoding W/"v1"`)
	f("GET /page", "Accept-Encoding: gzip;q=0", `200 Accept-Encoding "v1" `+whole)
	f("GET /page", "", `200 Accept-Encoding "v1" `+whole)
	f("HEAD /page", "Accept-Encoding: gzip", `200 gzip Accept-Encoding W/"v1"`)
	f("HEAD /page", "", `200 Accept-Encoding "v1" `+whole)
	f("GET /page", `Accept-Encoding: gzip; If-None-Match: W/"v1"`, `304 Accept-Encoding W/"v1" 0 bytes`)
	f("PUT /page", `Accept-Encoding: gzip; If-Match: W/"v1"`, `200 gzip Accept-Encoding W/"v1"`)
	f("PUT /page", `Accept-Encoding: gzip; If-Match: W/"v2"`, `412 "v1" 0 bytes`)
	f("GET /page", "Accept-Encoding: gzip; Sec-Fetch-Site: cross-site; Cookie: a=b", `200 Accept-Encoding "v1" `+whole)
	f("GET /small", "Accept-Encoding: gzip", "200 5 bytes")
	f("GET /picture", "Accept-Encoding: gzip", "200")
	f("GET /kept", "Accept-Encoding: gzip", "200")
	f("GET /encoded", "Accept-Encoding: gzip", "200 x-own")
	f("GET /part", "Accept-Encoding: gzip", "206")
	f("GET /none", "Accept-Encoding: gzip", "404 19 bytes")

	t.Run("trailers follow the encoded body", func(t *testing.T) {
		resp := ask(t, c, addr, "GET /trailers", "Accept-Encoding: gzip", nil)
		if text := plain(t, resp); text != page {
			t.Errorf("%d bytes", len(text))
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if sum := resp.Trailer.Get("X-Sum"); sum != "7" {
			t.Errorf("the trailer is %q", sum)
		}
	})
	t.Run("an answer of ten megabytes", func(t *testing.T) {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			resp := ask(t, c, addr, "GET /large", "Accept-Encoding: "+coding, nil)
			if text := plain(t, resp); resp.Header.Get("Content-Encoding") != coding || text != strings.Repeat(page, 200) {
				t.Errorf("%s: %d bytes in %q", coding, len(text), resp.Header.Get("Content-Encoding"))
			}
		}
	})
	t.Run("Go's own client", func(t *testing.T) {
		tr := new(http.Transport)
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://" + addr + "/page")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != page || !resp.Uncompressed {
			t.Errorf("%d bytes, %v, uncompressed: %v", len(text), err, resp.Uncompressed)
		}
	})
	t.Run("curl", func(t *testing.T) {
		path, err := exec.LookPath("curl")
		if err != nil {
			t.Skip("there is no curl")
		}
		for _, version := range []string{"--http1.1", "--http1.0"} {
			out, err := exec.Command(path, "-sS", version, "--compressed", "--max-time", "20", "http://"+addr+"/page").Output()
			if err != nil || string(out) != page {
				t.Errorf("%s: %d bytes, %v", version, len(out), err)
			}
		}
	})
	t.Run("events arrive one by one", func(t *testing.T) {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			arrive(t, c, addr, coding, events)
		}
	})
}

// arrive sends the next event only when the one before it has come out of the decoder.
func arrive(t *testing.T, c *http.Client, addr, coding string, events chan string) {
	first := make(chan struct{})
	go func() {
		events <- "first"
		close(first)
	}()
	resp := ask(t, c, addr, "GET /events", "Accept-Encoding: "+coding, nil)
	<-first
	var r io.Reader = resp.Body
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r)
	for i := range 20 {
		if i > 0 {
			events <- fmt.Sprint(i)
		}
		line, err := lines.ReadString('\n')
		if err == nil {
			_, err = lines.ReadString('\n')
		}
		want := fmt.Sprintf("data: %d\n", i)
		if i == 0 {
			want = "data: first\n"
		}
		if err != nil || line != want {
			t.Fatalf("%s: %q, %v, want %q", coding, line, err, want)
		}
	}
	events <- "" // the next client's are not for this one
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Fatalf("%s: %q at the end, %v", coding, rest, err)
	}
}

package filters_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/policy/retry"
	"google.golang.org/protobuf/proto"
)

// frame is a frame of gRPC, or the last of gRPC-Web with flag 0x80.
func frame(flag byte, content string) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(content))), content...))
}

// shelf is the frame of a shelf with a name.
func shelf(tb testing.TB, name string) string {
	b, err := proto.Marshal(set(messages(tb)("library.Shelf"), "name", name))
	check(tb, err)
	return frame(0, string(b))
}

func webSpec() []filters.Spec { return []filters.Spec{{GRPCWeb: &filters.GRPCWeb{}}} }

// decodeText decodes base64 whose groups may be padded anywhere.
func decodeText(tb testing.TB, text string) string {
	tb.Helper()
	var out []byte
	for ; len(text) >= 4; text = text[4:] {
		b, err := base64.StdEncoding.DecodeString(text[:4])
		check(tb, err)
		out = append(out, b...)
	}
	if text != "" {
		tb.Fatalf("%q behind the last group", text)
	}
	return string(out)
}

const (
	web  = "application/grpc-web"
	text = "application/grpc-web-text"
)

// lastLines shows the lines of the last frame, which has to be at the end of body, in order, and what is before it.
func lastLines(tb testing.TB, body string) (before, lines string) {
	tb.Helper()
	rest := body
	for len(rest) >= 5 {
		n := int(binary.BigEndian.Uint32([]byte(rest[1:])))
		if len(rest) < 5+n {
			break
		}
		if rest[0] == 0x80 {
			if len(rest) != 5+n {
				tb.Fatalf("%q is behind the last frame", rest[5+n:])
			}
			all := strings.Split(strings.TrimSuffix(rest[5:], "\r\n"), "\r\n")
			slices.Sort(all)
			return body[:len(body)-len(rest)], strings.Join(all, " ")
		}
		rest = rest[5+n:]
	}
	tb.Fatalf("no last frame in %q", body)
	return "", ""
}

func TestGRPCWebBecomesCalls(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, webSpec(), retry.Config{}, addr)
	for _, front := range fronts {
		t.Run(front, func(t *testing.T) {
			c := r.client(t, front)
			f := func(kind, accept, sent, wantType, wantBody, wantLines string) {
				t.Helper()
				if strings.HasPrefix(kind, text) {
					sent = base64.StdEncoding.EncodeToString([]byte(sent))
				}
				fields := []string{"Content-Type: " + kind, "X-Grpc-Web: 1", "X-Tenant: a"}
				if accept != "" {
					fields = append(fields, "Accept: "+accept)
				}
				resp, body := r.do(t, c, "POST /library.Library/Get", sent, fields...)
				if strings.HasPrefix(wantType, text) {
					body = decodeText(t, body)
				}
				before, lines := lastLines(t, body)
				if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != wantType || before != wantBody || lines != wantLines {
					t.Errorf("%s, %s: %s %s, %q and %s; want %s, %q and %s", kind, accept, resp.Status, got, before, lines, wantType, wantBody, wantLines)
				}
				for name := range resp.Header {
					if strings.HasPrefix(name, "Grpc-") || name == "Trailer" {
						t.Errorf("%s in the head", name)
					}
				}
				if wantBody != "" && resp.Header.Get("X-Tenant-Back") != "a" {
					t.Errorf("metadata: %v", resp.Header)
				}
			}
			const okLines, gone = "grpc-message: grpc-status:0 x-cost:7", "grpc-message:no: 100%25 %C3%A9 grpc-status-details-bin:"
			x := shelf(t, "x")
			f(web, "", x, web+"+proto", x, okLines)
			f(web+"+proto", web, x, web+"+proto", x, okLines)
			f(text, "", x, text+"+proto", x, okLines)
			f(text+"+proto", text+"+proto", x, text+"+proto", x, okLines)
			f(text, web+", "+text, x, web+"+proto", x, okLines)
			f(web, "*/*, "+text, x, text+"+proto", x, okLines)
			f("Application/gRPC-Web+proto; charset=utf-8", "", x, web+"+proto", x, okLines)
			// The upstream's head has the status and there is nothing behind it.
			for _, kind := range []string{web, text} {
				body := shelf(t, "shelves/fail-7")
				if kind == text {
					body = base64.StdEncoding.EncodeToString([]byte(body))
				}
				resp, got := r.do(t, c, "POST /library.Library/Get", body, "Content-Type: "+kind)
				if kind == text {
					got = decodeText(t, got)
				}
				before, lines := lastLines(t, got)
				if before != "" || !strings.HasPrefix(lines, gone) || !strings.HasSuffix(lines, " grpc-status:7") || resp.Header["Grpc-Status"] != nil {
					t.Errorf("%s: %q and %s, %v", kind, before, lines, resp.Header)
				}
			}
			// What is no base64.
			for _, bad := range []string{"AAA", "A\r\nAA", "=AAA", "AA=A", "AAA~"} {
				_, got := r.do(t, c, "POST /library.Library/Get", bad, "Content-Type: "+text)
				if _, lines := lastLines(t, decodeText(t, got)); lines != "grpc-message:the body is not base64, as application/grpc-web-text has to be grpc-status:3" {
					t.Errorf("%q: %s", bad, lines)
				}
			}
			// What is no call of gRPC-Web is let alone: the server says what it thinks of it.
			resp, _ := r.do(t, c, "POST /library.Library/Get", "{}", "Content-Type: application/json")
			if resp.StatusCode != 415 {
				t.Errorf("JSON: %s", resp.Status)
			}
			r.nothingHeld(t)
		})
	}
}

// Padded groups may stand anywhere, and so may cuts.
func TestTextIsCutAnywhere(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, webSpec(), retry.Config{}, addr)
	x := shelf(t, "some name")
	encode := base64.StdEncoding.EncodeToString
	c := r.client(t, "h2c")
	for i := range x {
		sent := encode([]byte(x[:i])) + encode([]byte(x[i:]))
		in, out := io.Pipe()
		go func() {
			for at := range sent {
				io.WriteString(out, sent[at:at+1])
			}
			out.Close()
		}()
		resp := r.open(t, c, "POST /library.Library/Get", in, "Content-Type: "+text)
		body, err := io.ReadAll(resp.Body)
		check(t, err)
		resp.Body.Close()
		if before, _ := lastLines(t, decodeText(t, string(body))); before != x {
			t.Errorf("cut at %d: %q", i, before)
		}
	}
}

// Each message of a stream is there before the next is sent, and what breaks it off is said in a last frame.
func TestWebStreams(t *testing.T) {
	for _, front := range fronts {
		for _, kind := range []string{web, text} {
			t.Run(front+" "+kind, func(t *testing.T) {
				s := newSteps()
				addr, server := serveCalls(t, s.stream(t))
				r := start(t, webSpec(), retry.Config{}, addr)
				c := r.client(t, front)
				item := func(name string) string { return frame(0, "\n"+string(rune(len(name)))+name) }
				open := func() *http.Response {
					t.Helper()
					go func() { s.to <- "one" }()
					body := frame(0, "")
					if kind == text {
						body = base64.StdEncoding.EncodeToString([]byte(body))
					}
					return r.open(t, c, "POST /library.Library/Watch", strings.NewReader(body), "Content-Type: "+kind)
				}
				coded := func(want string) string {
					if kind == text {
						return base64.StdEncoding.EncodeToString([]byte(want))
					}
					return want
				}
				last := func(resp *http.Response, want string) {
					t.Helper()
					b, err := io.ReadAll(resp.Body)
					check(t, err)
					got := string(b)
					if kind == text {
						got = decodeText(t, got)
					}
					if before, lines := lastLines(t, got); before != "" || !strings.HasSuffix(lines, want) {
						t.Errorf("%q and %s, want %s", before, lines, want)
					}
					resp.Body.Close()
				}
				resp := open()
				read(t, resp.Body, coded(item("one")))
				s.to <- "two"
				read(t, resp.Body, coded(item("two")))
				s.to <- "end"
				last(resp, "grpc-status:0")

				resp = open()
				read(t, resp.Body, coded(item("one")))
				s.to <- "fail"
				last(resp, "grpc-message:no more grpc-status:8")

				resp = open()
				read(t, resp.Body, coded(item("one")))
				go server.Stop()
				last(resp, "grpc-status:14")

				// And there is nobody any more.
				resp, got := r.do(t, c, "POST /library.Library/Watch", "", "Content-Type: "+kind)
				if kind == text {
					got = decodeText(t, got)
				}
				_, lines := lastLines(t, got)
				if want := "grpc-message:the upstream refused the connection (connect_failed) grpc-status:14"; lines != want ||
					resp.Header.Get("Content-Type") != kind+"+proto" || resp.Header.Get("X-Yumen-Reason") != "connect_failed" {
					t.Errorf("%s %v %s", resp.Status, resp.Header, lines)
				}
				r.nothingHeld(t)
			})
		}
	}
}

// A server may say anything. What a client of gRPC-Web gets ends with a frame, or does not look whole.
func TestWebAnswersThatAreOdd(t *testing.T) {
	f := func(kind, sent, trailers, want string) {
		t.Helper()
		addr := serveRaw(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
			w.WriteHeader(200)
			io.WriteString(w, sent)
			w.(http.Flusher).Flush()
			if trailers != "" {
				w.Header().Set("Grpc-Status", trailers)
			}
		})
		r := start(t, webSpec(), retry.Config{}, addr)
		resp := r.open(t, r.client(t, "http1"), "POST /a/b", strings.NewReader(""), "Content-Type: "+web)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		got := fmt.Sprintf("%s %q", resp.Header.Get("Content-Type"), b)
		if err != nil {
			got += " cut"
		}
		if got != want {
			t.Errorf("%s %q %s: got %s, want %s", kind, sent, trailers, got, want)
		}
	}
	const noStatus = "grpc-status:2\r\ngrpc-message:the upstream's answer ends without a status\r\n"
	f("application/grpc", "", "0", fmt.Sprintf("%s+proto %q", web, frame(0x80, "grpc-status:0\r\n")))
	f("application/grpc+json", frame(0, "{}"), "0", fmt.Sprintf("%s+json %q", web, frame(0, "{}")+frame(0x80, "grpc-status:0\r\n")))
	f("application/grpc", frame(1, "zip"), "0", fmt.Sprintf("%s+proto %q", web, frame(1, "zip")+frame(0x80, "grpc-status:0\r\n")))
	f("application/grpc", frame(0, "a"), "", fmt.Sprintf("%s+proto %q", web, frame(0, "a")+frame(0x80, noStatus)))
	f("application/grpc", frame(0, "abc")[:6], "0", fmt.Sprintf("%s+proto %q cut", web, frame(0, "abc")[:6]))
	f("application/grpc", "\x00\x00", "0", fmt.Sprintf("%s+proto %q cut", web, "\x00\x00"))
	f("text/html", "<p>sorry", "", `text/html "<p>sorry"`)
}

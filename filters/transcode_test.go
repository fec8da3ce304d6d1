package filters_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/filters/transcode"
	core "github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/retry"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/dynamicpb"
)

// echo answers with what it was asked, and fails as the shelf's name asks for.
func echo(tb testing.TB) handler {
	empty := messages(tb)
	return func(method string, stream grpc.ServerStream) error {
		switch method {
		case "Get", "Put", "Delete":
			m := empty("library.Shelf")
			if err := stream.RecvMsg(m); err != nil {
				return err
			}
			if name, _ := get(m, "name").(string); strings.HasPrefix(name, "shelves/fail-") {
				var code codes.Code
				fmt.Sscan(name[len("shelves/fail-"):], (*uint32)(&code))
				s, _ := status.New(code, "no: 100% é").WithDetails(&errdetails.ErrorInfo{Reason: "GONE", Metadata: map[string]string{"a": "b"}})
				return s.Err()
			}
			md, _ := metadata.FromIncomingContext(stream.Context())
			stream.SetHeader(metadata.Pairs("x-tenant-back", strings.Join(md["x-tenant"], "+"), "x-authority", md[":authority"][0]))
			stream.SetTrailer(metadata.Pairs("x-cost", "7"))
			if deadline, ok := stream.Context().Deadline(); ok && !deadline.IsZero() {
				stream.SetHeader(metadata.Pairs("x-deadline", "yes"))
			}
			return stream.SendMsg(m)
		case "Store":
			m := empty("library.Upload")
			if err := stream.RecvMsg(m); err != nil {
				return err
			}
			file := m.Get(m.Descriptor().Fields().ByName("file")).Message().Interface()
			return stream.SendMsg(file)
		}
		return status.Error(codes.Unimplemented, method)
	}
}

func transcodeSpec(tb testing.TB, change ...func(*transcode.Spec)) []filters.Spec {
	s := &transcode.Spec{Descriptors: libraryDescriptors(tb)}
	for _, c := range change {
		c(s)
	}
	return []filters.Spec{{Transcode: s}}
}

const asJSON = "Content-Type: application/json"

func TestJSONBecomesCalls(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		t.Run(front, func(t *testing.T) {
			c := r.client(t, front)
			f := func(request, body, fields string, wantStatus int, want string) {
				t.Helper()
				resp, text := r.do(t, c, request, body, strings.Split(fields, "\n")...)
				if resp.StatusCode != wantStatus || text != want || resp.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s %s: %d %s %s, want %d %s", request, body, resp.StatusCode, resp.Header.Get("Content-Type"), text, wantStatus, want)
				}
			}
			f("GET /v1/shelves/7?shelf_id=5&items.name=x", "", asJSON, 400,
				`{"code":3,"message":"query parameter items.name: items is repeated, so that it has no fields","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"items.name","description":"items is repeated, so that it has no fields"}]}]}`)
			f("GET /v1/shelves/7?shelf_id=5", "", asJSON, 200, `{"name":"shelves/7","shelfId":"5"}`)
			f("GET /v1/shelves/a%20b", "", asJSON, 200, `{"name":"shelves/a b"}`)
			f("POST /v1/shelves", `{"name":"n","items":[{"name":"tea","price":2}],"shelf_id":7}`, asJSON, 200, `{"name":"n","items":[{"name":"tea","price":2}],"shelfId":"7"}`)
			f("PUT /v1/shelves/9", `{"items":[{}]}`, asJSON+"; charset=utf-8", 200, `{"name":"shelves/9","items":[{}]}`)
			f("POST /v1/shelves", "", "X-None: 1", 200, `{}`)
			f("DELETE /v1/shelves/9", "", "X-None: 1", 200, `{"name":"shelves/9"}`)

			// What the client got wrong, with the place.
			f("POST /v1/shelves", `{"items":[{"price":"two"}]}`, asJSON, 400, `{"code":3,"message":"items[0].price: \"two\" is no int32 (line 1, column 20)","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"items[0].price","description":"\"two\" is no int32"}]}]}`)
			f("POST /v1/shelves", `{"items":[{"prise":2}]}`, asJSON, 400, `{"code":3,"message":"items[0].prise: library.Item has no such field (line 1, column 12)","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"items[0].prise","description":"library.Item has no such field"}]}]}`)
			f("POST /v1/nothing", "", asJSON, 404, `{"code":5,"message":"no service is called by the path \"/v1/nothing\"","details":[]}`)
			f("PATCH /v1/shelves/1", "{}", asJSON, 405, `{"code":12,"message":"\"PATCH\" is not a method of \"/v1/shelves/1\"","details":[]}`)
			f("POST /v1/chat", "{}", asJSON, 501, `{"code":12,"message":"the method takes a stream of messages, which HTTP/JSON cannot send: call it over gRPC","details":[]}`)

			// What the service says.
			for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
				f(fmt.Sprintf("GET /v1/shelves/fail-%d", code), "", asJSON, transcode.HTTPStatus(code), fmt.Sprintf(
					`{"code":%d,"message":"no: 100%% é","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE","metadata":{"a":"b"}}]}`, code))
			}
		})
	}
	if got := r.metric(`reason="translation"`); got == "" {
		t.Error("nobody counted what was refused")
	}
}

func TestHeadsOfTranscodedCalls(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		c := r.client(t, front)
		resp, _ := r.do(t, c, "GET /v1/shelves/7", "", "X-Tenant: a", "X-Tenant: b", "Accept-Encoding: gzip", "Grpc-Timeout: 10S", "Grpc-Encoding: gzip")
		got := resp.Header
		for _, name := range []string{"Grpc-Status", "Grpc-Encoding", "Trailer", "X-Cost", "X-Yumen-Reason", "Grpc-Accept-Encoding"} {
			if got[name] != nil {
				t.Errorf("%s: %s: %v", front, name, got[name])
			}
		}
		if got.Get("X-Tenant-Back") != "a+b" || got.Get("X-Deadline") != "yes" || got.Get("X-Authority") != r.addr || resp.ContentLength != int64(len(`{"name":"shelves/7"}`)) {
			t.Errorf("%s: %v, %d", front, got, resp.ContentLength)
		}
		// HEAD is GET without a body, but not for a stream.
		resp, text := r.do(t, c, "HEAD /v1/shelves/7", "")
		if resp.StatusCode != 200 || text != "" || resp.ContentLength != int64(len(`{"name":"shelves/7"}`)) {
			t.Errorf("%s: HEAD: %v %q %d", front, resp.Status, text, resp.ContentLength)
		}
		resp, _ = r.do(t, c, "HEAD /v1/shelves/7:watch", "")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "DELETE, GET, PUT" {
			t.Errorf("%s: HEAD of a stream: %v, allow %q", front, resp.Status, resp.Header.Get("Allow"))
		}
		resp, _ = r.do(t, c, "PATCH /v1/shelves/7", "")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "DELETE, GET, PUT" || resp.Header.Get("X-Yumen-Reason") != "translation" {
			t.Errorf("%s: PATCH: %v, %v", front, resp.Status, resp.Header)
		}
		resp, _ = r.do(t, c, "GET /v1/shelves/fail-5", "")
		if resp.StatusCode != 404 || resp.Header.Get("X-Yumen-Reason") != "" {
			t.Errorf("%s: what the service said looks like the gateway's: %v", front, resp.Header)
		}
	}
}

// A page of another site can send a form with our cookies, but not JSON that says so.
func TestFormsOfOtherSitesAreNoJSON(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	c := r.client(t, "http1")
	f := func(want int, request, body string, fields ...string) {
		t.Helper()
		resp, text := r.do(t, c, request, body, fields...)
		if resp.StatusCode != want {
			t.Errorf("%s %v: %s %s, want %d", request, fields, resp.Status, text, want)
		}
		if want == 415 && !strings.Contains(text, "content-type: application/json") && !strings.Contains(text, "content-encoding") {
			t.Errorf("%v: %s does not say what to do", fields, text)
		}
	}
	const form, origin = "Content-Type: application/x-www-form-urlencoded", "Origin: https://evil.example"
	f(200, "POST /v1/shelves", "{}", form) // curl -d
	f(415, "POST /v1/shelves", "{}", form, origin)
	f(415, "POST /v1/shelves", "{}", form, "Sec-Fetch-Site: cross-site")
	f(415, "POST /v1/shelves/1:clear", "", form, origin)
	f(415, "POST /v1/shelves", "{}", "Content-Type: text/plain")
	f(415, "POST /v1/shelves", "{}", "Content-Type: text/plain; x=application/json")
	f(415, "POST /v1/shelves", "{}", "Content-Type: multipart/form-data; boundary=x")
	f(200, "POST /v1/shelves", "{}")
	f(415, "POST /v1/shelves", "{}", origin)
	f(200, "POST /v1/shelves", "{}", "Content-Type: application/json", origin)
	f(200, "POST /v1/shelves", "{}", "Content-Type: Application/merge-patch+JSON;charset=utf-8")
	f(415, "POST /v1/shelves", "{}", "Content-Type: +json")
	f(415, "POST /v1/shelves", "{}", asJSON, "Content-Encoding: gzip")
	f(200, "POST /v1/shelves", "{}", asJSON, "Content-Encoding: identity")
	f(200, "GET /v1/shelves/1", "", "Content-Type: text/plain", origin)
	f(200, "POST /v1/files/a", "x=1", form, origin) // a body of any type, as its service asks for
}

func TestBodiesAreBounded(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t, func(s *transcode.Spec) { s.Options.MessageBytesMax = 1000 }), retry.Config{}, addr)
	for _, front := range fronts {
		c := r.client(t, front)
		body := func(n int) string { return `{"name":"` + strings.Repeat("x", n-len(`{"name":""}`)) + `"}` }
		for n, want := range map[int]int{1000: 200, 1001: 413, 100_000: 413} {
			resp := r.open(t, c, "POST /v1/shelves", strings.NewReader(body(n)), asJSON)
			if resp.Body.Close(); resp.StatusCode != want {
				t.Errorf("%s: %d bytes: %s", front, n, resp.Status)
			}
			// Of unknown length.
			resp = r.open(t, c, "POST /v1/shelves", io.MultiReader(strings.NewReader(body(n))), asJSON)
			if resp.Body.Close(); resp.StatusCode != want {
				t.Errorf("%s: %d bytes in parts: %s", front, n, resp.Status)
			}
		}
	}
	r.nothingHeld(t)
}

// A message of megabytes goes both ways.
func TestLargeMessages(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		c := r.client(t, front)
		for _, n := range []int{1 << 10, 70 << 10, 3 << 20} {
			body := `{"name":"` + strings.Repeat("y", n) + `"}`
			if resp, text := r.do(t, c, "POST /v1/shelves", body, asJSON); resp.StatusCode != 200 || text != body {
				t.Errorf("%s: %d: %s, %d bytes", front, n, resp.Status, len(text))
			}
		}
	}
	r.nothingHeld(t)
}

func TestUnknownFieldsMayBeDropped(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t, func(s *transcode.Spec) {
		s.Options.DiscardUnknownFields, s.Options.DiscardUnknownParameters = true, true
		s.Options.AlwaysPrintFields, s.Options.PreserveProtoNames = true, true
	}), retry.Config{}, addr)
	_, text := r.do(t, r.client(t, "http1"), "PUT /v1/shelves/1", `{"nothing":{"a":[1]}}`, asJSON)
	if want := `{"name":"shelves/1","items":[],"shelf_id":"0","blob":""}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestRawBodiesAreNotLookedInto(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		resp, text := r.do(t, r.client(t, front), "POST /v1/files/a", "\x89PNG\x00", "Content-Type: image/png")
		if resp.StatusCode != 200 || text != "\x89PNG\x00" || resp.Header.Get("Content-Type") != "image/png" {
			t.Errorf("%s: %s %q %v", front, resp.Status, text, resp.Header)
		}
	}
}

// Bytes that come one at a time are the same request, and a client that waits to be asked is asked.
func TestABodyByteByByte(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	f := func(head string, body []string) {
		t.Helper()
		conn, err := net.Dial("tcp", r.addr)
		check(t, err)
		defer conn.Close()
		in := bufio.NewReader(conn)
		io.WriteString(conn, "POST /v1/shelves HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"+head+"\r\n\r\n")
		if strings.Contains(head, "Expect") {
			if line, err := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Fatalf("%q, %v", line, err)
			}
			in.ReadString('\n')
		}
		for _, part := range body {
			io.WriteString(conn, part)
		}
		resp, err := http.ReadResponse(in, nil)
		check(t, err)
		text, err := io.ReadAll(resp.Body)
		check(t, err)
		if want := `{"name":"añ"}`; resp.StatusCode != 200 || string(text) != want {
			t.Errorf("%s: %s %s", head, resp.Status, text)
		}
	}
	const body = `{"name":"añ"}`
	f("Content-Length: 14", strings.Split(body, "?"))
	f("Content-Length: 14\r\nExpect: 100-continue", strings.Split(body, "?"))
	var bytes, chunks []string
	for i := range len(body) {
		bytes = append(bytes, body[i:i+1])
		chunks = append(chunks, "1\r\n"+body[i:i+1]+"\r\n")
	}
	f("Content-Length: 14", bytes)
	f("Transfer-Encoding: chunked", append(chunks, "0\r\n\r\n"))
	f("Transfer-Encoding: chunked\r\nExpect: 100-continue", append(chunks, "0\r\nX: y\r\n\r\n"))
}

// steps lets a test's server and client take turns.
type steps struct{ to, back chan string }

func newSteps() *steps { return &steps{make(chan string), make(chan string, 10)} }

// stream sends an item for each word, ends at "end", fails at "fail", and says when its client has gone.
func (s *steps) stream(tb testing.TB) handler {
	empty := messages(tb)
	return func(method string, stream grpc.ServerStream) error {
		in := empty("library.Shelf")
		if method == "Tail" {
			in = empty("library.Upload")
		}
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		for {
			var word string
			select {
			case word = <-s.to:
			case <-stream.Context().Done():
				s.back <- "gone"
				return stream.Context().Err()
			}
			var m *dynamicpb.Message
			switch {
			case word == "end":
				return nil
			case word == "fail":
				return status.Error(codes.ResourceExhausted, "no more")
			case method == "Tail":
				m = set(set(empty("google.api.HttpBody"), "content_type", "text/x-log"), "data", []byte(word))
			case method == "Watch":
				m = set(empty("library.Item"), "name", word)
			default:
				m = set(empty("library.Shelf"), "name", word)
			}
			if err := stream.SendMsg(m); err != nil {
				s.back <- "gone"
				return err
			}
		}
	}
}

// read wants the next part of a body to be that.
func read(tb testing.TB, r io.Reader, want string) {
	tb.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != want {
		tb.Fatalf("got %q, %v, want %q", b[:n], err, want)
	}
}

// ends wants a body to go on with that and end, well or not.
func ends(tb testing.TB, r io.Reader, want string, well bool) {
	tb.Helper()
	if b, err := io.ReadAll(r); string(b) != want || (err == nil) != well {
		tb.Fatalf("the end is %q, %v, want %q", b, err, want)
	}
}

// Each message of a stream is there before the next is sent.
func TestStreams(t *testing.T) {
	s := newSteps()
	addr, _ := serveCalls(t, s.stream(t))
	byAccept := start(t, transcodeSpec(t), retry.Config{}, addr)
	events := start(t, transcodeSpec(t, func(s *transcode.Spec) { s.Stream = transcode.AlwaysEvents }), retry.Config{}, addr)
	lines := start(t, transcodeSpec(t, func(s *transcode.Spec) { s.Stream = transcode.AlwaysLines }), retry.Config{}, addr)
	const (
		one, two   = `{"name":"one"}` + "\n", `{"name":"two"}` + "\n"
		failed     = `{"error":{"code":8,"message":"no more","details":[]}}` + "\n"
		event1     = `data: {"name":"one"}` + "\n\n"
		event2     = `data: {"name":"two"}` + "\n\n"
		failedLast = "event: error\n" + `data: {"code":8,"message":"no more","details":[]}` + "\n\n"
	)
	for _, front := range fronts {
		t.Run(front, func(t *testing.T) {
			f := func(r *running, accept, wantType, first, second, fail string) {
				t.Helper()
				c := r.client(t, front)
				for _, end := range []string{"end", "fail"} {
					go func() { s.to <- "one" }()
					resp := r.open(t, c, "GET /v1/shelves/1:watch", nil, "Accept: "+accept)
					if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != wantType {
						t.Fatalf("%s, %v", resp.Status, resp.Header)
					}
					read(t, resp.Body, first)
					s.to <- "two"
					read(t, resp.Body, second)
					s.to <- end
					if end == "fail" {
						ends(t, resp.Body, fail, true)
					} else {
						ends(t, resp.Body, "", true)
					}
					resp.Body.Close()
				}
				// Before the first message the status is still free, and nothing at all is no error.
				go func() { s.to <- "fail" }()
				if resp, text := r.do(t, c, "GET /v1/shelves/1:watch", "", "Accept: "+accept); resp.StatusCode != 429 || text != `{"code":8,"message":"no more","details":[]}` {
					t.Errorf("%s %s", resp.Status, text)
				}
				go func() { s.to <- "end" }()
				if resp, text := r.do(t, c, "GET /v1/shelves/1:watch", "", "Accept: "+accept); resp.StatusCode != 200 || text != "" || resp.Header.Get("Content-Type") != wantType {
					t.Errorf("%s %s %v", resp.Status, text, resp.Header)
				}
				r.nothingHeld(t)
			}
			f(byAccept, "*/*", "application/x-ndjson", one, two, failed)
			f(byAccept, "text/event-stream", "text/event-stream", event1, event2, failedLast)
			f(events, "*/*", "text/event-stream", event1, event2, failedLast)
			f(lines, "text/event-stream", "application/x-ndjson", one, two, failed)
		})
	}
}

func TestRawStreams(t *testing.T) {
	s := newSteps()
	addr, _ := serveCalls(t, s.stream(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		c := r.client(t, front)
		for _, end := range []string{"end", "fail"} {
			go func() { s.to <- "one" }()
			resp := r.open(t, c, "GET /v1/files/a:tail", nil)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/x-log" {
				t.Fatalf("%s, %v", resp.Status, resp.Header)
			}
			read(t, resp.Body, "one")
			s.to <- "two"
			read(t, resp.Body, "two")
			s.to <- end
			ends(t, resp.Body, "", end == "end") // there is no place for an error in other people's bytes
			resp.Body.Close()
		}
	}
	r.nothingHeld(t)
}

// An upstream that dies says so in JSON, as far as its client can still be told.
func TestAnUpstreamDies(t *testing.T) {
	for _, front := range fronts {
		t.Run(front, func(t *testing.T) {
			s := newSteps()
			addr, server := serveCalls(t, s.stream(t))
			r := start(t, transcodeSpec(t), retry.Config{}, addr)
			c := r.client(t, front)
			go func() { s.to <- "one" }()
			resp := r.open(t, c, "GET /v1/shelves/1:watch", nil)
			read(t, resp.Body, `{"name":"one"}`+"\n")
			go server.Stop()
			var e struct {
				Error struct {
					Code    int
					Message string
				}
			}
			check(t, json.NewDecoder(resp.Body).Decode(&e))
			if e.Error.Code != int(codes.Unavailable) || !strings.HasPrefix(e.Error.Message, "the upstream ") {
				t.Errorf("%+v", e)
			}
			ends(t, resp.Body, "", true)
			resp.Body.Close()

			// And there is nobody any more.
			resp, text := r.do(t, c, "GET /v1/shelves/1", "")
			if want := `{"code":14,"message":"the upstream refused the connection (connect_failed)","details":[]}`; resp.StatusCode != 502 || text != want ||
				resp.Header.Get("X-Yumen-Reason") != "connect_failed" || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %v %s", resp.Status, resp.Header, text)
			}
			r.nothingHeld(t)
		})
	}
}

// A message of a call without a stream was there, and its status never came.
func TestAnUpstreamDiesBeforeTheStatus(t *testing.T) {
	for _, front := range fronts {
		s := newSteps()
		addr, server := serveCalls(t, s.stream(t))
		r := start(t, transcodeSpec(t), retry.Config{Attempts: 3}, addr)
		c := r.client(t, front)
		go func() { s.to <- "one"; server.Stop() }()
		resp, text := r.do(t, c, "GET /v1/shelves/1", "")
		var e struct{ Code int }
		if err := json.Unmarshal([]byte(text), &e); err != nil || resp.StatusCode != 502 || e.Code != int(codes.Unavailable) {
			t.Errorf("%s: %s %s", front, resp.Status, text)
		}
		r.nothingHeld(t)
	}
}

// A client that leaves in the middle takes its call with it. One of HTTP/1 that has said all it has to say may still listen:
// that it does not is seen when it is sent more.
func TestAClientLeaves(t *testing.T) {
	s := newSteps()
	addr, _ := serveCalls(t, s.stream(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		c := r.client(t, front)
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/v1/shelves/1:watch", nil)
		check(t, err)
		go func() { s.to <- "one" }()
		resp, err := c.Do(req)
		check(t, err)
		read(t, resp.Body, `{"name":"one"}`+"\n")
		leave()
		resp.Body.Close()
		for gone := false; !gone; {
			select {
			case s.to <- "more":
			case <-s.back:
				gone = true
			}
		}
	}
	r.nothingHeld(t)
}

// The upstream has the call and said nothing.
func TestAClientLeavesBeforeTheAnswer(t *testing.T) {
	there := make(chan bool)
	addr, _ := serveCalls(t, func(_ string, stream grpc.ServerStream) error {
		there <- true
		<-stream.Context().Done()
		there <- false
		return nil
	})
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	c := r.client(t, "h2c")
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/v1/shelves/1:watch", nil)
	check(t, err)
	go func() {
		<-there
		leave()
	}()
	if resp, err := c.Do(req); err == nil {
		t.Error(resp.Status)
	}
	<-there
	// In the middle of its own body, of which the upstream has heard nothing.
	conn, err := net.Dial("tcp", r.addr)
	check(t, err)
	io.WriteString(conn, "POST /v1/shelves HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":")
	conn.Close()
	r.nothingHeld(t)
}

// A call of gRPC is none of the filter's business.
func TestCallsPassUntouched(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, append(transcodeSpec(t), filters.Spec{GRPCWeb: &filters.GRPCWeb{}}), retry.Config{}, addr)
	conn, err := grpc.NewClient("passthrough:///"+r.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	defer conn.Close()
	empty := messages(t)
	out := empty("library.Shelf")
	check(t, conn.Invoke(t.Context(), "/library.Library/Get", set(empty("library.Shelf"), "name", "x"), out))
	if get(out, "name") != "x" {
		t.Error(out)
	}
	err = conn.Invoke(t.Context(), "/library.Library/Get", set(empty("library.Shelf"), "name", "shelves/fail-5"), out)
	if status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

// A call that its client gives no time is over, whoever is to blame.
func TestADeadline(t *testing.T) {
	s := newSteps()
	addr, _ := serveCalls(t, s.stream(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	for _, front := range fronts {
		resp, text := r.do(t, r.client(t, front), "GET /v1/shelves/1", "", "Grpc-Timeout: 50m")
		if resp.StatusCode != 504 || !strings.HasPrefix(text, `{"code":4,"message":`) {
			t.Errorf("%s: %s %s", front, resp.Status, text)
		}
	}
}

func TestSettingsOfTranscodeThatAreWrong(t *testing.T) {
	f := func(s transcode.Spec, field, cause string) {
		t.Helper()
		_, problems := filters.Compile(filters.Spec{Transcode: &s}, filters.Context{Path: pathPolicy})
		if len(problems) == 0 || problems[0].Field != field || !strings.Contains(problems[0].Cause, cause) {
			t.Errorf("%+v, want %s: %s", problems, field, cause)
		}
	}
	f(transcode.Spec{}, "descriptors", "the descriptor set is empty")
	f(transcode.Spec{Descriptors: []byte("syntax = 3;")}, "descriptors", "this is no descriptor set")
	f(transcode.Spec{Descriptors: libraryDescriptors(t), Options: transcode.Options{Services: []string{"library.Libary"}}}, "services",
		"library.Libary: the descriptor set has no such service; it has library.Library")
}

// A server may say anything: what is no answer to a call becomes 502, or what its status means.
func TestAnswersThatAreOdd(t *testing.T) {
	f := func(request, kind string, status int, sent, trailer string, wantStatus int, want string) {
		t.Helper()
		addr := serveRaw(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			io.WriteString(w, sent)
			w.(http.Flusher).Flush()
			if trailer != "" {
				w.Header().Set("Grpc-Status", trailer)
			}
		})
		r := start(t, transcodeSpec(t), retry.Config{Attempts: 1}, addr)
		c := r.client(t, "http1")
		resp := r.open(t, c, request, nil)
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != wantStatus || string(b) != want || err != nil {
			t.Errorf("%s: %d %s %q %s: got %s %s %v, want %d %s", request, status, kind, sent, trailer, resp.Status, b, err, wantStatus, want)
		}
		if status >= 400 && resp.Header.Get("Retry-After") != "7" {
			t.Errorf("the fields of a refusal are lost: %v", resp.Header)
		}
		r.nothingHeld(t)
	}
	said := func(code codes.Code, text string) string {
		return fmt.Sprintf(`{"code":%d,"message":%q,"details":[]}`, code, text)
	}
	const call = "application/grpc"
	one := shelf(t, "one")
	f("GET /v1/shelves/1", call, 200, one, "0", 200, `{"name":"one"}`)
	f("GET /v1/shelves/1", "application/grpc+proto", 200, one, "0", 200, `{"name":"one"}`)
	f("GET /v1/shelves/1", call, 200, one, "", 502, said(codes.Internal, "the upstream's answer ends without a status"))
	f("GET /v1/shelves/1", call, 200, "", "0", 502, said(codes.Internal, "the upstream's answer has no message"))
	f("GET /v1/shelves/1", call, 200, one+one, "0", 502, said(codes.Internal, "two messages answer a call that is answered with one"))
	f("GET /v1/shelves/1", call, 200, one[:7], "0", 502, said(codes.Internal, "the body ends in the middle of a message"))
	f("GET /v1/shelves/1", call, 200, frame(1, "x"), "0", 502, said(codes.Internal, "a compressed message, though only identity was accepted"))
	f("GET /v1/shelves/1", call, 200, frame(0, "\xff"), "0", 502, said(codes.Internal, "what the upstream sent is no library.Shelf"))
	f("GET /v1/shelves/1", call, 200, "\x00\xff\xff\xff\xff", "0", 502, said(codes.Internal, "a message of 4294967295 bytes, where 4194304 are allowed"))
	f("GET /v1/shelves/1", call, 200, one, "00", 502, said(codes.Internal, `the upstream's answer has the status "00"`))
	f("GET /v1/shelves/1", call, 200, one, "what", 500, said(codes.Unknown, ""))
	f("GET /v1/shelves/1", call, 200, one, "99", 500, said(99, ""))
	f("GET /v1/shelves/1", call, 200, one, "14", 503, said(codes.Unavailable, ""))
	f("GET /v1/shelves/1", "text/html", 200, "<p>hello", "", 502, said(codes.Internal, `the upstream answered 200 and "text/html", which is not gRPC`))
	f("GET /v1/shelves/1", "text/html", 302, "<p>over there", "", 502, said(codes.Internal, `the upstream answered 302 and "text/html", which is not gRPC`))
	f("GET /v1/shelves/1", "text/html", 503, "<p>sorry", "", 503, said(codes.Unavailable, "the upstream answered 503, which is not gRPC"))
	f("GET /v1/shelves/1", call, 404, "", "", 404, said(codes.Unimplemented, "the upstream answered 404, which is not gRPC"))
	// Of a stream, what was good is sent.
	item := frame(0, "\n\x01a")
	const line = `{"name":"a"}` + "\n"
	broken := func(text string) string { return line + `{"error":` + said(codes.Internal, text) + "}\n" }
	f("GET /v1/shelves/1:watch", call, 200, item+item, "0", 200, line+line)
	f("GET /v1/shelves/1:watch", call, 200, item+frame(0, "\xff"), "0", 200, broken("what the upstream sent is no library.Item"))
	f("GET /v1/shelves/1:watch", call, 200, item+"\x00", "0", 200, broken("the body ends in the middle of a message"))
	f("GET /v1/shelves/1:watch", call, 200, item, "", 200, broken("the upstream's answer ends without a status"))
	f("GET /v1/shelves/1:watch", call, 200, frame(0, "\xff"), "0", 502, said(codes.Internal, "what the upstream sent is no library.Item"))
}

// What a call says of its endpoint is what the call's status says, not what its client is told.
func TestCallsAreJudgedByTheirStatus(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	r := start(t, transcodeSpec(t), retry.Config{}, addr)
	c := r.client(t, "http1")
	for _, code := range []codes.Code{codes.NotFound, codes.Internal, codes.Unavailable} {
		r.do(t, c, fmt.Sprintf("GET /v1/shelves/fail-%d", code), "")
	}
	const name = `yumen_upstream_attempts_total{cluster="app",outcome=`
	if got, want := r.metric(name), name+`"gateway_error"} 1`; !strings.Contains(got, want) || !strings.Contains(got, name+`"ok"} 2`) {
		t.Errorf("got %s", got)
	}
}

// A guard refuses in the JSON of the filter's own errors, wherever it stands, and says when to ask again; a call of gRPC-Web that
// passes by the filter is refused in its own words.
func TestGuardsRefuseInJSON(t *testing.T) {
	addr, _ := serveCalls(t, echo(t))
	guard := filters.Spec{Limit: &limit.Spec{Rules: []limit.Rule{{Name: "all", Rate: &core.Config{Count: 1, Per: time.Hour, Burst: 1}}}}}
	for _, specs := range [][]filters.Spec{
		append([]filters.Spec{guard, {GRPCWeb: &filters.GRPCWeb{}}}, transcodeSpec(t)...),
		append(transcodeSpec(t), filters.Spec{GRPCWeb: &filters.GRPCWeb{}}, guard),
	} {
		r := start(t, specs, retry.Config{}, addr)
		for i, front := range fronts {
			c := r.client(t, front)
			if i == 0 {
				if resp, text := r.do(t, c, "GET /v1/shelves/1", ""); resp.StatusCode != 200 {
					t.Fatal(resp.Status, text)
				}
			}
			resp, text := r.do(t, c, "GET /v1/shelves/1", "")
			var got struct {
				Code    int
				Message string
				Details []map[string]string
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil || resp.StatusCode != 429 || resp.Header.Get("Content-Type") != "application/json" ||
				got.Code != 8 || len(got.Details) != 1 || got.Details[0]["@type"] != "type.googleapis.com/google.rpc.RetryInfo" {
				t.Errorf("%v: %s %v %s", err, resp.Status, resp.Header, text)
			}
			if wait, err := time.ParseDuration(got.Details[0]["retryDelay"]); err != nil || wait < 50*time.Minute || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%v: %s, %v", err, text, resp.Header)
			}
			resp, text = r.do(t, c, "POST /library.Library/Get", frame(0, ""), "Content-Type: application/grpc-web+proto")
			if resp.StatusCode != 200 || !strings.HasPrefix(text, "\x80") || !strings.Contains(text, "grpc-status:8\r\n") || !strings.Contains(text, "\r\nretry-after:") {
				t.Errorf("%s %v %q", resp.Status, resp.Header, text)
			}
		}
	}
}

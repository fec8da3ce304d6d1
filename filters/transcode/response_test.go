package transcode

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// wireOf is the message that a document means.
func wireOf(t testing.TB, s *Schema, text string) []byte {
	t.Helper()
	_, wire, fault := call(t, s, "POST /v1/all", text)
	if fault != nil {
		t.Fatal(fault)
	}
	return wire
}

func TestResponses(t *testing.T) {
	f := func(o Options, in, want string) {
		t.Helper()
		s := compileTest(t, o, everything()...)
		var c Converter
		out, fault := c.Response([]byte("x"), s.bindings[0], wireOf(t, s, in))
		if fault != nil || string(out) != "x"+want {
			t.Errorf("%s: got %s, want %s, %v", in, out, want, fault)
		}
	}
	plain, original, numbers := Options{}, Options{PreserveProtoNames: true}, Options{EnumsAsNumbers: true}
	f(plain, `{}`, `{}`)
	f(plain, `{"an_int32":0,"a_string":"","numbers":[],"labels":{}}`, `{}`)
	f(plain, `{"maybe":0,"number":0}`, `{"maybe":0,"number":0}`)
	f(plain, `{"color":"RED","an_int64":5,"colors":[1,9]}`, `{"anInt64":"5","color":"RED","colors":["RED",9]}`)
	f(original, `{"anInt64":5,"item":{}}`, `{"an_int64":"5","item":{}}`)
	f(numbers, `{"color":"RED"}`, `{"color":1}`)
	f(plain, `{"aString":"\u0000\u001f\"\\</é\u2028😀\n\r\t\b"}`, `{"aString":"\u0000\u001f\"\\</é`+"\u2028"+`😀\n\r\t\u0008"}`)
	f(plain, `{"labels":{"b":"2","a":"1"},"byId":{"10":{},"-1":{"price":1},"9":{}}}`, `{"labels":{"a":"1","b":"2"},"byId":{"-1":{"price":1},"9":{},"10":{}}}`)
	f(plain, `{"any":{"@type":"x/test.Item","price":1}}`, `{"any":{"@type":"x/test.Item","price":1}}`)
}

func TestResponseBodyIsAField(t *testing.T) {
	all := everything()
	for i, field := range []string{"item", "tags", "labels", "an_int32", "maybe", "time", "value", "color", "boxed_int"} {
		all = append(all, service(fmt.Sprintf("S%d", i), method("M", "test.All", "test.All", rule("GET /v2/"+field+" response="+field))))
	}
	s := compileTest(t, Options{}, all...)
	f := func(field, in, want string) {
		t.Helper()
		b, _, _ := call(t, s, "GET /v2/"+field, "")
		var c Converter
		out, fault := c.Response(nil, b, wireOf(t, s, in))
		if fault != nil || string(out) != want {
			t.Errorf("%s of %s: got %s, want %s, %v", field, in, out, want, fault)
		}
	}
	f("item", `{"an_int32":1,"item":{"name":"x"},"tags":["a"]}`, `{"name":"x"}`)
	f("item", `{}`, `{}`)
	f("tags", `{"tags":["a","b"]}`, `["a","b"]`)
	f("tags", `{}`, `[]`)
	f("labels", `{"labels":{"a":"b"}}`, `{"a":"b"}`)
	f("labels", `{}`, `{}`)
	f("an_int32", `{"an_int32":5}`, `5`)
	f("an_int32", `{}`, `0`)
	f("maybe", `{"maybe":0}`, `0`)
	f("maybe", `{}`, `null`)
	f("time", `{"time":"2026-01-02T03:04:05Z"}`, `"2026-01-02T03:04:05Z"`)
	f("time", `{}`, `null`)
	f("value", `{"value":[1]}`, `[1]`)
	f("value", `{}`, `null`)
	f("color", `{}`, `"COLOR_UNSPECIFIED"`)
	f("boxed_int", `{}`, `null`)
}

func TestWhatTheUpstreamSendsIsJudged(t *testing.T) {
	s := compileTest(t, Options{MessageBytesMax: 1000, JSONBytesMax: 2000}, everything()...)
	f := func(wire string, reason Reason, path string) {
		t.Helper()
		var c Converter
		out, fault := c.Response([]byte("x"), s.bindings[0], []byte(wire))
		if fault == nil || fault.Status != 502 || fault.Reason != reason || fault.Path != path || fault.Where != InResponse || string(out) != "x" {
			t.Errorf("%s: %s %v", shown(wire), out, fault)
		}
	}
	field := func(number protowire.Number, content string) string {
		return string(protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), content))
	}
	f("\xff", BadMessage, "")
	f("\x08", BadMessage, "")
	f(field(14, "\xff"), BadMessage, "aString")
	f(field(17, "\x0a\xff"), BadMessage, "item")
	f(field(35, "")+field(35, field(1, "\xff")), BadMessage, "items[1].name")
	f(field(30, "\x01\x80"), BadMessage, "numbers[1]")
	f(field(40, field(1, "k")+field(2, "\xff")), BadMessage, `labels["k"]`)
	f(field(40, "\xff"), BadMessage, "labels")
	f(field(50, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), BadMessage, "time")
	f(field(51, "\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), BadMessage, "wait")
	f(field(52, field(1, "a__b")), BadMessage, "mask")
	f(field(54, ""), BadMessage, "value")
	f(field(54, "\x11\x00\x00\x00\x00\x00\x00\xf0\x7f"), BadMessage, "value")
	f(field(56, field(1, "x/test.Absent")), UnknownType, "any")
	f(field(56, field(2, "x")), BadMessage, "any")
	f(field(36, strings.Repeat("\x00", 900)), ResponseTooLarge, "bools[332]")
	f(strings.Repeat("\x08\x01", 501), MessageTooLarge, "")
	deep := ""
	for range nestingMax {
		deep = field(18, deep)
	}
	f(deep, NestingTooDeep, strings.TrimSuffix(strings.Repeat("all.", nestingMax), "."))
}

// A message in very many parts is one message, and takes time by its length, not by the length times the parts: copying it for
// each part would take this test minutes.
func TestAMessageInManyParts(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	part := []byte("\x8a\x01\x0a\x1a\x08\x0a\x06shelf7") // item.inner.name
	entry := []byte("\x12\x0a\x1a\x08\x0a\x06shelf7")    // the value of by_id
	wire := bytes.Repeat(part, 150_000)
	wire = protowire.AppendBytes(protowire.AppendTag(wire, 41, protowire.BytesType), bytes.Repeat(entry, 150_000))
	var c Converter
	out, fault := c.Response(nil, s.bindings[0], wire)
	if want := `{"item":{"inner":{"name":"shelf7"}},"byId":{"0":{"inner":{"name":"shelf7"}}}}`; string(out) != want || fault != nil {
		t.Errorf("got %.200s, %v", out, fault)
	}
}

func TestFormatsOfStreams(t *testing.T) {
	f := func(accept string, want Format) {
		t.Helper()
		if got := FormatFor([]byte(accept)); got != want {
			t.Errorf("%q: %v", accept, got.ContentType())
		}
	}
	f("", Lines)
	f("*/*", Lines)
	f("application/json", Lines)
	f("text/event-stream", Events)
	f("application/json, Text/Event-Stream; q=0.5", Events)
	f("text/event-stream;q=0", Lines)
	f("text/event-stream; q=0.00", Lines)
	f("text/event-stream; q=0.01", Events)
	f("text/event-streams", Lines)

	s := compileTest(t, Options{}, everything()...)
	var c Converter
	for format, want := range map[Format]string{
		Lines:  `{"anInt32":1}` + "\n" + `{"error":{"code":5}}` + "\n",
		Events: `data: {"anInt32":1}` + "\n\nevent: error\n" + `data: {"code":5}` + "\n\n",
	} {
		out, fault := c.Event(nil, s.bindings[0], format, wireOf(t, s, `{"anInt32":1}`))
		if out = EventError(out, format, []byte(`{"code":5}`)); string(out) != want || fault != nil {
			t.Errorf("got %q, want %q", out, want)
		}
		if out, fault := c.Event([]byte("x"), s.bindings[0], format, []byte("\xff")); string(out) != "x" || fault == nil {
			t.Errorf("%q, %v", out, fault)
		}
	}
}

func TestStatusOfTrailers(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	detail := func(m proto.Message) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	details, err := proto.Marshal(&rpcstatus.Status{Code: 99, Message: "other", Details: []*anypb.Any{
		detail(&errdetails.ErrorInfo{Reason: "GONE", Domain: "test", Metadata: map[string]string{"b": "2", "a": "1"}}),
		detail(&errdetails.RetryInfo{RetryDelay: durationpb.New(1500e6)}),
		detail(durationpb.New(1e9)),
		{TypeUrl: "x/test.Item", Value: []byte("\x0a\x01n")},
		{TypeUrl: "x/test.Absent", Value: []byte("\x01\x02")},
		{TypeUrl: "x/test.Item", Value: []byte("\xff")},
		{},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"code":5,"message":"no such thing: \"é\" 100%\n","details":[` +
		`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE","domain":"test","metadata":{"a":"1","b":"2"}},` +
		`{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"},` +
		`{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"},` +
		`{"@type":"x/test.Item","name":"n"},` +
		`{"@type":"x/test.Absent","value":"AQI="},` +
		`{"@type":"x/test.Item","value":"/w=="},` +
		`{"@type":"","value":""}]}`
	var c Converter
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		status := ParseStatus([]byte("5"), []byte("no such thing: %22%c3%A9%22 100%25%0A"), []byte(encoding.EncodeToString(details)))
		if got := string(c.Error(nil, s, status)); got != want || HTTPStatus(status.Code) != 404 {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for i := range details {
		out := c.Error(nil, s, Status{Details: details[:i]})
		document(t, out)
	}
	f := func(status, message, want string) {
		t.Helper()
		if got := string(c.Error(nil, nil, ParseStatus([]byte(status), []byte(message), []byte("!")))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("", "", `{"code":2,"message":"","details":[]}`)
	f("x", "100%", `{"code":2,"message":"100%","details":[]}`)
	f("77", "%zz%f%", `{"code":77,"message":"%zz%f%","details":[]}`)
	f("-1", "%ff", `{"code":2,"message":"`+"\ufffd"+`","details":[]}`)
}

func TestCodesAndHTTP(t *testing.T) {
	want := map[codes.Code]int{
		codes.OK: 200, codes.Canceled: 499, codes.Unknown: 500, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404,
		codes.AlreadyExists: 409, codes.PermissionDenied: 403, codes.Unauthenticated: 401, codes.ResourceExhausted: 429,
		codes.FailedPrecondition: 400, codes.Aborted: 409, codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Internal: 500,
		codes.Unavailable: 503, codes.DataLoss: 500, 17: 500,
	}
	for code, status := range want {
		if got := HTTPStatus(code); got != status {
			t.Errorf("%v: %d", code, got)
		}
	}
	for status, code := range map[int]codes.Code{200: codes.Unknown, 400: codes.Internal, 401: codes.Unauthenticated, 404: codes.Unimplemented, 503: codes.Unavailable} {
		if got := CodeOfHTTP(status); got != code {
			t.Errorf("%d: %v", status, got)
		}
	}
}

func TestBodiesOfFaults(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	_, _, fault := call(t, s, "POST /v1/all", `{"items":[{"price":"x"}]}`)
	want := `{"code":3,"message":"items[0].price: \"x\" is no int32 (line 1, column 20)","details":[` +
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"items[0].price","description":"\"x\" is no int32"}]}]}`
	if got := string(FaultBody(nil, fault)); got != want {
		t.Errorf("got %s", got)
	}
	document(t, FaultBody(nil, &Fault{Status: 501, Code: codes.Unimplemented, Text: "\xff"}))
}

// feed hands in a part of a body.
func feed(r *Frames, p *buf.Pool, b []byte) {
	var in buf.Chain
	in.Append(p, b)
	r.Take(p, &in, len(b))
}

func TestFramesAreCutAnywhere(t *testing.T) {
	messages := []string{"", "a", strings.Repeat("long", 40), "", "end"}
	var body []byte
	for _, m := range messages {
		body = AppendFrame(body, []byte(m))
	}
	check := func(pieces ...[]byte) {
		t.Helper()
		r, p := new(Frames), buf.NewPool(0)
		var got []string
		for _, in := range pieces {
			feed(r, p, in)
			for {
				m, ok, fault := r.Next(p, 0)
				if fault != nil {
					t.Fatal(fault)
				}
				if !ok {
					break
				}
				got = append(got, string(m))
			}
		}
		if strings.Join(got, "|") != strings.Join(messages, "|") || r.End() != nil {
			t.Errorf("%q", got)
		}
	}
	check(body)
	for i := range body {
		check(body[:i], body[i:])
		for j := range i {
			check(body[:j], body[j:i], body[i:])
		}
		r, p := new(Frames), buf.NewPool(0)
		feed(r, p, body[:i])
		for ok := true; ok; {
			_, ok, _ = r.Next(p, 0)
		}
		whole := i == 0 || bytes.Contains([]byte{5, 11, 176, 181}, []byte{byte(i)})
		if (r.End() == nil) != whole {
			t.Errorf("the end at %d: %v", i, r.End())
		}
		if r.Release(p); p.InUse() != 0 {
			t.Errorf("%d bytes are held", p.InUse())
		}
	}
	single := make([][]byte, len(body))
	for i := range body {
		single[i] = body[i : i+1]
	}
	check(single...)
}

func TestFramesThatAreRefused(t *testing.T) {
	f := func(body string, bytesMax int, want Reason) {
		t.Helper()
		r, p := new(Frames), buf.NewPool(0)
		feed(r, p, []byte(body))
		_, ok, fault := r.Next(p, bytesMax)
		if ok || fault == nil || fault.Reason != want || fault.Status != 502 {
			t.Errorf("%q: %v", body, fault)
		}
	}
	f("\x01\x00\x00\x00\x01a", 0, CompressedFrame)
	f("\x02\x00\x00\x00\x01a", 0, BadFrame)
	f("\x00\x00\x00\x00\x03", 2, MessageTooLarge)
	f("\x00\x00\x40\x00\x01", 0, MessageTooLarge)
	f("\x00\xff\xff\xff\xff", 0, MessageTooLarge)
}

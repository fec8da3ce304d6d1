package transcode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// call makes the message of a request, "POST /v1/x?a=b", and says the RPC.
func call(t testing.TB, s *Schema, request, body string) (b *Binding, wire []byte, f *Fault) {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	path, query, _ := strings.Cut(target, "?")
	var captures Captures
	b, allow := s.Match([]byte(method), []byte(path), &captures)
	if b == nil {
		t.Fatalf("%s: no match, allow %v", request, allow)
	}
	var c Converter
	frame, f := c.Request([]byte("before"), b, &captures, []byte(query), []byte("text/plain"), []byte(body))
	if !bytes.HasPrefix(frame, []byte("before")) {
		t.Fatalf("%s: what was in the buffer is gone: %q", request, frame)
	}
	frame = frame[len("before"):]
	if f != nil {
		if len(frame) > 0 {
			t.Fatalf("%s: a fault and %x", request, frame)
		}
		return b, nil, f
	}
	frames, p := new(Frames), buf.NewPool(0)
	feed(frames, p, frame)
	wire, ok, ff := frames.Next(p, 0)
	if !ok || frames.End() != nil || ff != nil {
		t.Fatalf("%s: %x is not one frame: %v", request, frame, ff)
	}
	return b, wire, nil
}

// printed shows a message as JSON, by protojson, with the names of the .proto file.
func printed(t testing.TB, message string, wire []byte, parts ...any) string {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile(parts...)}}
	for _, f := range commonFiles() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	types := dynamicpb.NewTypes(files)
	mt, err := types.FindMessageByURL(message)
	if err != nil {
		t.Fatal(err)
	}
	m := mt.New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: types}).Unmarshal(wire, m); err != nil {
		t.Fatalf("%x: %v", wire, err)
	}
	b, err := protojson.MarshalOptions{Resolver: types, UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		t.Fatal(err)
	}
	return compact.String()
}

// The examples of the comment on google.api.HttpRule, in their order.
func TestExamplesOfTheAnnotation(t *testing.T) {
	type example struct{ request, body, want string }
	f := func(parts []any, examples ...example) {
		t.Helper()
		s := compileTest(t, Options{}, parts...)
		for _, e := range examples {
			b, wire, fault := call(t, s, e.request, e.body)
			if fault != nil {
				t.Errorf("%s: %v", e.request, fault)
				continue
			}
			if got := b.RPC + " " + printed(t, b.input.name, wire, parts...); got != e.want {
				t.Errorf("%s %s:\ngot  %s\nwant %s", e.request, e.body, got, e.want)
			}
		}
	}
	text := messageOf("Message", "string text = 1")
	f([]any{messageOf("GetMessageRequest", "string name = 1"), text,
		service("Messaging", method("GetMessage", "test.GetMessageRequest", "test.Message", rule("GET /v1/{name=messages/*}")))},
		example{"GET /v1/messages/123456", "", `/test.Messaging/GetMessage {"name":"messages/123456"}`},
		example{"GET /v1/messages/a%2Fb%3Bc%20", "", `/test.Messaging/GetMessage {"name":"messages/a%2Fb;c "}`})

	f([]any{messageOf("SubMessage", "string subfield = 1"), text,
		messageOf("GetMessageRequest", "string message_id = 1", "int64 revision = 2", "test.SubMessage sub = 3"),
		service("Messaging", method("GetMessage", "test.GetMessageRequest", "test.Message", rule("GET /v1/messages/{message_id}")))},
		example{"GET /v1/messages/123456?revision=2&sub.subfield=foo", "",
			`/test.Messaging/GetMessage {"message_id":"123456","revision":"2","sub":{"subfield":"foo"}}`},
		example{"GET /v1/messages/a%2Fb%3Bc+", "", `/test.Messaging/GetMessage {"message_id":"a/b;c+"}`})

	f([]any{messageOf("UpdateMessageRequest", "string message_id = 1", "test.Message message = 2"), text,
		service("Messaging", method("UpdateMessage", "test.UpdateMessageRequest", "test.Message", rule("PATCH /v1/messages/{message_id} body=message")))},
		example{"PATCH /v1/messages/123456", `{ "text": "Hi!" }`, `/test.Messaging/UpdateMessage {"message_id":"123456","message":{"text":"Hi!"}}`})

	f([]any{messageOf("Message", "string message_id = 1", "string text = 2"),
		service("Messaging", method("UpdateMessage", "test.Message", "test.Message", rule("PATCH /v1/messages/{message_id} body=*")))},
		example{"PATCH /v1/messages/123456", `{ "text": "Hi!" }`, `/test.Messaging/UpdateMessage {"message_id":"123456","text":"Hi!"}`},
		example{"PATCH /v1/messages/123456", `{ "text": "Hi!", "messageId": "other" }`, `/test.Messaging/UpdateMessage {"message_id":"123456","text":"Hi!"}`},
		example{"PATCH /v1/messages/123456", ``, `/test.Messaging/UpdateMessage {"message_id":"123456"}`})

	f([]any{messageOf("GetMessageRequest", "string message_id = 1", "string user_id = 2"), text,
		service("Messaging", method("GetMessage", "test.GetMessageRequest", "test.Message",
			rule("GET /v1/messages/{message_id}", "GET /v1/users/{user_id}/messages/{message_id}")))},
		example{"GET /v1/messages/123456", "", `/test.Messaging/GetMessage {"message_id":"123456"}`},
		example{"GET /v1/users/me/messages/123456", "", `/test.Messaging/GetMessage {"message_id":"123456","user_id":"me"}`})

	// Verbs, ** and custom methods are in the grammar, without examples.
	f([]any{messageOf("Request", "string name = 1", "test.Message message = 2", "repeated string tags = 3"), text,
		service("Library",
			method("Cancel", "test.Request", "test.Message", rule("POST /v1/{name=operations/**}:cancel body=*")),
			method("GetBook", "test.Request", "test.Message", rule("GET /v1/{name=shelves/*/books/**}")),
			method("Check", "test.Request", "test.Message", rule("HEAD /v1/{name=shelves/*/books/**}")),
			method("Tag", "test.Request", "test.Message", rule("PUT /v1/{message.text}/tags body=tags")))},
		example{"POST /v1/operations/a/b:cancel", "{}", `/test.Library/Cancel {"name":"operations/a/b"}`},
		example{"GET /v1/shelves/1/books/a/b%2fc?tags=x&tags=y", "", `/test.Library/GetBook {"name":"shelves/1/books/a/b%2fc","tags":["x","y"]}`},
		example{"HEAD /v1/shelves/1/books/2?message.text=%41+b", "", `/test.Library/Check {"name":"shelves/1/books/2","message":{"text":"A b"}}`},
		example{"PUT /v1/x/tags", `["a","b"]`, `/test.Library/Tag {"message":{"text":"x"},"tags":["a","b"]}`})
}

func TestQueries(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	f := func(query, want string) {
		t.Helper()
		_, wire, fault := call(t, s, "GET /v1/all?"+query, "")
		got := ""
		if fault != nil {
			got = fault.Error()
		} else {
			got = printed(t, "test.All", wire, everything()...)
		}
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", query, got, want)
		}
	}
	f("", `{}`)
	f("&&", `{}`)
	f("a_bool=true&an_int32=-5&aUint64=18446744073709551615&a_double=NaN", `{"a_bool":true,"an_int32":-5,"a_uint64":"18446744073709551615","a_double":"NaN"}`)
	f("a_string=a%20b%2Bc%26&a_bytes=-_-_", `{"a_string":"a b+c&","a_bytes":"+/+/"}`)
	f("a_string=", `{}`)
	f("a_string", `{}`)
	f("color=RED", `{"color":"RED"}`)
	f("color=2", `{"color":"GREEN"}`)
	f("colors=RED&colors=1&colors=GREEN", `{"colors":["RED","RED","GREEN"]}`)
	f("numbers=1&numbers=2&tags=a&tags=b", `{"numbers":[1,2],"tags":["a","b"]}`)
	f("item.inner.inner.name=x&item.price=3", `{"item":{"price":3,"inner":{"inner":{"name":"x"}}}}`)
	f("time=2026-01-02T03:04:05Z&wait=1.5s&mask=aBool,item.price", `{"time":"2026-01-02T03:04:05Z","wait":"1.500s","mask":"aBool,item.price"}`)
	f("mask=a_bool,display_name", `{"mask":"aBool,displayName"}`)
	f("boxed_int=5&boxed_text=&boxed_bool=false&texts=a&texts=b", `{"boxed_int":"5","boxed_text":"","boxed_bool":false,"texts":["a","b"]}`)
	f("times=2026-01-02T03:04:05Z&times=2026-01-02T03:04:06Z", `{"times":["2026-01-02T03:04:05Z","2026-01-02T03:04:06Z"]}`)

	f("absent=1", `query parameter absent: test.All has no field "absent"`)
	f("item.absent=1", `query parameter item.absent: test.Item has no field "absent"`)
	f("item=1", `query parameter item: item is a message (test.Item), which has no form as a text`)
	f("items.name=1", `query parameter items.name: items is repeated, so that it has no fields`)
	f("labels=1", `query parameter labels: labels is repeated, and one text is one value`)
	f("labels.a=1", `query parameter labels.a: labels is repeated, so that it has no fields`)
	f("time.seconds=1", `query parameter time.seconds: time is google.protobuf.Timestamp, which has no fields here`)
	f("an_int32=1&anInt32=2", `query parameter anInt32: the parameter is given twice`)
	f("an_int32=x", `query parameter an_int32: "x" is no int32`)
	f("an_int32=", `query parameter an_int32: "" is no int32`)
	f("an_int32=2147483648", `query parameter an_int32: "2147483648" is out of the range of int32`)
	f("a_bool=1", `query parameter a_bool: "1" is neither true nor false`)
	f("color=BLUE", `query parameter color: "BLUE" is no member of test.Color`)
	f("wait=1", `query parameter wait: "1" is no duration, such as "1.5s", of at most 315576000000 seconds`)
	f("a_string=%zz", `query parameter a_string: a '%' without two hexadecimal digits`)
	f("a_string=%f", `query parameter a_string: a '%' without two hexadecimal digits`)
	f("%zz=1", `query parameter ["%zz"]: a '%' without two hexadecimal digits`)
	f("a_string=%ff", `query parameter a_string: the text is not UTF-8`)
	f(".=1", `query parameter .: test.All has no field ""`)
	f("=1", `query: test.All has no field ""`)
}

func TestFieldsAreBoundOnce(t *testing.T) {
	f := func(o Options, request, body, want string) {
		t.Helper()
		s := compileTest(t, o, everything()...)
		_, wire, fault := call(t, s, request, body)
		got := ""
		if fault != nil {
			got = fault.Error()
		} else {
			got = printed(t, "test.All", wire, everything()...)
		}
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", request, got, want)
		}
	}
	strict, lenient := Options{}, Options{DiscardUnknownParameters: true}
	f(strict, "PUT /v1/all/x?an_int32=1", `{"price":2}`, `{"an_int32":1,"a_string":"x","item":{"price":2}}`)
	f(strict, "PUT /v1/all/x", `null`, `{"a_string":"x"}`)
	f(strict, "PUT /v1/all/x?item.name=y", `{"price":2}`, "query parameter item.name: the field is in the body")
	f(strict, "PUT /v1/all/x?a_string=y", ``, "query parameter a_string: the field is in the path")
	f(strict, "POST /v1/all?an_int32=1", `{}`, "query parameter an_int32: the method takes its fields from path and body, none from the query")
	f(strict, "GET /v1/all", `{}`, "the method takes no body: its fields are in path and query (line 1, column 1)")
	f(strict, "GET /v1/all", " \n", `{}`)
	f(lenient, "PUT /v1/all/x?item.name=y&a_string=y&absent=1&an_int32=1", `{"price":2}`, `{"an_int32":1,"a_string":"x","item":{"price":2}}`)
	f(lenient, "POST /v1/all?an_int32=1", `{}`, `{}`)
	f(lenient, "GET /v1/all?an_int32=x", ``, `query parameter an_int32: "x" is no int32`)
	f(strict, "PUT /v1/all/%ff", ``, "path variable a_string: the text is not UTF-8")
}

func TestFaultsNameThePath(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	f := func(body string, reason Reason, path string, line, column int, text string) {
		t.Helper()
		_, _, fault := call(t, s, "POST /v1/all", body)
		if fault == nil {
			t.Errorf("%s: taken", body)
			return
		}
		got := fmt.Sprintf("%d %s %s %s %d:%d %s", fault.Status, fault.Where, fault.Reason, fault.Path, fault.Line, fault.Column, fault.Text)
		if want := fmt.Sprintf("400 body %s %s %d:%d %s", reason, path, line, column, text); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", body, got, want)
		}
	}
	f(`[1]`, WrongType, "", 1, 1, "an array where an object (test.All) is wanted")
	f(`{"absent": 1}`, UnknownField, "absent", 1, 2, "test.All has no such field")
	f(`{"a b": 1}`, UnknownField, `["a b"]`, 1, 2, "test.All has no such field")
	f("{\n  \"items\": [\n    {\"price\": 1},\n    {},\n    {\"price\": \"x\"}\n  ]\n}", WrongType, "items[2].price", 5, 15, `"x" is no int32`)
	f(`{"items": [{"inner": {"prize": 1}}]}`, UnknownField, "items[0].inner.prize", 1, 23, "test.Item has no such field")
	f(`{"items": [{}, 5]}`, WrongType, "items[1]", 1, 16, "a number where an object (test.Item) is wanted")
	f(`{"items": {}}`, WrongType, "items", 1, 11, "an object where an array of test.Item is wanted")
	f(`{"anInt32": 3000000000}`, OutOfRange, "anInt32", 1, 13, `"3000000000" is out of the range of int32`)
	f(`{"anInt32": 1.5}`, WrongType, "anInt32", 1, 13, `"1.5" is no integer, where int32 is wanted`)
	f(`{"an_int32": true}`, WrongType, "anInt32", 1, 14, "a boolean where int32 is wanted")
	f(`{"aUint32": -1}`, OutOfRange, "aUint32", 1, 13, `"-1" is out of the range of uint32`)
	f(`{"aBool": "true"}`, WrongType, "aBool", 1, 11, "a string where bool is wanted")
	f(`{"aString": 5}`, WrongType, "aString", 1, 13, "a number where string is wanted")
	f(`{"aString": {}}`, WrongType, "aString", 1, 13, "an object where string is wanted")
	f(`{"aFloat": 1e40}`, OutOfRange, "aFloat", 1, 12, `"1e40" is out of the range of float`)
	f(`{"aBytes": "?"}`, BadValue, "aBytes", 1, 12, "the text is not base64")
	f(`{"color": "BLUE"}`, BadValue, "color", 1, 11, `"BLUE" is no member of test.Color`)
	f(`{"numbers": [1, 2, "x"]}`, WrongType, "numbers[2]", 1, 20, `"x" is no int32`)
	f(`{"numbers": [1, null]}`, WrongType, "numbers[1]", 1, 17, "null where int32 is wanted")
	f(`{"labels": {"a b": 5}}`, WrongType, `labels["a b"]`, 1, 20, "a number where string is wanted")
	f(`{"byId": {"7": {"price": "é"}}}`, WrongType, `byId["7"].price`, 1, 26, `"é" is no int32`)
	f(`{"byId": {"x": {}}}`, WrongType, `byId["x"]`, 1, 11, "a key that is no int64")
	f(`{"byId": {"\u0037": {"price": "\u0041"}}}`, WrongType, `byId["7"].price`, 1, 31, `"A" is no int32`)
	f(`{"labels": {"a":"","a":""}}`, DuplicateField, `labels["a"]`, 1, 27, "a key is there twice")
	f(`{"item":{}, "item":{}}`, DuplicateField, "item", 1, 13, "the field is given twice")
	f(`{"an_int32":1, "anInt32":1}`, DuplicateField, "anInt32", 1, 16, "the field is given twice")
	f(`{"number":1, "text":"x"}`, DuplicateField, "text", 1, 14, "another field of the same oneof is given already")
	f(`{"time": "yesterday"}`, BadValue, "time", 1, 10, `"yesterday" is no time of RFC 3339 between the years 1 and 9999`)
	f(`{"object": {"a": [1, tru]}}`, BadJSON, `object["a"][1]`, 1, 22, "an unknown word, where true may be meant")
	f(`{"any": {"@type": "x/test.Item", "prize": 1}}`, UnknownField, "any.prize", 1, 34, "test.Item has no such field")
	f(`{"any": {"@type": "x/test.Absent"}}`, UnknownType, "any.@type", 1, 9, `the service does not know the type "x/test.Absent"`)
	f(`{"any": {"price": 1}}`, BadValue, "any.@type", 1, 9, "a google.protobuf.Any without its type")
	f(`{"item": {"name": "x"`, BadJSON, "item", 1, 22, `the end where ',' or '}' is wanted`)
	f(`{"item": {"name": "x}}`, BadJSON, "item.name", 1, 19, "a string without an end")
	f(`{"numbers": [1,]}`, BadJSON, "numbers[1]", 1, 16, `a comma before ']'`)
	f(`{"aBool": true} x`, BadJSON, "", 1, 17, `"x" behind the end of the document`)
	f(`{"aBool": true`+"\n\n  ?", BadJSON, "", 3, 3, `"?" where ',' or '}' is wanted`)
	f(`{"item": +}`, BadJSON, "item", 1, 10, `"+" where a value is wanted`)
	f(`{'a': 1}`, BadJSON, "", 1, 2, `"'" where a name in quotes is wanted`)
	f(strings.Repeat(`{"all":`, 200), NestingTooDeep, strings.TrimSuffix(strings.Repeat("all.", 100), "."), 1, 701, "more than 100 levels of nesting")
}

func TestNestingTooDeep(t *testing.T) {
	s := compileTest(t, Options{DiscardUnknownFields: true}, everything()...)
	f := func(open, closing string, deepest int) {
		t.Helper()
		for n, want := range map[int]bool{deepest: true, deepest + 1: false} {
			_, _, fault := call(t, s, "POST /v1/all", `{"value":`+strings.Repeat(open, n)+"1"+strings.Repeat(closing, n)+"}")
			if (fault == nil) != want || fault != nil && fault.Reason != NestingTooDeep {
				t.Errorf("%d of %s: %v", n, open, fault)
			}
		}
	}
	f("[", "]", nestingMax-1)
	f(`{"a":`, "}", nestingMax-1)
	_, _, fault := call(t, s, "POST /v1/all", `{"unknown":`+strings.Repeat("[", 1<<20))
	if fault == nil || fault.Reason != NestingTooDeep {
		t.Error(fault)
	}
	any := `{"@type":"x/google.protobuf.Any","value":`
	_, _, fault = call(t, s, "POST /v1/all", `{"any":`+strings.Repeat(any, 9)+"{}"+strings.Repeat("}", 9)+"}")
	if fault == nil || fault.Reason != NestingTooDeep || !strings.Contains(fault.Text, "google.protobuf.Any") {
		t.Error(fault)
	}
}

func TestBodyTooLarge(t *testing.T) {
	s := compileTest(t, Options{MessageBytesMax: 20}, everything()...)
	_, _, fault := call(t, s, "POST /v1/all", `{"aString":"abcdef"}`)
	if fault != nil {
		t.Error(fault)
	}
	_, _, fault = call(t, s, "POST /v1/all", `{"aString":"abcdefg"}`)
	if fault == nil || fault.Reason != BodyTooLarge || fault.Status != 413 {
		t.Error(fault)
	}
	// The message may be larger than what it is made of, too.
	_, _, fault = call(t, s, "GET /v1/all?far=1&far=2&far=3", "")
	if fault == nil || fault.Reason != DuplicateField {
		t.Error(fault)
	}
	_, _, fault = call(t, s, "GET /v1/all?a_string=12345678901234567890", "")
	if fault == nil || fault.Reason != BodyTooLarge {
		t.Error(fault)
	}
}

func TestTooManyParameters(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	for n, want := range map[int]bool{parametersMax: true, parametersMax + 1: false} {
		_, _, fault := call(t, s, "GET /v1/all?"+strings.Repeat("numbers=1&", n), "")
		if (fault == nil) != want || fault != nil && fault.Reason != TooManyParams {
			t.Errorf("%d: %v", n, fault)
		}
	}
}

func TestTooManyEntries(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	for n, want := range map[int]bool{mapEntriesMax: true, mapEntriesMax + 1: false} {
		var body strings.Builder
		var wire []byte
		for i := range n {
			fmt.Fprintf(&body, `,"%d":{}`, i)
			wire = protowire.AppendBytes(protowire.AppendTag(wire, 41, protowire.BytesType), protowire.AppendVarint([]byte{8}, uint64(i)))
		}
		_, _, fault := call(t, s, "POST /v1/all", `{"byId":{`+body.String()[1:]+`}}`)
		if (fault == nil) != want || fault != nil && (fault.Reason != TooManyEntries || fault.Status != 400) {
			t.Errorf("%d: %v", n, fault)
		}
		var c Converter
		_, fault = c.Response(nil, s.Bindings()[0], wire)
		if (fault == nil) != want || fault != nil && (fault.Reason != TooManyEntries || fault.Status != 502) {
			t.Errorf("%d back: %v", n, fault)
		}
	}
}

func TestClientStreaming(t *testing.T) {
	parts := append(everything(), service("S", method("M", "stream test.Item", "stream test.Item", rule("POST /v2/a body=*"))))
	s := compileTest(t, Options{}, parts...)
	b, _, fault := call(t, s, "POST /v2/a", "{}")
	if fault == nil || fault.Status != 501 || fault.Reason != ClientStreaming || b.Refusal() == nil {
		t.Error(fault)
	}
}

func TestRawBodies(t *testing.T) {
	parts := append(everything(), messageOf("Upload", "string name = 1", "google.api.HttpBody file = 2"),
		service("S",
			method("Echo", "google.api.HttpBody", "google.api.HttpBody", rule("POST /v2/echo body=*")),
			method("Up", "test.Upload", "test.Upload", rule("PUT /v2/{name} body=file response=file"))))
	s := compileTest(t, Options{}, parts...)
	b, wire, fault := call(t, s, "POST /v2/echo", "\x00raw{")
	if fault != nil || printed(t, "google.api.HttpBody", wire, parts...) != `{"content_type":"text/plain","data":"AHJhd3s="}` {
		t.Errorf("%x %v", wire, fault)
	}
	var c Converter
	contentType, data, fault := c.Raw(b, wire)
	if !b.RawResponse() || string(contentType) != "text/plain" || string(data) != "\x00raw{" || fault != nil {
		t.Errorf("%s %q %v", contentType, data, fault)
	}
	b, wire, fault = call(t, s, "PUT /v2/x", "raw")
	if fault != nil || printed(t, "test.Upload", wire, parts...) != `{"name":"x","file":{"content_type":"text/plain","data":"cmF3"}}` {
		t.Errorf("%x %v", wire, fault)
	}
	contentType, data, fault = c.Raw(b, wire)
	if !b.RawResponse() || string(contentType) != "text/plain" || string(data) != "raw" || fault != nil {
		t.Errorf("%s %q %v", contentType, data, fault)
	}
	for i := range wire {
		c.Raw(b, wire[:i])
	}
	if _, _, fault := c.Raw(b, []byte("\x12\x05\x0a\x03a\nb")); fault == nil {
		t.Error("a content type with a line break")
	}
}

// After a long document the next short one must be as if it were the first, and the memory must go.
func TestAConverterIsUsedAgain(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	b := s.bindings[0]
	var c Converter
	long := []byte(`{"items":[` + strings.Repeat(`{"inner":{"name":"\u0041"}},`, 20000) + `{}]}`)
	first, fault := c.Request(nil, b, &Captures{}, nil, nil, long)
	if fault != nil {
		t.Fatal(fault)
	}
	if text, fault := c.Response(nil, b, first[FrameHeadBytes:]); fault != nil || len(text) < 20000 {
		t.Fatal(fault)
	}
	c.Request(nil, b, &Captures{}, nil, nil, []byte(`{"items":[{"inner":{"labels":`))
	c.Response(nil, b, []byte("\xff"))
	if cap(c.encoder.marks)*16 > scratchKeptBytes || cap(c.printer.records)*12 > scratchKeptBytes {
		t.Error("scratch of a long document is kept")
	}
	frame, fault := c.Request(nil, b, &Captures{}, nil, nil, []byte(`{"item":{"name":"x"}}`))
	if fault != nil || string(frame) != "\x00\x00\x00\x00\x06\x8a\x01\x03\x0a\x01x" {
		t.Errorf("%q %v", frame, fault)
	}
}

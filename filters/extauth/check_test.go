package extauth

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func option(name, text string, action core.HeaderValueOption_HeaderAppendAction) *core.HeaderValueOption {
	return &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, Value: text}, AppendAction: action}
}

func allows(ok *auth.OkHttpResponse) *auth.CheckResponse {
	return &auth.CheckResponse{Status: &status.Status{}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok}}
}

func denies(d *auth.DeniedHttpResponse) *auth.CheckResponse {
	return &auth.CheckResponse{Status: &status.Status{Code: 7}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: d}}
}

// show says what became of an answer.
func show(v *verdict, ok bool) string {
	if !ok {
		return "no answer"
	}
	text := fmt.Sprintf("%d %d", v.says, v.status)
	for _, c := range v.changes {
		text += fmt.Sprintf(" %d:%s=%s", c.do, c.name, c.value)
	}
	for _, c := range v.client {
		text += fmt.Sprintf(" client:%s=%s", c.Name, c.Value)
	}
	if v.body != nil {
		text += " body:" + string(v.body)
	}
	if v.once {
		text += " once"
	}
	return text
}

// The messages are made by Envoy's own types.
func TestAnswersByCall(t *testing.T) {
	yes := option("X-User", "alice", core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	appended := option("X-Group", "a", core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	//lint:ignore SA1019 services go on setting it
	appended.Append = wrapperspb.Bool(true)
	raw := &core.HeaderValueOption{Header: &core.HeaderValue{Key: "x-raw", RawValue: []byte("r")}}
	for _, c := range []struct {
		name   string
		answer *auth.CheckResponse
		want   string
	}{
		{"nothing", &auth.CheckResponse{}, "no answer"},
		{"a plain yes", &auth.CheckResponse{Status: &status.Status{}}, "0 200"},
		{"a yes without a status", &auth.CheckResponse{HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{}}}, "0 200"},
		{"fields", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{yes, appended, raw}, HeadersToRemove: []string{"authorization"}}),
			"0 200 1:X-User=alice 2:X-Group=a 1:x-raw=r 0:authorization="},
		{"actions", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{
			option("a", "1", core.HeaderValueOption_ADD_IF_ABSENT), option("b", "2", core.HeaderValueOption_OVERWRITE_IF_EXISTS), option("c", "3", core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)}}),
			"0 200 3:a=1 4:b=2 1:c=3"},
		{"for the client", allows(&auth.OkHttpResponse{ResponseHeadersToAdd: []*core.HeaderValueOption{option("Set-Cookie", "a=b", 0)}}), "0 200 client:set-cookie=a=b once"},
		{"a body's length", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("Content-Length", "1", 0)}}), "no answer"},
		{"a pseudo-header", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option(":path", "/admin", 0)}}), "no answer"},
		{"the host", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("Host", "x", 0)}}), "no answer"},
		{"removes what is not its own", allows(&auth.OkHttpResponse{HeadersToRemove: []string{"X-Forwarded-For"}}), "no answer"},
		{"a line end", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("a", "b\r\nc: d", 0)}}), "no answer"},
		{"a name with a space", allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("a b", "c", 0)}}), "no answer"},
		{"a line end for the client", denies(&auth.DeniedHttpResponse{Headers: []*core.HeaderValueOption{option("a", "b\nc", 0)}}), "no answer"},
		{"the query", allows(&auth.OkHttpResponse{QueryParametersToRemove: []string{"a"}}), "no answer"},
		{"changes_max", allows(&auth.OkHttpResponse{HeadersToRemove: strings.Split(strings.Repeat("a,", changesMax)+"a", ",")}), "no answer"},
		{"a plain no", &auth.CheckResponse{Status: &status.Status{Code: 16}}, "1 403"},
		{"yes by status, no by answer", &auth.CheckResponse{Status: &status.Status{}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{}}}, "no answer"},
		{"no by status, yes by answer", &auth.CheckResponse{Status: &status.Status{Code: 7}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{}}}, "1 403"},
		{"a refusal", denies(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 429}, Headers: []*core.HeaderValueOption{option("Retry-After", "3", 0)}, Body: "slow down"}),
			"1 429 client:retry-after=3 client:content-type=text/plain; charset=utf-8 body:slow down"},
		{"a redirect", denies(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 302}, Headers: []*core.HeaderValueOption{option("Location", "/login", 0)}}), "2 302 client:location=/login once"},
		{"a status that is none", denies(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 200}}), "1 403"},
		{"refusal_body_max", denies(&auth.DeniedHttpResponse{Body: strings.Repeat("x", 101)}), "1 403"},
	} {
		b, err := proto.Marshal(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		if got := show(readCheck(b, 100)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		for cut := range b { // a message that ends early may be a shorter one, which Envoy's own types read alike
			var twin auth.CheckResponse
			v, ok := readCheck(b[:cut], 100)
			if err := proto.Unmarshal(b[:cut], &twin); err != nil && ok {
				t.Errorf("%s, cut at %d: %s, and Envoy's types say %v", c.name, cut, show(v, ok), err)
			}
		}
	}
	if got := show(readCheck([]byte{0x2a, 0}, 100)); got != "no answer" { // error_response
		t.Errorf("an error lets pass: %s", got)
	}
}

func FuzzReadCheck(f *testing.F) {
	b, _ := proto.Marshal(allows(&auth.OkHttpResponse{Headers: []*core.HeaderValueOption{option("a", "b", 1)}, HeadersToRemove: []string{"c"}}))
	f.Add(b)
	b, _ = proto.Marshal(denies(&auth.DeniedHttpResponse{Status: &kind.HttpStatus{Code: 401}, Body: "x"}))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := readCheck(b, 100)
		if !ok {
			return
		}
		if len(v.changes) > changesMax || len(v.client) > changesMax+1 || len(v.body) > 100 {
			t.Errorf("more than there may be: %s", show(v, ok))
		}
		for _, c := range v.changes {
			if !isName(string(c.name)) || bytes.ContainsAny(c.value, "\r\n\x00") {
				t.Errorf("%q: %q", c.name, c.value)
			}
		}
		// Whatever lets pass here lets pass by Envoy's types.
		var twin auth.CheckResponse
		if err := proto.Unmarshal(b, &twin); err == nil && v.says == yes && twin.GetStatus().GetCode() != 0 {
			t.Errorf("%x lets pass, with status %d", b, twin.GetStatus().GetCode())
		}
	})
}

func TestTheQuestionIsEnvoys(t *testing.T) {
	q := question{client: "192.0.2.1", principal: "spiffe://a/b", at: time.Unix(1000, 7), id: "id", method: "PUT", path: "/a?b=\xff", host: "h:80", scheme: "https", size: -1,
		protocol: "HTTP/1.1", fields: [][2]string{{"authorization", "Bearer \xe9"}, {"cookie", "a=b; c=d"}}}
	var m auth.CheckRequest
	if err := (proto.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(q.append(nil), &m); err != nil {
		t.Fatal(err)
	}
	if n := len(m.ProtoReflect().GetUnknown()); n != 0 {
		t.Errorf("%d bytes that Envoy does not know", n)
	}
	a, h := m.GetAttributes(), m.GetAttributes().GetRequest().GetHttp()
	got := fmt.Sprintln(a.GetSource().GetAddress().GetSocketAddress().GetAddress(), a.GetSource().GetPrincipal(), a.GetRequest().GetTime().AsTime().UnixNano(),
		h.GetId(), h.GetMethod(), h.GetPath(), h.GetHost(), h.GetScheme(), h.GetSize(), h.GetProtocol(), h.GetHeaders()["authorization"], h.GetHeaders()["cookie"], len(h.GetHeaders()))
	if want := "192.0.2.1 spiffe://a/b 1000000000007 id PUT /a?b=\uFFFD h:80 https -1 HTTP/1.1 Bearer \uFFFD a=b; c=d 2\n"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

package grpcweb

import (
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// headOf makes the head of a request with these fields, name after value.
func headOf(method string, fields ...string) *message.Head {
	h := new(message.Head)
	h.Method = h.StoreString(method)
	h.Length = 10
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

func TestHeadsOfCalls(t *testing.T) {
	f := func(method, kind, accept string, wantType string, want Asked) {
		t.Helper()
		fields := []string{"Content-Type", kind, "X-Grpc-Web", "1", "X-User-Agent", "page"}
		if accept != "" {
			fields = append(fields, "Accept", accept)
		}
		h := headOf(method, fields...)
		a, ok := Rewrite(h)
		got, _ := h.Get(message.ContentType)
		if a != want || ok != (wantType != "") || ok && string(got) != wantType || !ok && string(got) != kind {
			t.Errorf("%s %s: %+v %s", method, kind, a, got)
		}
		_, mark := h.Field([]byte("x-grpc-web"))
		_, agent := h.Field([]byte("x-user-agent"))
		if mark == ok || !agent || ok && h.Has(message.Accept) {
			t.Errorf("%s %s: x-grpc-web %v, x-user-agent %v", method, kind, mark, agent)
		}
		if unknown := h.Length == message.UnknownLength; unknown != (ok && a.TextIn) {
			t.Errorf("%s %s: length %d", method, kind, h.Length)
		}
	}
	f("POST", "application/grpc-web", "", "application/grpc", Asked{})
	f("POST", "application/grpc-web+proto", "", "application/grpc+proto", Asked{})
	f("POST", "application/grpc-web+json;charset=utf-8", "", "application/grpc+json", Asked{})
	f("POST", "application/grpc-web ; x=y+z", "", "application/grpc", Asked{})
	f("POST", "Application/GRPC-Web-Text", "", "application/grpc", Asked{true, true})
	f("POST", "application/grpc-web-text+proto", "application/grpc-web", "application/grpc+proto", Asked{true, false})
	f("POST", "application/grpc-web", "text/html, application/grpc-web-text+proto", "application/grpc", Asked{false, true})
	f("POST", "application/grpc-web", "application/grpc-web, application/grpc-web-text", "application/grpc", Asked{})
	f("POST", "application/grpc", "", "", Asked{})
	f("POST", "application/grpc-webs", "", "", Asked{})
	f("POST", "application/grpc-web-texts", "", "", Asked{})
	f("POST", "application/json", "application/grpc-web", "", Asked{})
	f("GET", "application/grpc-web", "", "", Asked{})
	f("OPTIONS", "application/grpc-web-text", "", "", Asked{})
}

func TestACallAllocatesNothing(t *testing.T) {
	var home calls
	p := buf.NewPool(0)
	var in, held, out buf.Chain
	var trailers message.Fields
	h := new(message.Head)
	run := func() {
		h.Reset()
		h.Method = h.StoreString("POST")
		h.AddString("Content-Type", "application/grpc-web-text")
		a, _ := Rewrite(h)
		k := home.open(a)
		in.AppendString(p, "AAAAAAA=")
		k.RequestBody(&in, in.Len(), &held, p, true)
		h.Reset()
		h.Status = 200
		h.AddString("Content-Type", "application/grpc")
		k.ResponseHead(h)
		k.ResponseBody(&held, held.Len(), &out, p)
		trailers.Reset()
		trailers.AddString("Grpc-Status", "0")
		k.ResponseEnd(&trailers, &out, p)
		out.Release(p)
		k.Release(p)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if p.InUse() != 0 {
		t.Errorf("%d bytes are held", p.InUse())
	}
}

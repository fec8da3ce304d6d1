package local

import (
	"bytes"
	"testing"

	"github.com/yumen-io/yumen/kit/mq"
)

func TestHeadersCutAnywhereAreDamagedOrFewer(t *testing.T) {
	whole := appendHeaders(nil, []mq.Header{{Key: "a", Value: []byte("bc")}, {Key: "", Value: nil}, {Key: "dd", Value: bytes.Repeat([]byte("x"), 300)}})
	headers, err := parseHeaders(whole)
	if err != nil || len(headers) != 3 || headers[0].Key != "a" || len(headers[2].Value) != 300 {
		t.Fatalf("%v, %v", headers, err)
	}
	for n := range whole {
		headers, err := parseHeaders(whole[:n])
		if err == nil && len(headers) == 3 {
			t.Fatalf("cut at %d: %v", n, headers)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(appendHeaders(nil, []mq.Header{{Key: "a", Value: []byte("b")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		headers, err := parseHeaders(b)
		if err != nil {
			return
		}
		again, err := parseHeaders(appendHeaders(nil, headers))
		if err != nil || len(again) != len(headers) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

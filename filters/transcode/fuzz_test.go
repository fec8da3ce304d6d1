package transcode

import (
	"bytes"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// FuzzRequest: nothing panics, what is taken is what protojson takes and means the same, and its JSON leads to the same message
// again.
func FuzzRequest(f *testing.F) {
	for _, text := range samples {
		f.Add([]byte(text), []byte("an_int32=1&item.name=%41&time=2026-01-02T03:04:05Z&mask=a_b&numbers=1&color=1"), []byte("/v1/all/x%2Fy"))
	}
	s, d, types := everythingSchema(f, Options{})
	w := plainWay{d: d, types: types}
	f.Fuzz(func(t *testing.T, body, query, path []byte) {
		compareBothWays(t, s, w, body)
		var c Converter
		var captures Captures
		frame, fault := c.Request(nil, s.bindings[1], &Captures{}, query, nil, nil)
		if fault == nil {
			compareJSON(t, s, w, frame[FrameHeadBytes:])
		}
		if b, _ := s.Match([]byte("PUT"), path, &captures); b != nil {
			if frame, fault := c.Request(nil, b, &captures, query, nil, body); fault == nil {
				compareJSON(t, s, w, frame[FrameHeadBytes:])
			}
		}
	})
}

// FuzzResponse: whatever the upstream sends, we and protojson print the same.
func FuzzResponse(f *testing.F) {
	s, d, types := everythingSchema(f, Options{})
	w := plainWay{d: d, types: types}
	for _, text := range samples {
		if wire, err := w.wire([]byte(text)); err == nil {
			f.Add(wire)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		compareJSON(t, s, w, wire)
		var c Converter
		document(t, c.Error(nil, s, ParseStatus([]byte("5"), wire, wire)))
		document(t, c.Error(nil, s, Status{Details: wire}))
	})
}

// FuzzFrames: however a body is cut, the same messages and the same end come out of it.
func FuzzFrames(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, []byte("one")), nil), 3)
	f.Add([]byte("\x00\x00\x00\x00\x05abc"), 1)
	f.Add([]byte("\x01\x00\x00\x00\x05abc"), 1)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		read := func(pieces ...[]byte) (out []byte, reason Reason) {
			r, p := new(Frames), buf.NewPool(0)
			for _, in := range pieces {
				feed(r, p, in)
				for {
					m, ok, fault := r.Next(p, 1000)
					if fault != nil {
						return out, fault.Reason
					}
					if !ok {
						break
					}
					out = AppendFrame(out, m)
				}
			}
			if fault := r.End(); fault != nil {
				return out, fault.Reason
			}
			return out, ""
		}
		if cut < 0 || cut > len(body) {
			cut = len(body) / 2
		}
		whole, reason := read(body)
		parts, partsReason := read(body[:cut], body[cut:])
		if !bytes.Equal(whole, parts) || reason != partsReason {
			t.Fatalf("%q %s, in parts %q %s", whole, reason, parts, partsReason)
		}
		if !bytes.HasPrefix(body, whole) || reason == "" && len(whole) != len(body) {
			t.Fatalf("%q read as %q", body, whole)
		}
	})
}

package block

import (
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// FuzzReader: whatever bytes come as a block, behind another that fills the table: no panic, the same in one piece and in
// two, the bounds are kept, and what is let in goes out as the same message, in HTTP/2 and in HTTP/1.
func FuzzReader(f *testing.F) {
	for _, c := range samples {
		b := encode(c.block)
		f.Add(uint8(c.kind), b, uint16(len(b)/2))
	}
	for _, c := range bad {
		f.Add(uint8(Trailers), []byte(c.block), uint16(1))
	}
	f.Add(uint8(Request), []byte("\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf"), uint16(5))
	first := []byte("\x82\x87\x84\x41\x09exam.test\x40\x06cookie\x03a=b\x58\x08no-cache\x40\x02te\x08trailers")
	f.Fuzz(func(t *testing.T, kind uint8, b []byte, cut uint16) {
		k, at := Kind(kind%3), min(int(cut), len(b))
		read := func(pieces ...[]byte) string {
			var r Reader
			r.Init(nil)
			if got := story(&r, Request, first); got != "GET exam.test / len=-1 [cookie: a=b] [cache-control: no-cache] [te: trailers]" {
				t.Fatal(got)
			}
			return story(&r, k, pieces...)
		}
		whole := read(b)
		if halves := read(b[:at], b[at:]); halves != whole {
			t.Errorf("cut at %d\n%s\nwhole\n%s", at, halves, whole)
		}
		var (
			r Reader
			h message.Head
		)
		r.Init(nil)
		story(&r, Request, first)
		r.Begin(k, &h)
		err := r.Write(b)
		stream, connection := r.End()
		if h.RawLen() > 2*r.limits.ListBytesMax || len(h.All()) > 1+r.limits.FieldsMax+1+r.limits.CrumbsMax+1 {
			t.Errorf("%d bytes and %d fields are kept", h.RawLen(), len(h.All()))
		}
		if err == nil && stream == nil && connection == nil {
			checkPassesOn(t, k, b, &h)
		}
	})
}

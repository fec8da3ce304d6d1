package h2

import (
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// Frames that are no event cost work. A paced connection stops after so many bytes of them, says so, and goes on when it is
// asked again; what is an event is never held up.
func TestPace(t *testing.T) {
	const frame = 9 + 8 // PING
	pings := ""
	for range 20 {
		pings += "\x00\x00\x08\x06\x01\x00\x00\x00\x00ACK-ACK."
	}
	f := func(pace, atLeast int) {
		t.Helper()
		pool := buf.NewPool(0)
		var in, out buf.Chain
		var c Server
		c.Init(NewLimits(Limits{}))
		c.Start(&out, pool)
		c.Pace(pace)
		in.AppendString(pool, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"+pings)
		calls := 0
		for in.Len() > 0 {
			before := in.Len()
			e, err := c.Next(&in, &out, pool, &message.Head{})
			if err != nil || e.Kind != message.None {
				t.Fatalf("event %v, %v", e.Kind, err)
			}
			if calls++; c.Paused() != (in.Len() > 0) {
				t.Errorf("pace %d: with %d bytes left, Paused is %v", pace, in.Len(), c.Paused())
			}
			if n := before - in.Len(); pace > 0 && n > pace+24+frame {
				t.Errorf("pace %d: %d bytes at once", pace, n)
			}
		}
		if calls < atLeast || pace == 0 && calls > 1 {
			t.Errorf("pace %d: %d calls, want %d", pace, calls, atLeast)
		}
		in.Release(pool)
		out.Release(pool)
	}
	f(0, 1)
	f(1<<20, 1)
	f(10*frame, 2)
	f(1, 21)
}

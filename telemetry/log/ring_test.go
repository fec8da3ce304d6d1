package log

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

func testRing(size int) *Ring {
	return newRing(size, textMax, newSampler(1, false, 0), make(chan struct{}, 1))
}

// told is what a record says after it went through a ring, as a person would write it.
func told(e entry) string {
	client, known := e.client()
	var begins [texts + 1]uint32
	e.split(&begins)
	var b strings.Builder
	fmt.Fprintln(&b, e.start(), e.num(atDuration), e.num(atFirstByte), e.num(atBytesIn), e.num(atBytesOut),
		e.num(atRevision), e.short(atAttempts), e.short(atStatus), client, known, e.wasCut())
	for i := range texts {
		fmt.Fprintf(&b, "%d=%q\n", i, e[begins[i]:begins[i+1]])
	}
	return b.String()
}

// toldDirectly is the slow twin of encode, ring and decode: it never leaves the Record.
func toldDirectly(rec *Record) string {
	all := [texts]string{string(rec.RequestID), rec.Listener, string(rec.Method), string(rec.Host), string(rec.Path),
		string(rec.Query), rec.Protocol, rec.Reason, rec.Guard, rec.Shadow, rec.Route, rec.Cluster, rec.Endpoint, string(rec.UserAgent), string(rec.Referer)}
	for i, h := range rec.Headers {
		all[textHeaders+i] = string(h)
	}
	cut := false
	for i, text := range all {
		if len(text) > int(textMax[i]) {
			all[i], cut = text[:textMax[i]], true
		}
	}
	var b strings.Builder
	fmt.Fprintln(&b, rec.Start, int64(rec.Duration), int64(rec.FirstByte), rec.BytesIn, rec.BytesOut,
		rec.Revision, min(rec.Attempts, 65535), rec.Status, rec.Client, rec.Client.IsValid(), cut)
	for i, text := range all {
		fmt.Fprintf(&b, "%d=%q\n", i, text)
	}
	return b.String()
}

func drawRecord(t *rapid.T) *Record {
	bytesOf := func(name string) []byte {
		n := rapid.SampledFrom([]int{0, 1, 7, 30, 255, 256, 3000}).Draw(t, name)
		return bytes.Repeat([]byte{byte(n) | 1}, n)
	}
	rec := &Record{
		Start:     mono.Time(rapid.Int64Min(0).Draw(t, "start")),
		Duration:  time.Duration(rapid.Int64().Draw(t, "duration")),
		FirstByte: 6,
		BytesIn:   rapid.Int64Min(0).Draw(t, "in"),
		BytesOut:  1 << 40,
		Revision:  9,
		Attempts:  rapid.SampledFrom([]int{0, 1, 1 << 20}).Draw(t, "attempts"),
		Status:    rapid.IntRange(0, 599).Draw(t, "status"),
		Client: rapid.SampledFrom([]netip.AddrPort{
			{}, netip.MustParseAddrPort("10.1.2.3:4"), netip.MustParseAddrPort("[2001:db8::1]:65535"),
			netip.MustParseAddrPort("[::ffff:10.1.2.3]:4"),
		}).Draw(t, "client"),
		Listener:  "web",
		Route:     string(bytesOf("route")),
		RequestID: bytesOf("id"),
		Method:    bytesOf("method"),
		Path:      bytesOf("path"),
		Query:     bytesOf("query"),
		UserAgent: bytesOf("agent"),
	}
	rec.Headers[0], rec.Headers[HeadersMax-1] = bytesOf("header"), bytesOf("last header")
	return rec
}

// The ring beside a slice that is obviously a queue.
func TestRingIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := testRing(ringBytesMin)
		var queue []string
		var sizes []uint64
		dropped := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				rec := drawRecord(t)
				var s shape
				s.measure(rec, &r.limits)
				used := r.waiting()
				r.Add(rec)
				if r.dropped.Load() == dropped {
					queue = append(queue, toldDirectly(rec))
					sizes = append(sizes, uint64(s.size()))
				} else {
					// A record that must move to the start wastes less than its own size at the end.
					if room := ringBytesMin - used; room >= 2*uint64(s.size()) {
						t.Fatalf("dropped %d bytes with %d free", s.size(), room)
					}
					dropped++
				}
				if r.waiting() > ringBytesMin {
					t.Fatalf("%d bytes in a ring of %d", r.waiting(), ringBytesMin)
				}
			},
			"read some": func(t *rapid.T) {
				end := r.head.Load()
				for range rapid.IntRange(0, 40).Draw(t, "records") {
					e := r.next(end)
					if e == nil {
						if len(queue) > 0 {
							t.Fatalf("ring is empty, the queue has %d", len(queue))
						}
						break
					}
					if got := told(e); got != queue[0] {
						t.Fatalf("read\n%s\nwant\n%s", got, queue[0])
					}
					queue, sizes = queue[1:], sizes[1:]
				}
				r.release()
				var sum uint64
				for _, s := range sizes {
					sum += s
				}
				if r.waiting() < sum {
					t.Fatalf("%d bytes waiting, less than the %d unread", r.waiting(), sum)
				}
			},
		})
	})
}

func TestWriterIsCalledOnceWhenTheRingPassesHalf(t *testing.T) {
	r := testRing(ringBytesMin)
	rec := usualRecord()
	calls := 0
	fill := func() {
		for r.waiting() < ringBytesMin*3/4 {
			r.Add(rec)
			select {
			case <-r.wake:
				calls++
			default:
			}
		}
	}
	fill()
	if calls != 1 {
		t.Fatalf("%d calls on the way to three quarters, want 1", calls)
	}
	r.read = r.head.Load()
	r.release()
	fill()
	if calls != 2 {
		t.Fatalf("%d calls after the ring was emptied and filled again, want 2", calls)
	}
}

func TestFullRingDropsAndCounts(t *testing.T) {
	r := testRing(ringBytesMin)
	rec := usualRecord()
	for r.dropped.Load() == 0 {
		r.Add(rec)
	}
	for range 9 {
		r.Add(rec)
	}
	if n := r.dropped.Load(); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
}

func TestBiggestRecordFitsTheSmallestRingSeveralTimes(t *testing.T) {
	var all shape
	all.lengths = textMax
	if all.size()*4 > ringBytesMin || all.size()*6 > lineBytesMax {
		t.Errorf("a record can have %d bytes, a ring as few as %d, a line up to %d", all.size(), ringBytesMin, lineBytesMax)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	r := testRing(ringBytesMin)
	rec := usualRecord()
	if n := testing.AllocsPerRun(1000, func() { r.Add(rec) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestSampling(t *testing.T) {
	kept := func(s sampler, statuses ...int) (list []int) {
		for i := range 1000 {
			if s.keep(statuses[i%len(statuses)]) {
				list = append(list, i)
			}
		}
		return list
	}
	if n := len(kept(newSampler(1, false, 1), 200)); n != 1000 {
		t.Errorf("sample 1 keeps %d of 1000", n)
	}
	tenth := kept(newSampler(0.1, false, 1), 200)
	if n := len(tenth); n < 60 || n > 140 {
		t.Errorf("sample 0.1 keeps %d of 1000", n)
	}
	if fmt.Sprint(tenth) != fmt.Sprint(kept(newSampler(0.1, false, 1), 200)) {
		t.Error("the same seed keeps other records")
	}
	if fmt.Sprint(tenth) == fmt.Sprint(kept(newSampler(0.1, false, 2), 200)) {
		t.Error("another seed keeps the same records")
	}
	if n := len(kept(newSampler(1e-9, false, 1), 500, 599, 200, 404)); n != 500 {
		t.Errorf("%d kept of 500 errors and 500 others, want the errors", n)
	}
	if n := len(kept(newSampler(1e-9, true, 1), 500)); n != 0 {
		t.Errorf("%d errors kept although errors are sampled", n)
	}
}

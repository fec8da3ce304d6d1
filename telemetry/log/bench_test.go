package log

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// usualRecord is what a request of a browser through a proxy leaves.
func usualRecord() *Record {
	return &Record{
		Start:     mono.Now(),
		Duration:  1234567 * time.Nanosecond,
		FirstByte: 900 * time.Microsecond,
		BytesIn:   420,
		BytesOut:  1530,
		Revision:  7,
		Attempts:  1,
		Status:    200,
		Client:    netip.MustParseAddrPort("192.0.2.17:51234"),
		Listener:  "web",
		Protocol:  "HTTP/1.1",
		Route:     "/users/:id",
		Cluster:   "app",
		Endpoint:  "10.0.0.1:9000",
		RequestID: []byte("01hzy3v5k8m2n4p6q8r0s2t4v6"),
		Method:    []byte("GET"),
		Host:      []byte("www.example.com"),
		Path:      []byte("/users/12345"),
		UserAgent: []byte("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"),
	}
}

func benchAccess(b *testing.B, c AccessConfig) *Access {
	b.Helper()
	c.Loops = 1
	a, err := newAccess(c)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// BenchmarkAdd is the loop's share.
func BenchmarkAdd(b *testing.B) {
	r := benchAccess(b, AccessConfig{Output: io.Discard}).Ring(0)
	rec := usualRecord()
	b.ReportAllocs()
	for b.Loop() {
		r.Add(rec)
		r.read = r.head.Load()
		r.release()
	}
}

// BenchmarkRecord is all that a record costs: the ring, the encoding, and its share of a write to a file.
func BenchmarkRecord(b *testing.B) {
	all, usual := Fields()
	for _, fields := range [][]string{usual, all} {
		b.Run(fmt.Sprint("fields=", len(fields)), func(b *testing.B) {
			a := benchAccess(b, AccessConfig{Path: filepath.Join(b.TempDir(), "access.log"), Fields: fields})
			rec := usualRecord()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				a.Ring(0).Add(rec)
				if n++; n%2000 == 0 {
					a.drain()
				}
				if n%200000 == 0 {
					if err := a.sink.file.Truncate(0); err != nil {
						b.Fatal(err)
					}
				}
			}
			a.drain()
			if s := a.Stats(); s.Written != uint64(n) {
				b.Fatalf("%d records offered, %+v", n, s)
			}
		})
	}
}

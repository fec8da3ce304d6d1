//go:build !race

package tlsconn

import "testing"

// The race detector empties crypto/tls's pools now and then, hence the build tag.

// Nothing of ours is allocated for a record, and by crypto/tls 24 bytes for each it reads (the reader that its readFromUntil
// makes).
func TestRecordsCostNoAllocationOfOurs(t *testing.T) {
	for _, v := range []string{"1.2", "1.3"} {
		j := join(t, v)
		for _, size := range sizes {
			b := bulk(size)
			for range 10 {
				j.pass(t, b)
			}
			records := (size + recordMax - 1) / recordMax
			if n := testing.AllocsPerRun(100, func() { j.pass(t, b) }); n > float64(records) {
				t.Errorf("%s, %d bytes: %v allocations, want %d, those of crypto/tls", v, size, n, records)
			}
		}
		if n := j.pool.InUse(); n != 0 {
			t.Errorf("%d bytes of chunks are held between records", n)
		}
	}
}

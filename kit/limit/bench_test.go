package limit_test

import (
	"strconv"
	"testing"

	"github.com/yumen-io/yumen/kit/limit"
	"golang.org/x/time/rate"
)

// Run with
//
//	go test ./kit/limit -run - -bench . -benchmem -cpu 1,2
func BenchmarkAllow(b *testing.B) {
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "user-" + strconv.Itoa(i)
	}
	for _, c := range []struct {
		name string
		keys int
	}{{"one key", 1}, {"1024 keys", 1024}} {
		b.Run("yumen, "+c.name, func(b *testing.B) {
			l := must(b, limit.Config{Count: 1e9})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					l.Allow(background, keys[i%c.keys])
				}
			})
		})
	}
	b.Run("yumen, refused", func(b *testing.B) {
		l := must(b, limit.Config{Count: 1, Per: 3600e9})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Allow(background, "k")
			}
		})
	})
	b.Run("x/time/rate, one limiter", func(b *testing.B) {
		l := rate.NewLimiter(1e9, 1e9)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Allow()
			}
		})
	})
}

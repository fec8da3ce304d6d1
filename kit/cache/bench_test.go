package cache

import (
	"context"
	"strconv"
	"testing"
)

func hot(tb testing.TB) (*Cache[string, string], []string) {
	c, err := New(Config[string, string]{Name: "bench", NoEarlyRefresh: true, TTL: ttlMax, LocalTTL: ttlMax, Load: func(_ context.Context, key string) (string, uint64, error) {
		return key, 1, nil
	}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "user-" + strconv.Itoa(i)
		c.Get(background, keys[i])
	}
	return c, keys
}

func TestAHitDoesNotAllocate(t *testing.T) {
	c, keys := hot(t)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		if v, err := c.Get(background, keys[i%len(keys)]); err != nil || v.Source != Local {
			t.Fatal(v, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHit(b *testing.B) {
	c, keys := hot(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		c.Get(background, keys[i&1023])
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c, keys := hot(b)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			c.Get(background, keys[i&1023])
		}
	})
}

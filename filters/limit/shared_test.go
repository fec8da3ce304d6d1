package limit

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/quotas"
)

// Two filters of one gateway that name the same limit, and two configurations of one, have one account of each key.
func TestFiltersOfOneNameShareTheirKeys(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	memory := gateway.NewMemory()
	s := quotas.Spec{
		Redis: quotas.Settings{Address: m.Addr(), Timeout: quotas.TimeoutMax}, Name: "both", Rule: quota.Rule{Count: 10, Per: time.Hour, Burst: 10},
	}
	first := memory.Recollect()
	a, _ := NewShared(s, first)
	b, _ := NewShared(s, first)
	first.Hold()
	s.Rule.Burst = 12
	second := memory.Recollect()
	c, _ := NewShared(s, second)
	second.Hold()
	t.Cleanup(func() {
		first.Drop()
		second.Drop()
		<-c.Table().Link().Ended()
	})
	admitted := 0
	for range 10 {
		for _, source := range []*quotas.Source{a, b, c} {
			v := source.Decide([]byte("k"), mono.Now(), 1)
			if v.By == quota.Nobody {
				answer := make(chan quota.Verdict, 1)
				source.Ask([]byte("k"), mono.Now(), 1, func(v quota.Verdict) { answer <- v })
				v = <-answer
			}
			if v.Allowed {
				admitted++
			}
		}
	}
	if a.Table() != b.Table() || a.Table() != c.Table() || admitted > 12 || admitted < 10 {
		t.Errorf("%d admitted, want 10 to 12 by one table", admitted)
	}
}

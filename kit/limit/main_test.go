package limit_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hand is a clock that tests move.
type hand struct{ ns atomic.Int64 }

func (h *hand) now() time.Time          { return time.Unix(1_800_000_000, h.ns.Load()) }
func (h *hand) advance(d time.Duration) { h.ns.Add(int64(d)) }

func must(t testing.TB, cfg limit.Config) *limit.Limiter {
	t.Helper()
	l, err := limit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

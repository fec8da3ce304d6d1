package shed

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/internal/sys"
)

// Memory measures which share of the memory it may have the process uses, off the loops, and publishes it.
type Memory struct {
	of   sys.Memory
	used atomic.Uint64
}

func newMemory() *Memory { return &Memory{} }

// Start is for gateway.Remembered.
func (m *Memory) Start() { m.of = sys.FindMemory() }

// Close is for gateway.Remembered.
func (m *Memory) Close() {}

// Tick is for gateway.Ticking.
func (m *Memory) Tick(mono.Time, time.Time) { m.used.Store(math.Float64bits(m.of.Used())) }

// Used returns the share in use, from 0. From any goroutine.
func (m *Memory) Used() float64 { return math.Float64frombits(m.used.Load()) }

// Package shed decides which requests a process gives up when it has more to do than it can: the less important first, few at
// first, and more the longer a turn of its loop takes or the less memory is left.
//
// A Gauge makes one pressure of both, from 0 to 1. It rises at once and falls slowly, so that a process that has just got its
// breath back is not given everything again at the same moment. Each class has a quarter of the range in which its
// requests go from all let in to none: Low first, Critical last.
//
// The package measures nothing, keeps no clock and draws no random numbers.
package shed

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Config says when there is pressure. Zero fields take their defaults.
type Config struct {
	// TurnFrom and TurnTo are the turn times at which the pressure is 0 and 1; 0 means 10 ms and 50 ms. A turn takes at most 512
	// events, some 10 ms of work: longer ones mean that each event does much, or that the processor is somebody else's.
	TurnFrom, TurnTo time.Duration
	// MemoryFrom and MemoryTo are the same of the share of the memory in use; 0 means 0.85 and 0.95.
	MemoryFrom, MemoryTo float64
	// Recovery is how long the pressure takes from 1 to 0; 0 means 5 s.
	Recovery time.Duration
}

// Defaults of a Config.
const (
	TurnFromDefault, TurnToDefault     = 10 * time.Millisecond, 50 * time.Millisecond
	MemoryFromDefault, MemoryToDefault = 0.85, 0.95
	RecoveryDefault                    = 5 * time.Second
)

// WithDefaults returns c with its defaults filled in.
func (c Config) WithDefaults() Config {
	if c.TurnFrom <= 0 {
		c.TurnFrom = TurnFromDefault
	}
	if c.TurnTo <= 0 {
		c.TurnTo = TurnToDefault
	}
	if c.MemoryFrom <= 0 {
		c.MemoryFrom = MemoryFromDefault
	}
	if c.MemoryTo <= 0 {
		c.MemoryTo = MemoryToDefault
	}
	if c.Recovery <= 0 {
		c.Recovery = RecoveryDefault
	}
	return c
}

// Gauge is the pressure on one loop. The zero value is ready. Loop-owned: not safe for concurrent use.
type Gauge struct {
	pressure float64
	at       mono.Time
}

// Update takes a measurement and returns the pressure. cfg has its defaults filled in. What is no number counts as nothing.
func (g *Gauge) Update(now mono.Time, cfg *Config, turn time.Duration, memory float64) float64 {
	raw := max(part(turn.Seconds(), cfg.TurnFrom.Seconds(), cfg.TurnTo.Seconds()), part(memory, cfg.MemoryFrom, cfg.MemoryTo))
	g.pressure = max(raw, g.pressure-max(now.Sub(g.at).Seconds(), 0)/cfg.Recovery.Seconds(), 0)
	g.at = now
	return g.pressure
}

// part is where v stands between two values: 0 up to the first, 1 from the second.
func part(v, from, to float64) float64 {
	switch {
	case !(v > from):
		return 0
	case v >= to:
		return 1
	}
	return (v - from) / (to - from)
}

// Classes is how many classes there are; 0 is given up last.
const Classes = 4

// Share returns which part of a class's requests is given up at a pressure.
func Share(class int, pressure float64) float64 {
	return min(max(pressure*Classes-float64(Classes-1-class), 0), 1)
}

// Sheds decides on one request, by 64 random bits.
func Sheds(share float64, random uint64) bool {
	return share > 0 && float64(random>>11) < share*math.Exp2(53)
}

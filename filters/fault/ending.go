package fault

import (
	"log/slog"
	"time"
)

// end is how an experiment ended.
type end uint8

const (
	goesOn  end = iota
	stopped     // the requests it leaves alone suffered
	usedUp      // all requests of its budget were affected
	expired     // by its time
)

// endWords are what log and metrics call them.
var endWords = [...]string{goesOn: "", stopped: "stopped", usedUp: "used_up", expired: "expired"}

// end tells whether the experiment is over, and how. Who has several reasons is told the one that no other terms undo first.
func (s *state) end(t *terms, wall time.Time) end {
	switch {
	case s.ended.Load() != nil:
		return stopped
	case t.requests > 0 && s.spent.Load() >= t.requests:
		return usedUp
	case s.over(t, wall):
		return expired
	}
	return goesOn
}

// log tells of an end: once, and as a warning if somebody has suffered.
func (s *state) log(t *terms, how end, wall time.Time) {
	attrs := []any{"fault", s.guard, "experiment", s.experiment, "cause", endWords[how], "spent", s.spent.Load(), "seen", s.seen(),
		"ran_s", wall.Sub(time.Unix(0, s.began.Load())).Round(time.Second / 10).Seconds()}
	if t.requests > 0 {
		attrs = append(attrs, "budget", t.requests)
	}
	if s.shadow {
		attrs = append(attrs, "mode", "shadow")
	}
	if how == stopped {
		slog.Warn("a fault was stopped: requests that it leaves alone suffer", append(attrs, "why", *s.ended.Load())...)
		return
	}
	slog.Info("a fault has ended", attrs...)
}

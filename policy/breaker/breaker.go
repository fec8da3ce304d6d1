package breaker

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// State is whether requests pass.
type State uint8

// States.
const (
	Closed   State = iota // all pass
	Open                  // none does, or few
	HalfOpen              // probes do, then a share
)

var stateWords = [...]string{Closed: "closed", Open: "open", HalfOpen: "half_open"}

// String returns the word of logs and metrics.
func (s State) String() string { return stateWords[s] }

// View is what follows from a breaker's state for requests, until the next call of Tick or Trip says that something changed.
type View struct {
	State State
	Step  int     // of half-open: 0 are the probes, from 1 on the ramp
	Share float64 // of the requests that pass, from 0 to 1
	// Probes pass beside the share, whatever it is, counted from the beginning of the step. One whose end does not count is
	// given back, so that another may go.
	Probes int
	// Era and Episode tell whose endings count. Episode is a new one with each step, and when probes that never end are
	// replaced; a probe of another episode is not given back. Era is a new one each time the breaker opens: an ending of
	// a request from another era is not news and must not be counted.
	Era, Episode uint32
	Since        mono.Time // of the state
	Until        mono.Time // of open: when it ends at the latest; else zero
	Last         Transition
}

// Breaker is one of them. It has one owner: not safe for concurrent use. Time must not run backwards.
type Breaker struct {
	cfg      Config
	view     View
	window   window
	detector detector

	step      Counts // since the step began
	stepSince mono.Time
	stepBad   bool // requests of this episode hang: it was renewed once

	opened     Cause         // why it opened last
	openFor    time.Duration // this time, or the last
	quietUntil mono.Time     // the score is silent
	sickSince  mono.Time     // since then the score alone has kept it from closing; zero if it has not
}

// New returns a closed breaker. Two with the same seed that are told the same say the same.
func New(cfg Config, seed uint64, now mono.Time) *Breaker {
	b := &Breaker{cfg: cfg.withDefaults()}
	b.view = View{Share: 1, Era: 1, Episode: 1, Since: now}
	b.window.reset(b.cfg.Window, now)
	b.detector.init(seed, now)
	return b
}

// Configure has new settings hold from now on. State, what was learnt and, where its length stays, the window are kept; an open
// breaker stays open for as long as it was going to be, but no longer than the new OpenMax.
func (b *Breaker) Configure(cfg Config, now mono.Time) {
	was := b.cfg
	b.cfg = cfg.withDefaults()
	if b.cfg.Window != was.Window {
		b.window.reset(b.cfg.Window, now)
	}
	if was.Adaptive.On && !b.cfg.Adaptive.On {
		b.detector.forget(now)
	}
	switch v := &b.view; v.State {
	case Open:
		v.Until = min(v.Until, now.Add(b.cfg.OpenMax))
		v.Share = b.shareOpen()
	case HalfOpen:
		v.Step = min(v.Step, len(b.cfg.Ramp))
		v.Share, v.Probes = b.shareOf(v.Step), b.cfg.Probes
	}
}

// Reset closes the breaker on an operator's word; what was learnt stays.
func (b *Breaker) Reset(now mono.Time) Transition {
	t := b.transition(now, Closed, Ordered)
	b.close(now)
	return b.say(t)
}

// View tells what to admit.
func (b *Breaker) View() View { return b.view }

// Trip opens a closed breaker because of failures in a row, c.Run of them, without waiting for the next tick. c is how requests
// ended since the last one. Otherwise it does nothing, and returns false.
func (b *Breaker) Trip(now mono.Time, c *Counts) (Transition, bool) {
	if b.view.State != Closed {
		return Transition{}, false
	}
	b.window.add(now, c)
	return b.open(now, Consecutive), true
}

// Tick takes in how requests ended since the last call, and says so if that or the time changed the state. Call it ten times a second
// or so: what it knows is no younger than that. The state changes by one transition a call at most.
func (b *Breaker) Tick(now mono.Time, c *Counts) (Transition, bool) {
	switch b.view.State {
	case Closed:
		return b.tickClosed(now, c)
	case Open:
		if now < b.view.Until {
			return Transition{}, false
		}
		t := b.transition(now, HalfOpen, TimeOver)
		b.climb(now, 0)
		return b.say(t), true
	default:
		return b.tickHalfOpen(now, c)
	}
}

func (b *Breaker) tickClosed(now mono.Time, c *Counts) (Transition, bool) {
	b.window.add(now, c)
	if b.cfg.Adaptive.On {
		b.detector.add(now, c, &b.cfg.Adaptive, now < b.quietUntil)
	}
	if cause := b.classic(); cause != None {
		return b.open(now, cause), true
	}
	if b.sickSince > 0 && now > b.quietUntil {
		b.sickSince = 0 // it has closed, and stayed so beyond the silence
	}
	if b.cfg.Adaptive.On && b.detector.bad(&b.cfg.Adaptive) {
		return b.open(now, Score), true
	}
	return Transition{}, false
}

// classic is what the window says.
func (b *Breaker) classic() Cause {
	c, s := &b.cfg, &b.window.sum
	if c.Consecutive > 0 && s.Run >= uint32(c.Consecutive) {
		return Consecutive
	}
	total := s.Total()
	if total < uint32(c.Volume) {
		return None
	}
	if c.ErrorRatio >= 0 && ratio(s.Failures, total) >= c.ErrorRatio {
		return ErrorRatio
	}
	if c.SlowRatio > 0 && ratio(s.Slow, total) >= c.SlowRatio {
		return SlowRatio
	}
	return None
}

// open begins an era.
func (b *Breaker) open(now mono.Time, cause Cause) Transition {
	t := b.transition(now, Open, cause)
	switch {
	case b.view.State == Closed:
		b.openFor = b.cfg.OpenFor
	default:
		b.openFor = min(2*b.openFor, b.cfg.OpenMax)
	}
	t.OpenFor = b.openFor
	if cause != ProbesFailed {
		b.opened = cause
	}
	if b.opened == Score {
		if b.sickSince == 0 {
			b.sickSince = now
		}
		if now.Sub(b.sickSince) >= b.cfg.Adaptive.Relearn {
			b.detector.forget(now)
			b.sickSince = 0
		}
	} else {
		b.sickSince = 0
	}
	b.detector.interrupt(now)
	b.view = View{State: Open, Era: b.view.Era + 1, Episode: b.view.Episode + 1, Since: now, Until: now.Add(b.openFor)}
	b.view.Share = b.shareOpen()
	return b.say(t)
}

// shareOpen is what passes an open breaker: the score alone may not refuse everybody.
func (b *Breaker) shareOpen() float64 {
	if b.opened == Score {
		return 1 - b.cfg.Adaptive.RefusedMax
	}
	return 0
}

// shareOf is what passes on a step of half-open.
func (b *Breaker) shareOf(step int) float64 {
	share := 0.0
	if step > 0 {
		share = min(max(b.cfg.Ramp[step-1], 0), 1)
	}
	if b.opened == Score {
		share = max(share, 1-b.cfg.Adaptive.RefusedMax)
	}
	return share
}

// climb begins a step of half-open.
func (b *Breaker) climb(now mono.Time, step int) {
	v := &b.view
	if v.State != HalfOpen {
		v.Since = now
	}
	v.State, v.Step, v.Until = HalfOpen, step, 0
	v.Share, v.Probes = b.shareOf(step), b.cfg.Probes
	v.Episode++
	b.step, b.stepSince, b.stepBad = Counts{}, now, false
}

func (b *Breaker) tickHalfOpen(now mono.Time, c *Counts) (Transition, bool) {
	b.step.merge(c)
	total := b.step.Total()
	v := &b.view
	if b.stepFailed(total) {
		return b.open(now, ProbesFailed), true
	}
	took := now.Sub(b.stepSince)
	if total < uint32(b.cfg.Probes) {
		// Probes that never end must not keep it half-open for ever: after as long as it was open, others get their turn.
		if took >= b.openFor {
			v.Episode++
			b.stepSince = now
		}
		return Transition{}, false
	}
	if v.Step > 0 && took < b.cfg.RampStep {
		return Transition{}, false
	}
	if v.Step < len(b.cfg.Ramp) {
		t := b.transition(now, HalfOpen, ProbesPassed)
		b.climb(now, v.Step+1)
		return b.say(t), true
	}
	t := b.transition(now, Closed, Recovered)
	b.close(now)
	return b.say(t), true
}

// stepFailed tells whether so much went wrong on this step that no good ending of its other probes could make up for it. What is
// too much is what would open a closed breaker; for one that the score opened also what no healthy second had.
func (b *Breaker) stepFailed(total uint32) bool {
	c, s := &b.cfg, &b.step
	of := float64(max(total, uint32(c.Probes)))
	// One failure is in any healthy service, and of five probes it is a fifth: it takes two, where there are as many.
	least := uint32(min(2, c.Probes))
	if c.ErrorRatio >= 0 && s.Failures >= least && float64(s.Failures) >= c.ErrorRatio*of {
		return true
	}
	if c.Consecutive > 0 && s.Run >= uint32(c.Consecutive) {
		return true
	}
	if c.SlowRatio > 0 && s.Slow >= least && float64(s.Slow) >= c.SlowRatio*of {
		return true
	}
	if b.opened != Score || !c.Adaptive.On {
		return false
	}
	failures, slow, known := b.detector.limits()
	if !known {
		return false
	}
	// Of healthy requests one in twenty is slower than the limit at most; half of them is beyond chance.
	return s.Failures >= least && float64(s.Failures) > failures*of || float64(s.Latency.above(slow)) >= 0.5*of
}

func (b *Breaker) close(now mono.Time) {
	v := &b.view
	*v = View{Share: 1, Era: v.Era, Episode: v.Episode + 1, Since: now, Last: v.Last}
	b.window.reset(b.cfg.Window, now)
	b.step = Counts{}
	b.quietUntil = now.Add(b.cfg.Adaptive.CoolDown)
	b.detector.interrupt(now)
}

// Window tells what the classic rule sees now; it is for those who watch.
func (b *Breaker) Window() Numbers { return numbersOf(&b.window.sum) }

// Learnt tells how many healthy seconds the score goes by, how the last second scored and its features.
func (b *Breaker) Learnt() (seconds int, score float64, f Features) {
	d := &b.detector
	return d.reservoir.n, d.score, d.last
}

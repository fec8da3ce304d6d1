// Package loop is the event loop under every connection: one goroutine on one thread that owns a poller, a timer wheel,
// a mailbox and every socket registered with it. It moves bytes between sockets and memory that others own, tells
// handlers when a socket is ready, accepts and dials.
//
// It deliberately knows no protocol and no TLS, holds no buffer, starts no goroutine, and picks no loop for a
// connection: a program runs as many loops as it wants cores used, and they share nothing.
//
// # A turn
//
// A turn of the loop is always the same:
//
//	poll     ask the kernel what is ready; sleep only if nothing is and nothing is left to do; read the clock once
//	read     call the handler of each ready socket
//	run      call the handlers that asked for another turn (ReadyLater)
//	work     call those that took something in and go on with it now (WorkLater)
//	timers   call the expirers whose deadline passed
//	mailbox  run what other goroutines posted
//	flush    call the flushers that signed up in this turn (FlushLater)
//
// Reading and working are apart so that a busy turn makes all its recv calls in a row, then all the decisions, then all its
// send calls: each kind of code finds itself in the caches. On a proxy of 64 connections it saved 0.5 us of 12.6 a request.
//
// Nobody should write to one socket in the middle of reading another: a handler collects what it has to say and signs
// up for the flush step, so that everything one turn produced for one connection leaves in one system call. Work that
// is added to a step while that step runs waits for the next turn, which then does not sleep: nothing starves, and
// nothing is lost.
//
// # Readiness
//
// A socket is registered once, for everything, edge-triggered; no system call ever changes that. The loop says once that
// something became possible, and the handler keeps it in mind until Recv or Send says ErrAgain. As a rule a short read
// or write means the same and saves a call, save that after a Hangup one reads on until io.EOF or an error. (A peer that
// marks bytes urgent can cut a read short too; it harms its own connection alone, which then ends by its timeout.)
// A handler that stops early for the sake of its neighbours asks for another turn by ReadyLater.
//
// # System calls
//
// Sockets never block, so recv and send are raw system calls: the scheduler need not hear of them. The poll is first
// tried raw with a zero timeout, and only then made as a call that may sleep and gives the processor back to the
// runtime. Leave the runtime more processors than there are loops (GOMAXPROCS), so that a loop which wakes up finds one.
//
// # Ownership
//
// Everything here is touched on the loop's goroutine only, except Post, Stop, Done, ID and Stats. Before Run begins the
// goroutine that will start it may use the loop as if it were on it. Under the build tag `invariants` every method checks
// this, and sockets read and write short and say ErrAgain at random. A panic in a handler is a mistake of ours and ends
// the process.
package loop

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/invariant"
	"github.com/yumen-io/yumen/internal/mono"
)

// Config describes a loop. Zero fields take their defaults.
type Config struct {
	// ID is the loop's number among its fellows, for logs and per-loop state.
	ID int

	// EventsMax is the largest number of events taken from the kernel in one turn; 0 means 512. It bounds how long a
	// turn can be, at 12 bytes an event.
	EventsMax int

	// OnTurn, if not nil, is told of each turn on the loop's goroutine: when poll returned, when the turn's work was
	// done, and how many events it had. It costs a second reading of the clock.
	OnTurn func(began, ended mono.Time, events int)
}

const eventsMaxDefault = 512

// Loop is one event loop; the package says how it works. Loop-owned but for Post, Stop, Done, ID and Stats.
type Loop struct {
	// Frozen.
	id     int
	onTurn func(began, ended mono.Time, events int)
	done   chan struct{}

	// Loop-owned.
	poller  poller
	slots   slots
	wheel   wheel
	now     mono.Time
	round   uint8     // changes every turn, so that one can tell this turn's ReadyLater from the last one's
	later   []word    // sockets that ReadyLater gives the next turn
	works   []Worker  // who signed up for the next work step
	flushes []Flusher // who signed up for the next flush step
	vector  vector    // pieces of one Sendv
	reserve int       // the descriptor an acceptor gives up to refuse a connection when there is no other; -1: none

	// The lists of the step under way, kept for their memory.
	laterSpare   []word
	flushesSpare []Flusher

	_ [64]byte // below, other threads write

	// Shared with other goroutines.
	mail     mailbox
	asleep   atomic.Bool  // the loop is, or is about to be, in a blocking poll
	wakers   atomic.Int32 // goroutines inside wake
	stopping atomic.Bool
	owner    atomic.Int64 // thread that runs the loop, 0 before and after; kept under the tag `invariants` only

	_ [64]byte

	// Published.
	stats Stats
}

// Handler is told what became possible on a socket; the package doc says how long to remember it. The event set may name
// more than is new (the kernel mentions a writable socket each time it is readable), and what it names may be gone.
type Handler interface{ Ready(ev Events) }

// Events is a set of what became possible on a socket.
type Events uint8

const (
	Readable Events = 1 << iota // bytes, a connection or the end of the stream wait
	Writable                    // there is room again, or a connect finished
	Hangup                      // the peer closed its side, or an error waits to be picked up by Recv, Send or ConnectResult
)

// Flusher writes out what a turn collected.
type Flusher interface{ Flush() }

// New makes a loop. It holds descriptors at once: one that is never run must be stopped and then run, which returns
// immediately and frees them.
func New(cfg Config) (*Loop, error) {
	if cfg.EventsMax == 0 {
		cfg.EventsMax = eventsMaxDefault
	}
	l := &Loop{
		id:      cfg.ID,
		onTurn:  cfg.OnTurn,
		done:    make(chan struct{}),
		slots:   makeSlots(),
		now:     mono.Now(),
		reserve: -1,
	}
	l.wheel = makeWheel(l.now)
	if err := l.poller.open(cfg.EventsMax); err != nil {
		return nil, fmt.Errorf("open the poller of loop %d: %w", cfg.ID, err)
	}
	return l, nil
}

// ID returns the number given by Config. Safe from any goroutine.
func (l *Loop) ID() int { return l.id }

// Done is closed when Run has returned everything it held to the system. Safe from any goroutine.
func (l *Loop) Done() <-chan struct{} { return l.done }

// Now returns the time at which this turn's poll returned: one reading of the clock serves all of a turn.
func (l *Loop) Now() mono.Time {
	l.check()
	return l.now
}

// Run runs the loop on the calling goroutine, which it locks to its thread, until Stop. It must be called once. Before it
// returns it runs every function that Post took and flushes; then it closes the poller and every socket still registered,
// without telling their handlers. Timers that have not fired by then never do. Who wants connections drained does so
// before Stop.
func (l *Loop) Run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if invariant.Enabled {
		invariant.Check(l.owner.Swap(threadID()) == 0, "loop.Run called twice")
	}
	for !l.stopping.Load() {
		l.turn()
	}
	l.end()
}

// Stop makes Run return at the end of the turn under way. Idempotent, and safe from any goroutine.
func (l *Loop) Stop() {
	l.stopping.Store(true)
	l.wake()
}

// turn is one round of the loop: see the package doc.
func (l *Loop) turn() {
	events := l.poll()
	l.now = mono.Now()
	began := l.now

	later := l.later
	l.later = l.laterSpare
	l.round ^= 1
	l.read(events)
	l.run(later)
	l.laterSpare = later[:0]
	l.work()

	if fired := l.wheel.advance(l.now); fired > 0 {
		l.stats.TimersFired.Add(uint64(fired))
	}
	l.mail.run()
	l.flush()

	l.stats.Turns.Add(1)
	if l.onTurn != nil {
		l.onTurn(began, mono.Now(), events)
	}
}

// poll returns how many events are in the poller's batch. It asks without waiting first: under load there is always
// something, and a call that might sleep costs the handing back and forth of a processor.
func (l *Loop) poll() int {
	if n := l.poller.peek(); n > 0 || len(l.later) > 0 || len(l.works) > 0 || len(l.flushes) > 0 {
		return n
	}
	return l.sleep()
}

// sleep waits for events, the next timer or a wake-up. See wake for the other half.
func (l *Loop) sleep() int {
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if !l.mail.empty() || l.stopping.Load() {
		return 0
	}
	timeout := time.Duration(-1)
	if at := l.wheel.wakeAt(); at != mono.Never {
		timeout = max(at.Sub(mono.Now()), 0)
	}
	return l.poller.sleep(timeout)
}

// read calls the handlers of the sockets in the batch of n events.
func (l *Loop) read(n int) {
	stale, delivered := 0, 0
	for i := range n {
		w, ev := l.poller.event(i)
		s := l.slots.lookup(w)
		if s == nil {
			if w.slot() != wakeSlot {
				stale++
			}
			continue
		}
		delivered++
		s.tell(ev)
	}
	if delivered > 0 {
		l.stats.Events.Add(uint64(delivered))
	}
	if stale > 0 {
		l.stats.Stale.Add(uint64(stale))
	}
}

// run gives the sockets that asked in the last turn what they have not been told in the read step. Of those that were,
// some have asked again, for the next turn.
func (l *Loop) run(later []word) {
	for _, w := range later {
		if s := l.slots.lookup(w); s != nil && s.later != 0 && s.round != l.round {
			s.tell(0)
		}
	}
}

// Worker goes on with what it took in during the read step.
type Worker interface{ Work() }

// WorkLater has w.Work called in the work step of this turn, behind those that signed up before, also if that step is
// under way; if it is over, in that of the next turn, which then does not sleep. Who signs up twice is called twice: a
// connection keeps a mark.
func (l *Loop) WorkLater(w Worker) {
	l.check()
	l.works = append(l.works, w)
}

func (l *Loop) work() {
	for i := 0; i < len(l.works); i++ {
		w := l.works[i]
		l.works[i] = nil
		w.Work()
	}
	l.works = l.works[:0]
}

func (l *Loop) flush() {
	if len(l.flushes) == 0 {
		return
	}
	flushes := l.flushes
	l.flushes = l.flushesSpare
	for i, f := range flushes {
		flushes[i] = nil
		f.Flush()
	}
	l.flushesSpare = flushes[:0]
}

// FlushLater has f.Flush called in the flush step of this turn, or of the next one if that step is under way; flushers
// are called in the order in which they signed up. Who signs up twice is called twice: a connection keeps a mark.
func (l *Loop) FlushLater(f Flusher) {
	l.check()
	l.flushes = append(l.flushes, f)
}

// ReadyLater has the socket's handler called with ev in the next turn, together with what else the socket then has. Who
// used up his byte budget asks for it, and so gets his share after everybody else's. The next turn will not sleep.
func (l *Loop) ReadyLater(s *Socket, ev Events) {
	l.check()
	if !s.Open() || ev == 0 {
		return
	}
	if s.later == 0 {
		l.later = append(l.later, l.slots.word(s.slot))
		s.round = l.round
	}
	s.later |= ev
}

// end runs and flushes what is left, closes what is open and lets Done be seen.
func (l *Loop) end() {
	l.now = mono.Now()
	l.mail.close()
	for len(l.flushes) > 0 {
		l.flush()
	}
	// asleep has been false since the last turn, and stays so: no new waker gets as far as the poller.
	for l.wakers.Load() != 0 {
		runtime.Gosched()
	}
	for _, e := range l.slots.entries {
		if e.socket != nil {
			e.socket.Close()
		}
	}
	l.releaseReserve()
	l.poller.close()
	if invariant.Enabled {
		l.owner.Store(0)
	}
	close(l.done)
}

// check panics under the tag `invariants` if it runs on another thread than the loop's. Every loop-owned method begins
// with it; without the tag it is nothing.
func (l *Loop) check() {
	if invariant.Enabled {
		owner := l.owner.Load()
		invariant.Check(owner == 0 || owner == threadID(), "a loop, socket or timer is used off its loop's goroutine")
	}
}

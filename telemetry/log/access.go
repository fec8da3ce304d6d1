// Package log is the access log and the process log, both written by zap.
//
// The access log is one line of JSON for each request. The loop that served the request copies the facts, as bytes and
// numbers, into a Ring of its own and is done; a single writer goroutine empties all rings, encodes the lines and
// writes them with few large writes:
//
//	loop 0 --Add--> Ring 0 --+
//	loop 1 --Add--> Ring 1 --+--> writer goroutine (JSON, one buffer) --> stdout, stderr or a file
//
// A loop never waits: what finds its ring full is dropped and counted, and so is what the sink would not take. The
// lines of one loop are in order; those of different loops are in order only roughly.
//
// The process log (process.go) is for what the gateway itself has to say. It is an ordinary slog.Logger: it may lock
// and block, and must not be used on a loop for anything that traffic can repeat.
//
// The package owns the rings, the writer goroutine and the files. It deliberately does not rotate files (Reopen serves
// those who do), does not retry a failed write, and shows no field whose content it was not told to show.
package log

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Defaults and limits of AccessConfig.
const (
	// ringBytesDefault holds some 3000 usual records: 30 ms of one loop at its fastest, until the writer was scheduled.
	ringBytesDefault = 1 << 20
	// ringBytesMin holds several of the biggest records.
	ringBytesMin = 1 << 16
	ringBytesMax = 1 << 30
	// intervalDefault is how long a line may wait when there are few.
	intervalDefault = 100 * time.Millisecond
	// writeBytes is when a write is made within a drain: large enough that its system call does not count, small enough
	// to stay in the processor's second-level cache.
	writeBytes = 1 << 18
	// lineBytesMax is above the longest line: every byte of the biggest record escaped as six.
	lineBytesMax = 1 << 16
	// releaseBytes is how much of a ring is read before the loop may have it again.
	releaseBytes = 1 << 15
)

// AccessConfig is how the access log is made. Zero values mean the defaults.
type AccessConfig struct {
	Loops     int           // rings to make, one for each loop, at least 1
	RingBytes int           // memory of each ring; 0 is 1 MiB; rounded up to a power of two, at least 64 KiB
	Path      string        // "stdout", "stderr" or a file's path; empty is stdout
	Output    io.Writer     // instead of Path
	Interval  time.Duration // at most this long until a line is written; 0 is 100 ms

	Fields  []string // names from Fields, in the order wanted; none means the usual ones
	Headers []string // extra request headers, at most HeadersMax, shown under "headers" by these names

	Sample       float64 // fraction of requests that is logged, above 0 and up to 1; 0 is 1
	SampleErrors bool    // sample responses of 500 and above too, which are all logged otherwise
	Seed         uint64  // of the sampling: the same seed keeps the same of the same sequence of requests

	Logger *slog.Logger // told when the sink begins to fail and when it works again; nil tells nobody
}

// withDefaults returns a checked copy with every default filled in.
func (c AccessConfig) withDefaults() (AccessConfig, error) {
	if c.Loops < 1 {
		return c, fmt.Errorf("access log: %d loops, want at least 1", c.Loops)
	}
	if c.RingBytes == 0 {
		c.RingBytes = ringBytesDefault
	}
	if c.RingBytes < 0 || c.RingBytes > ringBytesMax {
		return c, fmt.Errorf("access log: a ring of %d bytes, want at most %d", c.RingBytes, ringBytesMax)
	}
	c.RingBytes = 1 << bits.Len(uint(max(c.RingBytes, ringBytesMin)-1))
	if c.Path == "" {
		c.Path = pathStdout
	}
	if c.Interval < 0 {
		return c, fmt.Errorf("access log: interval %v, want 0 or more", c.Interval)
	}
	if c.Interval == 0 {
		c.Interval = intervalDefault
	}
	if len(c.Headers) > HeadersMax {
		return c, fmt.Errorf("access log: %d extra headers, at most %d fit", len(c.Headers), HeadersMax)
	}
	if !(c.Sample >= 0 && c.Sample <= 1) { // also refuses NaN
		return c, fmt.Errorf("access log: sample %v, want a fraction up to 1", c.Sample)
	}
	if c.Sample == 0 {
		c.Sample = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Access is the access log: the rings, and the goroutine that writes what is in them.
type Access struct {
	// Frozen.
	rings    []*Ring
	interval time.Duration
	logger   *slog.Logger
	wake     chan struct{} // one slot; whoever wants the writer to look fills it
	stop     chan struct{} // closed by the first Close
	stopOnce sync.Once
	stopped  chan struct{} // closed by the writer when all is written

	// Published.
	reopen  atomic.Bool
	written atomic.Uint64
	lost    atomic.Uint64

	// Writer's goroutine's.
	sink    *sink
	liner   *liner
	out     []byte // lines not yet written
	lines   int    // how many
	torn    bool   // the last write ended within a line
	failing bool   // the last write failed
	closing error  // of the sink; read after stopped
}

// NewAccess opens the sink and starts the writer. Close stops it.
func NewAccess(config AccessConfig) (*Access, error) {
	a, err := newAccess(config)
	if err != nil {
		return nil, err
	}
	go a.run()
	return a, nil
}

// newAccess is NewAccess without the goroutine.
func newAccess(config AccessConfig) (*Access, error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	chosen, err := chooseFields(c.Fields)
	if err != nil {
		return nil, err
	}
	sink, err := openSink(c.Path, c.Output)
	if err != nil {
		return nil, err
	}
	a := &Access{
		interval: c.Interval,
		logger:   c.Logger,
		wake:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
		sink:     sink,
		liner:    newLiner(chosen, c.Headers),
		out:      make([]byte, 0, writeBytes+lineBytesMax),
	}
	limits := textLimits(chosen, len(c.Headers))
	for i := range c.Loops {
		a.rings = append(a.rings, newRing(c.RingBytes, limits, newSampler(c.Sample, c.SampleErrors, seedOf(c.Seed, i)), a.wake))
	}
	return a, nil
}

// Ring returns the ring of a loop, 0 <= loop < AccessConfig.Loops. Only that loop may add to it.
func (a *Access) Ring(loop int) *Ring { return a.rings[loop] }

// AccessStats is what became of the records offered to Ring.Add. After a Close that succeeded, the four add up to
// their number.
type AccessStats struct {
	Written uint64 // taken by the operating system, as whole lines
	Dropped uint64 // not taken because the ring was full
	Lost    uint64 // taken, and then not written because the sink failed
	Skipped uint64 // left out by sampling
}

// Stats returns the numbers so far. Any goroutine may call it.
func (a *Access) Stats() AccessStats {
	s := AccessStats{Written: a.written.Load(), Lost: a.lost.Load()}
	for _, r := range a.rings {
		s.Dropped += r.dropped.Load()
		s.Skipped += r.skipped.Load()
	}
	return s
}

// Reopen has the writer open the file's path anew, after what it holds is written to the old file: what logrotate wants
// after a rename. It does not wait. If the path cannot be opened, the old file stays in use and the logger is told.
func (a *Access) Reopen() {
	a.reopen.Store(true)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Close writes what is in the rings and closes the sink. The loops must have stopped adding. If ctx ends first, because
// the sink blocks, Close returns with what is left unwritten; the writer then ends when its write does. Further calls
// wait in the same way.
func (a *Access) Close(ctx context.Context) error {
	a.stopOnce.Do(func() { close(a.stop) })
	select {
	case <-a.stopped:
		return a.closing
	case <-ctx.Done():
	}
	var left uint64
	for _, r := range a.rings {
		left += r.waiting()
	}
	return fmt.Errorf("closing the access log: sink blocks with at least %d bytes of records unwritten: %w", left, ctx.Err())
}

// run is the writer's goroutine.
func (a *Access) run() {
	defer close(a.stopped)
	tick := time.NewTicker(a.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.drain()
		case <-a.wake:
			a.drain()
			if a.reopen.Swap(false) {
				a.renew()
			}
		case <-a.stop:
			a.drain()
			a.closing = a.sink.close()
			return
		}
	}
}

// renew opens the sink's file anew. A file that could not be opened leaves the old one in use, torn line and all.
func (a *Access) renew() {
	renewed, err := a.sink.reopen()
	if err != nil {
		a.logger.Error("reopening the access log", "error", err)
	}
	if renewed {
		a.torn = false
	}
}

// drain writes everything that was in the rings when it came to them. What a loop adds meanwhile waits for the next
// time, so that a fast loop cannot keep the others' records waiting.
func (a *Access) drain() {
	a.liner.wall = time.Now().UnixNano() - int64(mono.Now()) // anew each time: the wall clock may have been set
	for _, r := range a.rings {
		end := r.head.Load()
		for e := r.next(end); e != nil; e = r.next(end) {
			a.add(e)
			if r.held() >= releaseBytes {
				r.release()
			}
			if len(a.out) >= writeBytes {
				r.release()
				a.write()
			}
		}
		r.release()
	}
	a.write()
}

// add appends a record's line to what will be written.
func (a *Access) add(e entry) {
	line, err := a.liner.line(e)
	if err != nil {
		a.lost.Add(1) // our fields do not fail; a lost line is still better than a dead gateway
		return
	}
	if a.torn && len(a.out) == 0 {
		a.out = append(a.out, '\n') // ends the line that a failed write left half written
	}
	a.out = append(a.out, line.Bytes()...)
	a.lines++
	line.Free()
}

// write hands the lines to the sink. There is one try: a sink that fails is tried again with the next lines, at the
// latest in an interval, and so can neither hold memory nor spin.
func (a *Access) write() {
	if a.lines == 0 {
		return
	}
	n, err := a.sink.Write(a.out)
	if err == nil && n < len(a.out) {
		err = io.ErrShortWrite
	}
	written := a.lines
	if err != nil {
		written = bytes.Count(a.out[:n], []byte{'\n'}) // lines hold no other line breaks
		if a.torn && n > 0 {
			written-- // the one that ended the torn line
		}
	}
	a.written.Add(uint64(written))
	a.lost.Add(uint64(a.lines - written))
	if n > 0 {
		a.torn = a.out[n-1] != '\n'
	}
	a.out, a.lines = a.out[:0], 0
	a.report(err)
}

// report tells the logger when the sink begins to fail and when it works again, not of every failure between.
func (a *Access) report(err error) {
	switch failing := err != nil; {
	case failing && !a.failing:
		a.logger.Error("access log: writing failed, records are lost until it works again", "error", err)
	case !failing && a.failing:
		a.logger.Info("access log: writing works again", "lost", a.lost.Load())
	}
	a.failing = err != nil
}

package control

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/telemetry/log"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// accessLog is the access log in force, nil when off, and what it was made from.
type accessLog struct {
	said *config.AccessLog
	log  *log.Access
}

// openAccessLog makes the access log that the plan asks for, if it is another than the present one. Two logs may have one
// file open for the moment of the change: both append, whole lines at a time.
func (c *Controller) openAccessLog(w *work) error {
	said := w.plan.Document.Telemetry.AccessLog
	if sameLog(said, c.access.said) {
		w.access = c.access
		return nil
	}
	w.access.said = said
	if said == nil {
		return nil
	}
	made, err := log.NewAccess(log.AccessConfig{
		Loops: len(c.plane.engines), Path: said.Path, Fields: said.Fields, Headers: said.RequestHeaders, Logger: c.logger,
		// Zero means none to people and all to the log.
		Sample: max(said.Sample.Fraction(), math.SmallestNonzeroFloat64),
	})
	if err != nil {
		return fmt.Errorf("access log to %s: %w", said.Path, err)
	}
	w.access.log = made
	w.undo(func() { c.closeAccessLog(made) })
	return nil
}

// sameLog compares all that was said but where in the text.
func sameLog(a, b *config.AccessLog) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Pos, y.Pos = config.Pos{}, config.Pos{}
	return reflect.DeepEqual(x, y)
}

// swapAccessLog lets the loops write to the new log, and closes the former one, which no loop adds to any more.
func (c *Controller) swapAccessLog(w *work) {
	former := c.access
	if former.log == w.access.log {
		return
	}
	var headers []string
	if w.access.said != nil {
		headers = w.access.said.RequestHeaders
	}
	c.plane.gateway.SetAccessLog(w.access.log, headers)
	c.access = w.access
	if former.log != nil {
		c.closeAccessLog(former.log)
	}
	c.logs.change(w.access.log)
}

// closeTimeout is how long a log's sink may take for the last lines; a pipe that nobody reads would take for ever.
const closeTimeout = time.Second

func (c *Controller) closeAccessLog(l *log.Access) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		c.logger.Error("closing the access log", "error", err)
	}
}

// ReopenLogs has the access log open its file anew: what a rotation wants after it renamed the file.
func (c *Controller) ReopenLogs() {
	c.do(func() {
		if c.access.log != nil {
			c.access.log.Reopen()
		}
	})
}

// logCounts adds up the numbers of all access logs that there were, for metrics.
type logCounts struct {
	mu struct {
		sync.Mutex
		present *log.Access
		former  metrics.AccessLog
	}
}

func (n *logCounts) change(to *log.Access) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.former = n.sum()
	n.mu.present = to
}

func (n *logCounts) get() metrics.AccessLog {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sum()
}

func (n *logCounts) sum() metrics.AccessLog {
	sum := n.mu.former
	if n.mu.present != nil {
		s := n.mu.present.Stats()
		sum.Written += s.Written
		sum.Dropped += s.Dropped
		sum.Lost += s.Lost
		sum.Skipped += s.Skipped
	}
	return sum
}

package gateway

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// outflow is the arithmetic of a valve: how many bytes may leave by a time. Of any span of time T at most rate*(T + saved) + 1 leave in
// it, and where there are always some to leave, no fewer than rate*T - 1, however late it is asked as long as that is within what is
// saved.
type outflow struct {
	rate int64     // bytes a second, from 1 to ValveRateMax; 0: not in use
	due  mono.Time // when the next byte may leave
}

const (
	// outflowPieces is into how many pieces a second is cut at most. More would be work for nothing, fewer are bursts.
	outflowPieces = 20
	// outflowSaved is for how long what may leave is saved up while nothing comes, or a timer is late; and a byte more, of which a low
	// rate has none in that time.
	outflowSaved = 100 * time.Millisecond
)

// allowed is how much may leave now.
func (o *outflow) allowed(now mono.Time) int {
	o.due = max(o.due, now.Add(-outflowSaved-o.timeOf(1)))
	if now <= o.due {
		return 0
	}
	return int(int64(now.Sub(o.due)) * o.rate / int64(time.Second))
}

// spend notes that n bytes leave, which were allowed.
func (o *outflow) spend(n int) { o.due = o.due.Add(o.timeOf(n)) }

// next is when the next piece of left bytes may leave.
func (o *outflow) next(left int) mono.Time {
	return o.due.Add(o.timeOf(min(max(int(o.rate/outflowPieces), 1), left)))
}

// timeOf is how long n bytes take, rounded up.
func (o *outflow) timeOf(n int) time.Duration {
	return time.Duration((int64(n)*int64(time.Second) + o.rate - 1) / o.rate)
}

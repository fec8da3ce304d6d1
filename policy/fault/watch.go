package fault

import (
	"fmt"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Counts are those of requests that no fault was injected into, since the beginning.
type Counts struct{ Total, Errors, Slow uint64 }

// Limits are when an experiment stops.
type Limits struct {
	ErrorRatio float64       // of errors, from 0 to 1; 0: any
	P99        time.Duration // 0: any; a request that takes longer is counted as slow
	Over       time.Duration // the time that is looked at
}

const (
	// OverMax bounds the time that is looked at, and with it the memory for it.
	OverMax = 5 * time.Minute
	// volumeMin is how many requests there must be: of fewer, one alone is some per cent.
	volumeMin = 50
	// step is the time between two looks that are kept.
	step = time.Second
	// slowMax is the part of slow requests by which the 99th percentile is the limit itself.
	slowMax = 0.01
)

// Watch looks at the requests of the last while. Not safe for concurrent use.
type Watch struct {
	looks []look // the oldest first
}

type look struct {
	at mono.Time
	of Counts
}

// Look notes how many there are now, and returns why the experiment must stop, empty if it may go on. It is called about ten times a
// second.
func (w *Watch) Look(now mono.Time, c Counts, l Limits) string {
	keep := 0
	for keep+1 < len(w.looks) && now.Sub(w.looks[keep+1].at) >= l.Over {
		keep++
	}
	w.looks = w.looks[:copy(w.looks, w.looks[keep:])]
	if n := len(w.looks); n == 0 || now.Sub(w.looks[n-1].at) >= step {
		w.looks = append(w.looks, look{now, c})
	}
	from := w.looks[0].of
	total := float64(c.Total - from.Total)
	if total < volumeMin {
		return ""
	}
	if ratio := float64(c.Errors-from.Errors) / total; l.ErrorRatio > 0 && ratio > l.ErrorRatio {
		return fmt.Sprintf("error_ratio %.3g%% of %d requests, at most %.3g%%", 100*ratio, int(total), 100*l.ErrorRatio)
	}
	if ratio := float64(c.Slow-from.Slow) / total; l.P99 > 0 && ratio > slowMax {
		return fmt.Sprintf("p99 above %s: %.3g%% of %d requests took longer", l.P99, 100*ratio, int(total))
	}
	return ""
}

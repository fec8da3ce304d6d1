package registry

import "time"

// backoff is full jitter: a wait is uniform between nothing and a bound that doubles, so that a thousand processes that
// lost the same etcd at the same moment do not come back at the same moment.
type backoff struct {
	min, max time.Duration
	bound    time.Duration
}

// next is how long to wait now. uniform returns a number from 0 to n-1.
func (b *backoff) next(uniform func(n int64) int64) time.Duration {
	switch {
	case b.bound == 0:
		b.bound = b.min
	case b.bound > b.max/2:
		b.bound = b.max
	default:
		b.bound *= 2
	}
	return time.Duration(uniform(int64(b.bound) + 1))
}

func (b *backoff) reset() { b.bound = 0 }

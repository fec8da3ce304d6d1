package jwt

import "runtime"

// verifyingMax is how many tokens wait for one of the verifiers at most. The slowest signature, of P-521, takes about a
// millisecond: the last of them waits a quarter of a second.
const verifyingMax = 256

// verifiers are the goroutines that check signatures by public keys, for all filters of this kind. They are apart from the
// process's others: a password takes a thousand times as long as a signature, and a flood of the one must not stop the other.
type verifiers struct {
	work chan func()
}

// Start is for gateway.Remembered. As many are started as leave the loops the better part of the processors.
func (v *verifiers) Start() {
	work := make(chan func(), verifyingMax)
	v.work = work
	for range max(1, runtime.NumCPU()/2) {
		go func() {
			for do := range work {
				do()
			}
		}()
	}
}

// Close is for gateway.Remembered. They end when they have done what waits.
func (v *verifiers) Close() {
	if v.work != nil {
		close(v.work)
		v.work = nil
	}
}

// take returns false if too much waits. It never blocks.
func (v *verifiers) take(do func()) bool {
	select {
	case v.work <- do:
		return true
	default:
		return false
	}
}

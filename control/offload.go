package control

import "runtime"

// offloadedMax is how many pieces of work wait for a goroutine: with four to a core and some 50 ms each, as checking a password
// takes, the last of them waits for seconds already.
const offloadedMax = 256

// offload is the goroutines that do for loops what takes longer than a loop has: they check passwords.
type offload struct {
	work chan func()
}

// newOffload starts as many as leave the loops the better part of the processors.
func newOffload() *offload {
	o := &offload{work: make(chan func(), offloadedMax)}
	for range max(1, runtime.NumCPU()/2) {
		go func() {
			for do := range o.work {
				do()
			}
		}()
	}
	return o
}

// take returns false if too much waits. It never blocks: loops call it.
func (o *offload) take(work func()) bool {
	select {
	case o.work <- work:
		return true
	default:
		return false
	}
}

// stop ends the goroutines when they have done what waits. No loop may run any more.
func (o *offload) stop() { close(o.work) }

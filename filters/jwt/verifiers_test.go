package jwt

import (
	"sync"
	"testing"
)

// verifyingMax: what is beyond is refused at once, and what was taken is done.
func TestVerifiersTakeNoMoreThanMayWait(t *testing.T) {
	v := &verifiers{}
	if v.take(func() {}) {
		t.Error("work is taken where nobody does it")
	}
	for range 2 { // Start may follow Close
		v.Start()
		held := make(chan struct{})
		var under, done sync.WaitGroup
		taken := 0
		for {
			done.Add(1)
			if !v.take(func() { <-held; done.Done() }) {
				done.Done()
				break
			}
			taken++
		}
		if taken < verifyingMax {
			t.Errorf("%d are taken, want %d at least", taken, verifyingMax)
		}
		close(held)
		done.Wait()
		under.Add(1)
		if !v.take(under.Done) {
			t.Error("nothing is taken when all is done")
		}
		under.Wait()
		v.Close()
		v.Close()
	}
}

// shadowMax: in a second a loop checks no more signatures for filters that may not make a request wait.
func TestSignaturesInShadowModeAreBounded(t *testing.T) {
	c := newCache(16, tokenBytesDefault)
	for second := range int64(3) {
		n := 0
		for range 10 * shadowMax {
			if c.mayShadow(now + second) {
				n++
			}
		}
		if n != shadowMax {
			t.Errorf("%d in a second, want %d", n, shadowMax)
		}
	}
}

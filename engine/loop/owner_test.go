//go:build invariants && linux

package loop

import "testing"

func TestUseOffTheLoopIsCaught(t *testing.T) {
	l := startLoop(t)
	on(t, l, func() { l.Now() })
	var tm Timer
	for name, use := range map[string]func(){
		"Now":        func() { l.Now() },
		"Arm":        func() { l.Arm(&tm, 1) },
		"FlushLater": func() { l.FlushLater(flushFunc(func() {})) },
		"Close":      (&Socket{loop: l}).Close,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s on another goroutine went unnoticed", name)
				}
			}()
			use()
		}()
	}
}

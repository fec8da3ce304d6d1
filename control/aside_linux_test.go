package control

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nice is the niceness of the calling thread: the system call returns 20 less it (getpriority(2)).
func nice(t *testing.T) int {
	t.Helper()
	p, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Error(err)
	}
	return 20 - p
}

func TestWorkAsideGivesWayAndNothingElseDoes(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, thread := nice(t), unix.Gettid()
	var during, other int
	aside(func() { during, other = nice(t), unix.Gettid() })
	if during < min(before+1, niceness) || other == thread {
		t.Errorf("niceness %d on thread %d, the caller's was %d on %d", during, other, before, thread)
	}
	if after := nice(t); after != before {
		t.Errorf("the caller's niceness was %d and is %d", before, after)
	}
	// The thread is gone, so that no goroutine can end up on it. The first thread of a process cannot go: the runtime lays it
	// to rest.
	if other != unix.Getpid() {
		eventually(t, "the thread ends", func() bool { return unix.Tgkill(unix.Getpid(), other, 0) == unix.ESRCH })
	}
}

func TestAPanicAsideIsTheCallers(t *testing.T) {
	defer func() {
		if r := recover(); r != "oh" {
			t.Errorf("recovered %v", r)
		}
	}()
	aside(func() { panic("oh") })
}

// A document that is worked on aside is treated as any other, and what it took is given back when the one before retires.
func TestLargeDocumentsComeAndGo(t *testing.T) {
	o := startOrigin(t, "app")
	var many strings.Builder
	many.WriteString(strings.Repeat("#\n", untidyBytes/2))
	for i := range 2000 {
		fmt.Fprintf(&many, "  - {path: /service%d/:id, cluster: app}\n", i)
	}
	g := start(t, document(o), Options{})
	tidied := func(want bool) {
		t.Helper()
		eventually(t, "memory is given back", func() bool {
			var untidy int
			g.do(func() { untidy = g.untidy })
			return (untidy == 0) == want
		})
	}
	pinned, err := dial(g.addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer pinned.Close()
	fmt.Fprint(pinned, "GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
	<-o.waiting
	if r := g.apply(document(o, many.String())); r != 2 {
		t.Errorf("revision %d", r)
	}
	tidied(false) // a request still runs by the document before
	o.gate <- struct{}{}
	if a, err := pinned.read(); err != nil || a.body != "app" {
		t.Errorf("%v, %v", a, err)
	}
	tidied(true)
	want(t, get(t, g.addr("web"), "/service1999/7"), "200 app")
	if _, err := g.Apply(t.Context(), Change{Origin: "admin", Text: []byte(document(o, many.String(), "routs: []\n"))}); err == nil {
		t.Error("a large document with an error is accepted")
	}
	g.apply(document(o))
	tidied(true)
}

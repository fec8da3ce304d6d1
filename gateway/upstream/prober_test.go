package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// An endpoint that answers a check without end costs the gateway no more than the first part of the answer, and that is
// enough to judge it by: the status is there.
func TestAnEndlessAnswerToACheckIsNotRead(t *testing.T) {
	b := newBench(t)
	took := make(chan int, 1) // bytes of the first answer, the kernel's buffers included
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for piece := make([]byte, 64<<10); ; {
			more, err := w.Write(piece)
			if n += more; err != nil {
				break
			}
		}
		select {
		case took <- n:
		default:
		}
	}))
	defer s.Close()
	b.apply(probing(nil), strings.TrimPrefix(s.URL, "http://"))
	select {
	case n := <-took:
		if n > 64<<20 {
			t.Errorf("%d bytes of an answer were taken", n)
		}
	case <-time.After(patience):
		t.Fatal("the answer is read for ever")
	}
	b.await("healthy")
	if s := b.group.Statuses()[0]; s.LastCheck != "" {
		t.Errorf("the check failed: %+v", s)
	}
	b.apply(probing(nil), newFlapping(t).addr()) // or Close would wait for checks to come
}

func TestALargeHeadFailsACheck(t *testing.T) {
	b, well := newBench(t), newFlapping(t)
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 100 {
			w.Header().Set(fmt.Sprint("X-Field-", i), strings.Repeat("x", 400))
		}
		io.WriteString(w, "fine")
	}))
	defer large.Close()
	b.apply(probing(nil), strings.TrimPrefix(large.URL, "http://"), well.addr())
	b.await("failing", "healthy")
	if s := b.group.Statuses()[0].LastCheck; !strings.Contains(s, "exceeded") {
		t.Errorf("the check failed because %q", s)
	}
}

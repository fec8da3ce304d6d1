package cache

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// BenchmarkWhilePurged looks up and keeps, as a loop does, while a hundred thousand responses are purged by a prefix that half of them
// have. What counts is how long the loop is held up at most: by its lookups, and by what it keeps.
// Whatever is kept, purged and grown at the same time, a purge that has come back has taken out what it meant, and until it is back nobody
// finds that either.
func TestPurgesUnderWay(t *testing.T) {
	s := NewStore()
	for i := range 3000 {
		url := fmt.Sprintf("http://h/%d/%d", i%3, i)
		e := response(url, "", "", "old")
		if e.tags = []string{"a"}; i%2 == 0 {
			e.tags = []string{"b", "c"}
		}
		s.keep(url, e, plenty)
	}
	list := []mark{{prefix: "http://h/1/"}, {tag: "c"}}
	since := s.whole.Add(1)
	var marked []*mark
	for i := range list {
		list[i].since = since
		marked = append(marked, &list[i])
	}
	s.marked.Store(&marked)
	look := func() (found int) {
		for i := range 3000 {
			if body := s.body(fmt.Sprintf("http://h/%d/%d", i%3, i), ""); body == "old" {
				if i%3 == 1 || i%2 == 0 {
					t.Fatalf("%d is found", i)
				}
				found++
			}
		}
		return found
	}
	if n := look(); n != 1000 {
		t.Errorf("%d are found, want 1000", n)
	}
	if s.keep("http://h/1/1", response("http://h/1/1", "", "", "new"), plenty); s.body("http://h/1/1", "") != "new" {
		t.Error("what was asked for after the purge is not found")
	}
	var at, size int
	s.sweepStep(&s.shards[0], &at, &size, list) // the first step; then the table grows
	for i := range 5000 {
		url := fmt.Sprint("http://new/", i)
		s.keep(url, response(url, "", "", "new"), plenty)
	}
	if s.sweep(list); s.count.Load() != 1000+1+5000 {
		t.Errorf("%d are left", s.count.Load())
	}
	s.marked.Store(nil)
	if n := look(); n != 1000 {
		t.Errorf("%d are found, want 1000", n)
	}
}

// marksMax: more purges at a time wait for each other, and each takes out what it means.
func TestManyPurgesAtATime(t *testing.T) {
	s := NewStore()
	const n = 3 * marksMax
	for i := range n {
		url := fmt.Sprintf("http://h/%d/", i)
		s.keep(url, response(url, "", "", "x"), plenty)
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if got := s.PurgePrefix(fmt.Sprintf("http://h/%d/", i)); got != 1 {
				t.Errorf("%d purged", got)
			}
		})
	}
	all.Wait()
	if s.count.Load() != 0 || s.marked.Load() != nil {
		t.Errorf("%d are left", s.count.Load())
	}
}

func BenchmarkWhilePurged(b *testing.B) {
	const kept = 100_000
	var lookups, puts []time.Duration
	var purges time.Duration
	for b.Loop() {
		s := NewStore()
		for i := range kept {
			url := fmt.Sprintf("http://h/%d/%d", i%2, i)
			s.keep(url, response(url, "", "", "some body"), plenty)
		}
		done := make(chan time.Duration)
		go func() {
			from := mono.Now()
			s.PurgePrefix("http://h/1/")
			done <- mono.Now().Sub(from)
		}()
		var scratch []byte
		for i := 0; ; i++ {
			url := fmt.Sprintf("http://h/%d/%d", i%2, i*7919%kept)
			e := response(url, "", "", "some body")
			before := mono.Now()
			s.lookup(s.hash([]byte(url)), []byte(url), nil, &message.Fields{}, &scratch)
			between := mono.Now()
			s.keep(url, e, plenty)
			lookups, puts = append(lookups, between.Sub(before)), append(puts, mono.Now().Sub(between))
			select {
			case took := <-done:
				purges += took
			default:
				continue
			}
			break
		}
	}
	// One in a hundred: the very worst is when the machine did something else.
	worst := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)*99/100]) / 1e3
	}
	b.ReportMetric(worst(lookups), "us-p99-lookup")
	b.ReportMetric(worst(puts), "us-p99-put")
	b.ReportMetric(float64(purges.Microseconds())/float64(b.N), "us/purge")
}

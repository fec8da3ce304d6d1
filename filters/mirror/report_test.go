package mirror

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/compare"
)

func answerOf(body string) answer {
	return answer{Answer: compare.Answer{Status: 200, JSON: true, Body: []byte(body)}, headed: true, whole: true}
}

func settings() *Compare { return &Compare{BodyBytesMax: 1000, Examples: 3} }

// submitted makes jobs of bodies: old, new, and old again.
func submitted(id, old, next, again string) job {
	seconds, _ := strconv.ParseInt(id, 10, 64)
	return job{&comparison{id: id, at: time.Unix(seconds, 0), old: answerOf(old), next: answerOf(next), again: answerOf(again), asked: again != ""}, settings()}
}

func TestReport(t *testing.T) {
	r := newReport()
	for i, c := range []struct {
		old, next, again string
		want             verdict
	}{
		{`{"a":1}`, `{"a":1.0}`, `{"a":1}`, equal},
		{`{"a":1,"t":1}`, `{"a":1,"t":2}`, `{"a":1,"t":3}`, noise},
		{`{"a":1,"t":1}`, `{"a":2,"t":2}`, `{"a":1,"t":3}`, different},
		{`{"a":1,"t":1}`, `{"a":1,"t":2}`, `{"a":1,"t":1}`, noise}, // known by now
		{`{"a":1}`, `{"a":3}`, ``, different},
		{`{"a":1}`, `{"a":4}`, ``, different},
		{`{"a":1}`, `{"a":5}`, ``, different},
	} {
		before := r.counts[c.want].Load()
		r.judge(submitted(fmt.Sprint(i), c.old, c.next, c.again))
		if r.counts[c.want].Load() != before+1 {
			t.Errorf("%+v: %v", c, r.view())
		}
	}
	v := r.view()
	if len(v.Examples) != 3 || v.Examples[0].RequestID != "6" || v.Examples[2].RequestID != "4" {
		t.Errorf("%+v", v.Examples)
	}
	if p := v.Places[0]; p.Path != "$.a" || p.Different != 4 || p.Was != "1" || p.Is != "2" || p.RequestID != "2" || !p.LastSeen.Equal(time.Unix(6, 0)) {
		t.Errorf("%+v", v.Places)
	}
}

// uncompared_behind: nobody compares, and the loops do not wait.
func TestLoopsNeverWaitForTheReport(t *testing.T) {
	r := newReport()
	for range jobsMax + 5 {
		r.submit(submitted("", "1", "2", ""))
	}
	if n := r.counts[comparerBehind].Load(); n != 5 {
		t.Errorf("%d", n)
	}
	for range 2 { // and again, as memory does
		r.Start()
		r.Close()
	}
}

// A few bytes that become very many are not compared.
func TestBodiesWithACoding(t *testing.T) {
	zipped := func(n int) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(make([]byte, n))
		z.Close()
		return b.Bytes()
	}
	for _, c := range []struct {
		coding string
		body   []byte
		want   bool
		length int
	}{
		{"", []byte("abc"), true, 3}, {"gzip", zipped(100), true, 100}, {"gzip", zipped(101), false, 0}, {"gzip", zipped(10 << 20), false, 0},
		{"gzip", zipped(50)[:20], false, 0}, {"gzip", []byte("no"), false, 0}, {"gzip", nil, true, 0}, {"br", []byte("x"), false, 0},
	} {
		a := answer{coding: c.coding, Answer: compare.Answer{Body: c.body}}
		if ok := a.plain(100); ok != c.want || ok && len(a.Body) != c.length {
			t.Errorf("%s of %d: %v, %d", c.coding, len(c.body), ok, len(a.Body))
		}
	}
}

func TestHeadsThatAreCompared(t *testing.T) {
	var h message.Head
	h.Status = 201
	h.AddString("Content-Type", "Application/Problem+JSON ; charset=utf-8")
	h.AddString("Vary", "a")
	h.AddString("vary", "b")
	var a answer
	a.read(&h, &compare.Config{Fields: []string{"vary", "etag"}})
	if !a.JSON || a.Status != 201 || string(a.Fields[0]) != "a, b" || a.Fields[1] != nil {
		t.Errorf("%+v", a)
	}
	if isJSON([]byte("text/html")) || !isJSON([]byte("application/json")) {
		t.Error("types")
	}
}

func TestTimes(t *testing.T) {
	var all times
	for i := range 100 {
		all.add(time.Duration(i+1) * time.Millisecond)
	}
	all.add(-1)
	v := all.view()
	if v.P50 < 50 || v.P50 > 61 || v.P99 < 99 || v.P99 > 120 || new(times).view() != (Latency{}) {
		t.Errorf("%+v", v)
	}
}

// places_seen: keys of objects are the sender's to choose.
func TestPlacesSeenAreBounded(t *testing.T) {
	r := newReport()
	for i := range compare.RowsMax + 50 {
		r.judge(submitted(fmt.Sprint(i), fmt.Sprintf(`{"k%d":1}`, i), fmt.Sprintf(`{"k%d":2}`, i), ""))
	}
	if n := len(r.mu.seen); n != compare.RowsMax {
		t.Errorf("%d places", n)
	}
	if v := r.view(); len(v.Places) != compare.RowsMax || v.PlacesHidden == 0 {
		t.Errorf("%d places, %d hidden", len(v.Places), v.PlacesHidden)
	}
}

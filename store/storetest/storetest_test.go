package storetest

import (
	"testing"
	"time"
)

func TestWhatATallyFinds(t *testing.T) {
	begun := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		at      []int // milliseconds
		rate    float64
		over    float64
		closest time.Duration // of three
	}{
		{nil, 10, 0, -1},
		{[]int{0, 0}, 10, 2, -1},
		{[]int{0, 100, 200}, 10, 1, 200 * time.Millisecond},
		{[]int{0, 50, 100, 1000, 1000, 1000}, 10, 3, 0},
		{[]int{0, 50, 100, 150}, 20, 1, 100 * time.Millisecond},
	} {
		var got Tally[int]
		for _, ms := range c.at {
			got.Admitted = append(got.Admitted, begun.Add(time.Duration(ms)*time.Millisecond))
		}
		closest, ok := got.Closest(2)
		if !ok {
			closest = -1
		}
		if over := got.Over(c.rate); over < c.over-1e-6 || over > c.over+1e-6 || closest != c.closest {
			t.Errorf("%v: %v over, three in %v; want %v, %v", c.at, over, closest, c.over, c.closest)
		}
	}
}

func TestALoadIsJudgedToTheLast(t *testing.T) {
	odd := make(chan bool, 1)
	odd <- true
	ask := func() (bool, string) { was := <-odd; odd <- !was; return was, "somebody" }
	got := Load([]func() (bool, string){ask, ask}, 1000, Within(50*time.Millisecond))
	all := len(got.Admitted) + got.Refused
	if all == 0 || got.By["somebody"] != all || len(got.Admitted)-got.Refused > 1 || len(got.Admitted) < got.Refused {
		t.Errorf("%v", got)
	}
}

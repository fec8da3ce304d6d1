package balance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tally picks n times and counts; every request is over at once.
func tally(s *Set, n int) []int {
	counts := make([]int, len(s.endpoints))
	for k := range uint64(n) {
		i, _ := s.Pick(t0, mix(k), mix(k+7e9), nil)
		counts[i]++
	}
	return counts
}

// chiSquare is the sum of (observed-expected)^2/expected.
func chiSquare(counts []int, shares []float64) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	x := 0.0
	for i, c := range counts {
		e := shares[i] * float64(n)
		x += (float64(c) - e) * (float64(c) - e) / e
	}
	return x
}

func shares(endpoints []Endpoint) []float64 {
	total := 0.0
	for _, e := range endpoints {
		total += float64(e.Weight)
	}
	out := make([]float64, len(endpoints))
	for i, e := range endpoints {
		out[i] = float64(e.Weight) / total
	}
	return out
}

func TestRandomFollowsTheWeights(t *testing.T) {
	// 1 in 1000 by chance: 27.9 at 9 degrees of freedom, 16.3 at 3. The bits are fixed.
	for _, c := range []struct {
		endpoints []Endpoint
		most      float64
	}{
		{list(10), 27.9},
		{weighted(1, 2, 3, 4), 16.3},
		{weighted(1, 1, 1, 1000), 16.3},
	} {
		counts := tally(newSet(t, Config{Algorithm: Random}, c.endpoints), 100_000)
		if x := chiSquare(counts, shares(c.endpoints)); x > c.most {
			t.Errorf("chi-square %.1f, at most %.1f, of %v", x, c.most, counts)
		}
	}
}

func TestTwoChoicesOnAQuietClusterFollowsTheWeights(t *testing.T) {
	endpoints := weighted(1, 2, 3, 4)
	for i, c := range tally(newSet(t, Config{Algorithm: TwoChoices}, endpoints), 100_000) {
		want := shares(endpoints)[i] * 100_000
		if f := float64(c); f < 0.97*want || f > 1.03*want {
			t.Errorf("weight %d of 10 got %d, want %.0f", endpoints[i].Weight, c, want)
		}
	}
}

func TestRoundRobinSequence(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"HHH", "012012012"},
		{"HFHH", "023023023"},
		{"HFFH|H", "030303030"},
		{"H", "000000000"},
	} {
		s := cluster(t, Config{}, c.in)
		if got := sequence(s, 9); got != c.want {
			t.Errorf("%q = %s, want %s", c.in, got, c.want)
		}
	}
}

func TestRoundRobinKeepsItsTurnWhenThePoolChanges(t *testing.T) {
	s := cluster(t, Config{}, "HHHH")
	got := sequence(s, 2)
	s.SetHealth(1, Failing, t0)
	got += sequence(s, 1)
	s.SetHealth(1, Healthy, t0)
	got += sequence(s, 3)
	if want := "01" + "2" + "301"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRoundRobinWithUnequalWeightsIsWeighted(t *testing.T) {
	if got, want := sequence(newSet(t, Config{}, weighted(2, 1)), 6), "010010"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func sequence(s *Set, n int) string {
	out := ""
	for range n {
		i, _ := s.Pick(t0, 0, 0, nil)
		out += fmt.Sprint(i)
	}
	return out
}

func TestWeightedSequence(t *testing.T) {
	for _, c := range []struct {
		weights []uint32
		want    string // two rounds
	}{
		{[]uint32{1, 1, 1}, "012012"},
		{[]uint32{2, 1}, "010010"},
		{[]uint32{5, 1, 1}, "00012000001200"},
		{[]uint32{3, 2}, "0101001010"},
		{[]uint32{4, 2, 1}, "01020100102010"},
	} {
		s := newSet(t, Config{Algorithm: Weighted}, weighted(c.weights...))
		if got := sequence(s, len(c.want)); got != c.want {
			t.Errorf("%v = %s, want %s", c.weights, got, c.want)
		}
	}
}

// The slow twin of the heap: every turn as a fraction, the earliest found by looking at all.
func TestWeightedIsTheEarliestTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 50), 1, 20).Draw(t, "weights")
		s := New(Config{Algorithm: Weighted}, weighted(weights...), t0)
		next := make([]uint64, len(weights))
		for i, w := range weights {
			next[i] = round / uint64(w) / 2
		}
		counts := make([]float64, len(weights))
		total := 0.0
		for _, w := range weights {
			total += float64(w)
		}
		for k := 1; k <= 300; k++ {
			want := 0
			for i := range next {
				if next[i] < next[want] {
					want = i
				}
			}
			next[want] += round / uint64(weights[want])
			got, _ := s.Pick(t0, 0, 0, nil)
			if got != want {
				t.Fatalf("pick %d is %d, want %d", k, got, want)
			}
			// Smooth: at no moment is anybody far from its share of the turns so far. Everybody is within half a turn of what is
			// due to it by the clock of turns, so the number of all turns is within half a turn for each endpoint, of which
			// one with most of the weight bears the most.
			counts[got]++
			for i, w := range weights {
				most := 1.5 + float64(len(weights))/2*float64(w)/total
				if off := counts[i] - float64(k)*float64(w)/total; off > most || off < -most {
					t.Fatalf("after %d turns endpoint %d of weight %d/%.0f had %.0f", k, i, w, total, counts[i])
				}
			}
		}
	})
}

// The slow twin of least request: nobody in the pool has fewer in flight for its weight than the one chosen, whatever
// requests come, end, and whoever falls ill.
func TestLeastRequestIsTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 5), 1, 12).Draw(t, "weights")
		s := New(Config{Algorithm: LeastRequest, PanicThreshold: -1}, weighted(weights...), t0)
		inFlight := make([]int, len(weights))
		ill := make([]bool, len(weights))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(weights)-1).Draw(t, "endpoint")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				got, why := s.Pick(t0, 0, 0, nil)
				best := -1
				for j := range weights {
					if !ill[j] && (best < 0 || inFlight[j]*int(weights[best]) < inFlight[best]*int(weights[j])) {
						best = j
					}
				}
				if (got < 0) != (best < 0) {
					t.Fatalf("picked %d (%v), want %d", got, why, best)
				}
				if got < 0 {
					continue
				}
				if ill[got] || inFlight[got]*int(weights[best]) > inFlight[best]*int(weights[got]) {
					t.Fatalf("picked %d: %d in flight, weight %d; %d has %d, weight %d",
						got, inFlight[got], weights[got], best, inFlight[best], weights[best])
				}
				s.Start(got, t0)
				inFlight[got]++
			case 2:
				if inFlight[i] > 0 {
					s.Done(i, t0, time.Millisecond, Succeeded)
					inFlight[i]--
				}
			case 3:
				ill[i] = !ill[i]
				h := Healthy
				if ill[i] {
					h = Failing
				}
				s.SetHealth(i, h, t0)
			}
		}
	})
}

func TestLeastRequestOnAQuietClusterTakesTurns(t *testing.T) {
	s := newSet(t, Config{Algorithm: LeastRequest}, weighted(2, 1))
	got := ""
	for range 6 {
		i, _ := s.Pick(t0, 0, 0, nil)
		s.Start(i, t0)
		s.Done(i, t0, time.Millisecond, Succeeded)
		got += fmt.Sprint(i)
	}
	if want := "010010"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSeedsStartLoopsOutOfStep(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, Weighted, LeastRequest} {
		first := make([]int, 10)
		for seed := range uint64(200) {
			i, _ := newSet(t, Config{Algorithm: a, Seed: seed + 1}, list(10)).Pick(t0, 0, 0, nil)
			first[i]++
		}
		for i, n := range first {
			if n < 5 || n > 45 {
				t.Errorf("%v: endpoint %d is first on %d of 200 loops, want about 20", a, i, n)
			}
		}
	}
}

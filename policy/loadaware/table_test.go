package loadaware

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// odds are what a table draws by, added up over its places.
func (t *Table) odds() []float64 {
	odds := make([]float64, len(t.places))
	for i, p := range t.places {
		keep := float64(p.keep) / (whole - 1)
		odds[i] += keep / float64(len(t.places))
		odds[p.other] += (1 - keep) / float64(len(t.places))
	}
	return odds
}

func TestATableDrawsByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0.001, 1000)), 1, 40).Draw(t, "weights")
		chances, sum := make([]Chance, len(weights)), 0.0
		for i, w := range weights {
			chances[i], sum = Chance{w, 1}, sum+w
		}
		table := NewTable(chances)
		if table.Empty() != (sum == 0) {
			t.Fatalf("empty %v", table.Empty())
		}
		for i, odds := range table.odds() {
			if want := weights[i] / sum; math.Abs(odds-want) > 1e-6 || want == 0 && odds != 0 {
				t.Fatalf("%d is drawn with %v, want %v", i, odds, want)
			}
		}
	})
}

func TestTwoAreDrawnAndTheLessBusyIsPreferred(t *testing.T) {
	table := NewTable([]Chance{{100, 1}, {100, 1}, {50, 1}, {100, 10}})
	f := func(first, second int, inFirst, inSecond int64, want int) {
		t.Helper()
		if got := table.Prefer(first, second, inFirst, inSecond, 1); got != want {
			t.Errorf("of %d with %d and %d with %d got %d", first, inFirst, second, inSecond, got)
		}
	}
	f(0, 1, 0, 0, 0)
	f(1, 0, 0, 0, 1)
	f(0, 1, 1, 0, 1)
	f(2, 0, 1, 1, 0) // half the weight: a call counts twice
	f(0, 2, 2, 1, 0)
	f(3, 0, 0, 0, 0) // ten times slower
	f(0, 3, 0, 0, 0)
	f(0, 3, 15, 0, 3) // unless ten are waiting there
}

func TestASlowEndpointGetsTwoCallsInAThousand(t *testing.T) {
	const seed, n = 5, 1_000_000
	r := rand.New(rand.NewPCG(seed, seed))
	chances := make([]Chance, 10)
	for i := range chances {
		chances[i] = Chance{100, 1}
	}
	chances[4] = Chance{20, 10}
	table, got := NewTable(chances), 0
	for range n {
		x, y := r.Uint64(), r.Uint64()
		first, second := table.Draw(x, y)
		if table.Prefer(first, second, 0, 0, y) == 4 {
			got++
		}
	}
	if share := float64(got) / n; math.Abs(share-trialShare) > trialShare/5 {
		t.Errorf("seed %d: %.4f of the calls", seed, share)
	}
}

func TestAnAverageLearnsFromTwoCallsAndForgivesOne(t *testing.T) {
	a := Average(0)
	for range 50 {
		a = a.Learn(20*time.Millisecond, StepAlone)
	}
	f := func(b Average, from, to time.Duration) {
		t.Helper()
		if d := b.Duration(); d < from || d > to {
			t.Errorf("%v, want %v to %v", d, from, to)
		}
	}
	f(a, 20*time.Millisecond-1, 20*time.Millisecond+1)
	f(a.Learn(time.Hour, StepAlone), 35*time.Millisecond, 45*time.Millisecond)
	f(a.Learn(200*time.Millisecond, StepAlone).Learn(200*time.Millisecond, StepAlone), 50*time.Millisecond, 70*time.Millisecond)
	f(Average(0).Learn(0, StepAlone), 1, 1)
	f(Average(0).Learn(1, StepAlone), 1, 1)
	f(Average(0), 0, 0)
	ratio := Average(0).LearnRatio(30*time.Millisecond, 20*time.Millisecond, StepRatio)
	if d := ratio.Of(200 * time.Millisecond).Round(time.Millisecond); d != 300*time.Millisecond {
		t.Errorf("%v", d)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	share, n := LearnFailure(0, true), 0
	for ; share > 0; n++ {
		share = LearnFailure(share, false)
	}
	if n < 30 || n > 80 {
		t.Errorf("one failure counts for %d calls", n)
	}
	for range 100 {
		share = LearnFailure(share, true)
	}
	if share < 0.99 || share > 1 {
		t.Errorf("%v of the calls fail, all did", share)
	}
}

func BenchmarkDraw(b *testing.B) {
	chances := make([]Chance, 100)
	for i := range chances {
		chances[i] = Chance{float64(i + 1), 1}
	}
	table := NewTable(chances)
	b.ReportAllocs()
	x := uint64(1)
	for b.Loop() {
		x = mix(x)
		first, second := table.Draw(x, x>>7)
		table.Prefer(first, second, 1, 2, x)
	}
}

func TestATableThatIsFilledAgainIsAsANewOne(t *testing.T) {
	var again Table
	for _, chances := range [][]Chance{
		{{1, 1}, {2, 1}, {3, 20}, {0, 1}}, {{5, 1}}, {{0, 1}, {0, 1}}, {{1, 30}, {0, 1}, {9, 1}, {4, 1}, {2, 1}}, {}, {{0, 1}, {1, 1}},
	} {
		fresh := NewTable(chances)
		again.Fill(chances)
		if !slices.Equal(fresh.places, again.places) || fresh.Empty() != again.Empty() {
			t.Errorf("%v: filled again %v, new %v", chances, again.places, fresh.places)
		}
	}
	chances := []Chance{{1, 1}, {2, 1}, {3, 20}, {4, 1}}
	if n := testing.AllocsPerRun(100, func() { again.Fill(chances) }); n != 0 {
		t.Errorf("filling again allocates %v times", n)
	}
}

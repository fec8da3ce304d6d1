package shed

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

func TestPressure(t *testing.T) {
	cfg := Config{}.WithDefaults()
	for _, c := range []struct {
		situation string
		turn      time.Duration
		memory    float64
		want      float64
	}{
		{"nothing to do", 0, 0, 0},
		{"up to the first mark", 10 * time.Millisecond, 0.85, 0},
		{"between", 30 * time.Millisecond, 0, 0.5},
		{"memory alone", 0, 0.90, 0.5},
		{"the worse of both", 20 * time.Millisecond, 0.90, 0.5},
		{"from the second", 50 * time.Millisecond, 0, 1},
		{"beyond", time.Hour, 7, 1},
		{"not known", 0, math.NaN(), 0},
	} {
		var g Gauge
		if got := g.Update(1, &cfg, c.turn, c.memory); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.situation, got, c.want)
		}
	}
}

func TestPressureRisesAtOnceAndFallsSlowly(t *testing.T) {
	cfg := Config{}.WithDefaults()
	var g Gauge
	now := mono.Time(time.Hour)
	for _, c := range []struct {
		after time.Duration
		turn  time.Duration
		want  float64
	}{
		{0, time.Second, 1},
		{time.Second, 0, 0.8},
		{time.Second, 30 * time.Millisecond, 0.6},
		{time.Second, 30 * time.Millisecond, 0.5},
		{0, time.Second, 1},
		{time.Minute, 0, 0},
	} {
		now = now.Add(c.after)
		if got := g.Update(now, &cfg, c.turn, 0); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v later: %v, want %v", c.after, got, c.want)
		}
	}
}

func TestLowestClassGoesFirst(t *testing.T) {
	for _, c := range []struct {
		pressure float64
		want     [Classes]float64
	}{
		{0, [Classes]float64{}},
		{0.125, [Classes]float64{0, 0, 0, 0.5}},
		{0.5, [Classes]float64{0, 0, 1, 1}},
		{0.625, [Classes]float64{0, 0.5, 1, 1}},
		{1, [Classes]float64{1, 1, 1, 1}},
	} {
		for class := range Classes {
			if got := Share(class, c.pressure); got != c.want[class] {
				t.Errorf("pressure %v, class %d: %v, want %v", c.pressure, class, got, c.want[class])
			}
		}
	}
}

func TestShareIsWhatIsShed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		n := 0
		for range 10_000 {
			if Sheds(share, r.Uint64()) {
				n++
			}
		}
		if math.Abs(float64(n)/10_000-share) > 0.03 {
			t.Fatalf("%d of 10,000 at a share of %v", n, share)
		}
	})
	if Sheds(0, 0) || !Sheds(1, math.MaxUint64) {
		t.Error("none and all are not exact")
	}
}

func TestGaugeAllocatesNothing(t *testing.T) {
	cfg := Config{}.WithDefaults()
	var g Gauge
	if n := testing.AllocsPerRun(100, func() { g.Update(1, &cfg, 1, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

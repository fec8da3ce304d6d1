package loadaware

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestTheLogarithmIsThatOfTheLibrary(t *testing.T) {
	near := func(t interface{ Errorf(string, ...any) }, x float64) {
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 1e-7 {
			t.Errorf("of %v: %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{1e-300, 0.5, math.Sqrt2 / 2, math.Nextafter(1, 0), 1, math.Nextafter(1, 2), math.Sqrt2, 2, 1e9, math.MaxFloat64} {
		near(t, x)
		near(t, math.Nextafter(x, 1))
	}
	rapid.Check(t, func(t *rapid.T) { near(t, rapid.Float64Range(1e-300, math.MaxFloat64).Draw(t, "x")) })
}

package split

import (
	"fmt"
	"math"
)

// StepsOfOne is how many different weights there are between none and all: a document and an operator give them to 0.01 %.
const StepsOfOne = 10_000

// Unsaid is the weight of a variant of which nothing is said.
const Unsaid = -1

// IsStep reports whether a weight is one that can be said: a share from 0 to 1, to 0.01 %.
func IsStep(w float64) bool {
	return w >= 0 && w <= 1 && math.Abs(w*StepsOfOne-math.Round(w*StepsOfOne)) < 1e-6
}

// Set returns weights that sum up to 1: those said, and for the others what is left, in the proportion that they have now,
// or, if they have nothing now, in that of usual, or, if they have nothing there either, in equal parts. now and usual have
// a weight for each variant, and may be nil for nothing. It is an error if more than 1 is said, or less and there is nobody for the rest.
func Set(said, now, usual []float64) ([]float64, error) {
	sum, others := 0.0, 0
	for _, w := range said {
		if w == Unsaid {
			others++
		} else {
			sum += w
		}
	}
	const rounding = 1e-9 // of sums of a few numbers
	rest := 1 - sum
	switch {
	case rest < -rounding:
		return nil, fmt.Errorf("the weights sum up to %.6g%%", sum*100)
	case others == 0 && rest > rounding:
		return nil, fmt.Errorf("the weights sum up to %.6g%%, and every variant has one", sum*100)
	case rest < rounding:
		rest = 0 // so that nobody gets a key in a billion
	}
	parts := proportions(said, now)
	if parts == nil {
		parts = proportions(said, usual)
	}
	out := make([]float64, len(said))
	for i, w := range said {
		switch {
		case w != Unsaid:
			out[i] = w
		case parts == nil:
			out[i] = rest / float64(others)
		default:
			out[i] = rest * parts[i]
		}
	}
	return out, nil
}

// proportions are the parts that those of whom nothing is said have of what they have together; nil if that is nothing.
func proportions(said, of []float64) []float64 {
	if of == nil {
		return nil
	}
	sum := 0.0
	for i, w := range said {
		if w == Unsaid {
			sum += of[i]
		}
	}
	if !(sum > 0) {
		return nil
	}
	out := make([]float64, len(said))
	for i, w := range said {
		if w == Unsaid {
			out[i] = of[i] / sum
		}
	}
	return out
}

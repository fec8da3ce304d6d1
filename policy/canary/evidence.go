package canary

import "math"

// pair is so many of so many requests, of both. The counts may be broken: see beyond.
type pair struct {
	canary, canaryOf     float64
	baseline, baselineOf float64
}

// wager is capital in a bet against "the canary's proportion is at most the baseline's and tolerance".
//
// The bets are alternatives of different size, each with its own capital. Part of the capital is cash, which is put
// into the bets bit by bit: an incident in which everything is otherwise than thought can eat what was bet, and not
// what was not.
type wager struct {
	bets []float64 // logarithms of capital
	cash float64
	seen float64 // requests of the canary
}

// newWager returns a wager with a stake, over so many bets.
func newWager(stake float64, bets int) wager {
	w := wager{bets: make([]float64, bets), cash: stake}
	for i := range w.bets {
		w.bets[i] = math.Inf(-1)
	}
	return w
}

const (
	// atOnce is what part of the stake is bet on the first window; the rest follows as atOnce/(1+requests/slowly):
	// half of it in the first slowly requests, a quarter of it in the next twice as many, and never all.
	atOnce = 0.5
	slowly = 5000
)

// invest moves cash into the bets, by requests and not by what came of them: so the bet is fair.
func (w *wager) invest(requests float64) {
	rest := w.cash
	if w.seen == 0 {
		rest *= 1 - atOnce
	}
	rest *= (1 + w.seen/slowly) / (1 + (w.seen+requests)/slowly)
	w.seen += requests
	each := math.Log((w.cash - rest) / float64(len(w.bets)))
	for i, l := range w.bets {
		w.bets[i] = addLogs(l, each)
	}
	w.cash = rest
}

// take pays a bet out: f is the logarithm of its factor, which is cut at most, so that one window does not decide
// alone. A factor that is cut is still one that makes nothing on average.
func (w *wager) take(bet int, f, most float64) { w.bets[bet] += min(f, most) }

// capital is the logarithm of what there is.
func (w *wager) capital() float64 {
	sum := math.Log(w.cash)
	for _, l := range w.bets {
		sum = addLogs(sum, l)
	}
	return sum
}

// addLogs is log(exp(a)+exp(b)).
func addLogs(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// factor is the logarithm of the likelihood of what was seen if the proportions are canary and baseline, over that of
// the nearest proportions a and b with a <= b+tolerance.
//
// Nearest is what makes it fair. With proportions u and v in truth the factor's mean is A(u)^n B(v)^m, A and B
// straight lines, so that its logarithm is concave along u = v+tolerance; the nearest point is where its slope is
// zero, and there it is 1. Below that line A, which grows, and B, which falls, are smaller still.
func (p *pair) factor(canary, baseline, tolerance float64) float64 {
	if canary <= baseline+tolerance {
		return 0
	}
	b := nearest(p.canaryOf, p.baselineOf, canary, baseline, tolerance)
	a := b + tolerance
	return p.canary*math.Log(canary/a) + (p.canaryOf-p.canary)*math.Log((1-canary)/(1-a)) +
		p.baseline*math.Log(baseline/b) + (p.baselineOf-p.baseline)*math.Log((1-baseline)/(1-b))
}

// nearest returns the b at which n requests of the canary and m of the baseline are most likely to look as if the
// proportions were canary and baseline, while they are b+tolerance and b.
func nearest(n, m, canary, baseline, tolerance float64) float64 {
	low, high := baseline, canary-tolerance
	if tolerance == 0 {
		return (n*canary + m*baseline) / (n + m)
	}
	const halvings = 40 // to a part in 10^12
	for range halvings {
		b := (low + high) / 2
		a := b + tolerance
		if n*(canary-a)/(a*(1-a))+m*(baseline-b)/(b*(1-b)) > 0 {
			low = b
		} else {
			high = b
		}
	}
	return (low + high) / 2
}

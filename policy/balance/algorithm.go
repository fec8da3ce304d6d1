package balance

// Algorithm is how a set chooses within its pool.
type Algorithm uint8

const (
	RoundRobin   Algorithm = iota // in turn; unequal weights turn it into Weighted, as in nginx and Envoy
	Weighted                      // in turn by weight, smoothly
	Random                        // at random by weight
	LeastRequest                  // the fewest requests in flight for its weight, in turn among equals
	TwoChoices                    // of two drawn at random, the one that promises the shorter wait
	Maglev                        // by the request's key: the same key, the same endpoint
	LoadAware                     // of two drawn by what is known of their load and latency, the one that promises the shorter wait
)

// names are the words of the configuration, by Algorithm.
var names = [...]string{"round_robin", "weighted", "random", "least_request", "two_choices", "maglev", "load_aware"}

func (a Algorithm) String() string { return names[a] }

// ParseAlgorithm returns the algorithm of that name. The names are those of String.
func ParseAlgorithm(name string) (Algorithm, bool) {
	for a, n := range names {
		if n == name {
			return Algorithm(a), true
		}
	}
	return 0, false
}

func (a Algorithm) takesTurns() bool { return a == Weighted || a == LeastRequest }

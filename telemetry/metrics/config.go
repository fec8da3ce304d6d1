package metrics

import (
	"fmt"
	"unicode/utf8"
)

// Defaults of the limits in Config.
const (
	// routesDefault keeps a page under 3 MB: a route in use is some 25 lines of 90 bytes.
	routesDefault = 1000
	// clustersDefault is as many clusters as routes may have labels of their own.
	clustersDefault = 1000
	// endpointsDefault is a line for each of as many endpoints; totals by cluster stay exact beyond it.
	endpointsDefault = 1000
)

// certificatesMax is how many certificates are listed one by one: as many as endpoints.
const certificatesMax = 1000

// wordsMax bounds Outcomes and Verdicts, which are fixed arrays in every cluster's counters. Three times what a
// gateway tells apart today.
const wordsMax = 16

// Config fixes everything about the metrics that is known before the first request: how many loops write, and the
// words that may stand in a label. A word's position in its list is the number the loops report it by; the lists belong
// to those who report (the gateway's failures, the codec's refusals), so that a log, a header and a metric say the same
// word.
type Config struct {
	Loops int // event loops, at least 1

	Reasons      []string // why the gateway answered by itself
	Refusals     []string // why a request was refused as malformed
	CloseReasons []string // why a client connection ended
	RejectLimits []string // which limit turned a client connection away
	Outcomes     []string // how an upstream attempt ended, at most 16
	Verdicts     []string // what was decided about a retry, at most 16

	RouteLimit    int // routes of one configuration with a label of their own; 0 is 1000
	ClusterLimit  int // clusters of one configuration with a label of their own; 0 is 1000
	EndpointLimit int // endpoints listed one by one; 0 is 1000

	Version string // of the program, for yumen_build_info
	Commit  string // it was built from
}

// withDefaults returns a checked copy with every default filled in.
func (c Config) withDefaults() (Config, error) {
	if c.Loops < 1 {
		return c, fmt.Errorf("metrics: %d loops, want at least 1", c.Loops)
	}
	for _, list := range []struct {
		name  string
		words []string
		max   int
	}{
		{"Reasons", c.Reasons, 0},
		{"Refusals", c.Refusals, 0},
		{"CloseReasons", c.CloseReasons, 0},
		{"RejectLimits", c.RejectLimits, 0},
		{"Outcomes", c.Outcomes, wordsMax},
		{"Verdicts", c.Verdicts, wordsMax},
	} {
		if list.max > 0 && len(list.words) > list.max {
			return c, fmt.Errorf("metrics: %s has %d words, at most %d fit", list.name, len(list.words), list.max)
		}
		seen := make(map[string]bool, len(list.words))
		for i, w := range list.words {
			if w == "" || !utf8.ValidString(w) || seen[w] {
				return c, fmt.Errorf("metrics: %s[%d] is %q: want a word, once, in UTF-8", list.name, i, w)
			}
			seen[w] = true
		}
	}
	for _, limit := range []struct {
		name  string
		value *int
		usual int
	}{
		{"RouteLimit", &c.RouteLimit, routesDefault},
		{"ClusterLimit", &c.ClusterLimit, clustersDefault},
		{"EndpointLimit", &c.EndpointLimit, endpointsDefault},
	} {
		if *limit.value < 0 {
			return c, fmt.Errorf("metrics: %s is %d, want 0 or more", limit.name, *limit.value)
		}
		if *limit.value == 0 {
			*limit.value = limit.usual
		}
	}
	return c, nil
}

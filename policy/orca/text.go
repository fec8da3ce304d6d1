package orca

import "bytes"

// parseText reads "cpu_utilization=0.3,named_metrics.queue=4". Names within a map stand behind its name and a dot. Unknown names are
// read over, as unknown fields of the other forms are.
func parseText(b []byte) (Report, error) {
	var r Report
	var s seen
	for {
		pair, rest, more := bytes.Cut(b, comma)
		name, value, ok := bytes.Cut(pair, equals)
		name = bytes.TrimSpace(name)
		if !ok || len(name) == 0 {
			return Report{}, ErrMalformed
		}
		v, err := number(bytes.TrimSpace(value))
		if err != nil {
			return Report{}, err
		}
		what := field(name)
		if string(name) == "named_metrics."+latencyMetric {
			what = seenLatency
		}
		if what != 0 {
			if err := r.say(&s, what, v); err != nil {
				return Report{}, err
			}
		}
		if !more {
			return r, nil
		}
		b = rest
	}
}

var comma, equals = []byte(","), []byte("=")

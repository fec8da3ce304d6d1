package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/limit"
	judge "github.com/yumen-io/yumen/policy/limit"
)

// limitAlgorithms and limitMissing are the words of documents, in those of the filter.
var (
	limitAlgorithms = map[config.LimitAlgorithm]judge.Algorithm{
		config.LimitTokenBucket: judge.TokenBucket, config.LimitLeakyBucket: judge.LeakyBucket,
		config.LimitFixedWindow: judge.FixedWindow, config.LimitSlidingWindow: judge.SlidingWindow,
	}
	limitMissing = map[config.LimitMissing]limit.Missing{
		config.LimitShare: limit.Share, config.LimitPass: limit.Pass, config.LimitRefuse: limit.Refuse,
	}
)

func limitSpec(said *config.LimitFilter) *limit.Spec {
	spec := &limit.Spec{Status: said.Status, Fields: said.Headers}
	for _, r := range said.All() {
		rule := limit.Rule{Name: r.Name, Key: keyParts(r.Key), Missing: limitMissing[r.Missing], AtOnce: int64(r.Concurrency), KeysMax: r.KeysMax}
		if r.Rate != nil {
			rule.Rate = &judge.Config{Algorithm: limitAlgorithms[r.Algorithm], Count: int64(r.Rate.Count), Per: r.Rate.Per, Burst: int64(r.Burst)}
			if r.MaxDelay != nil {
				rule.Rate.MaxDelay = *r.MaxDelay
			}
		}
		spec.Rules = append(spec.Rules, rule)
	}
	return spec
}

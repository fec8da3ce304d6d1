package compile

import (
	"cmp"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/gateway"
	judge "github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/quotas"
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
		rule.KeyUnsaid = len(r.Key) > 0 && r.Key[0].Line == 0
		if r.Rate != nil {
			rule.Rate = &judge.Config{Algorithm: limitAlgorithms[r.Algorithm], Count: int64(r.Rate.Count), Per: r.Rate.Per, Burst: int64(r.Burst)}
			if r.MaxDelay != nil {
				rule.Rate.MaxDelay = *r.MaxDelay
			}
		}
		if r.Shared != nil {
			rule.Shared = sharedLimit(&r)
		}
		spec.Rules = append(spec.Rules, rule)
	}
	return spec
}

// limitModes and limitUnreachable are the words of documents, in those of the store.
var (
	limitModes       = map[config.LimitSharedMode]quotas.Mode{config.LimitLeased: quotas.Leased, config.LimitExact: quotas.Exact}
	limitUnreachable = map[config.LimitUnreachable]quotas.Unreachable{
		config.LimitLocalShare: quotas.LocalShare, config.LimitOpen: quotas.Open, config.LimitClosed: quotas.Closed,
	}
)

// sharedLimit says how the source of a rule is made that gateways share.
func sharedLimit(r *config.LimitRule) limit.MakeSource {
	said := r.Shared
	spec := quotas.Spec{
		Mode: limitModes[said.Mode], Unreachable: limitUnreachable[said.WhenUnreachable], Nodes: said.Nodes, KeysMax: r.KeysMax,
		Rule: quota.Rule{Count: int64(r.Rate.Count), Per: r.Rate.Per, Burst: cmp.Or(int64(r.Burst), int64(r.Rate.Count))},
	}
	return func(guard string, memory *gateway.Recollection) (limit.Source, []limit.Problem) {
		spec := spec
		var problem *redisProblem
		if spec.Redis, problem = redisSettings(&said.Redis); problem != nil {
			return nil, []limit.Problem{{Field: "shared.redis." + problem.field, Cause: problem.cause, Fix: problem.fix}}
		}
		spec.Name = cmp.Or(said.Name, guard+"/"+r.Name)
		source, problems := limit.NewShared(spec, memory)
		if problems != nil {
			var list []limit.Problem
			for _, p := range problems {
				list = append(list, limit.Problem{Field: sharedField(p.Field), Cause: p.Cause, Fix: p.Fix})
			}
			return nil, list
		}
		return source, nil
	}
}

// sharedField finds in a document what the store has a problem with: the rate and its burst are the rule's.
func sharedField(field string) string {
	if field == "rate" || field == "burst" {
		return field
	}
	return "shared." + field
}

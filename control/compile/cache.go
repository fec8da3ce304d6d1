package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/cache"
	policy "github.com/yumen-io/yumen/policy/cache"
)

func cacheSpec(said *config.CacheFilter) *cache.Spec {
	s := &cache.Spec{
		Bytes: said.MaxSize, EntryBytes: said.MaxEntrySize, Key: keyParts(said.Key), Quiet: !said.Say,
		Query: cache.Query{Ignore: said.Query.Ignore, Sort: said.Query.Sort},
		Rules: policy.Rules{
			Targeted: said.Targeted, Heuristic: said.Heuristic.Fraction(), DefaultLifetime: said.DefaultTTL, NegativeLifetime: said.NegativeTTL,
			LifetimeMax: said.MaxTTL, StaleIfError: said.StaleIfError, StaleWhileRevalidate: said.StaleWhileUpdated,
			StoreSetCookie: said.StoreSetCookie, IgnoreRequest: !said.ObeysClients,
		},
	}
	if c := said.Collapse; c != nil {
		s.Collapse = cache.Collapse{Waiting: c.Waiting, Timeout: c.Timeout}
	} else {
		s.Collapse.Off = true
	}
	return s
}

package compile

import (
	"fmt"
	"strconv"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/cache"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// checkCache points at filters that a cache before them keeps from seeing requests.
func (c *compiler) checkCache(i int) {
	uses, before := c.doc.Routes[i].Filters, ""
	for j := range uses {
		f := uses[j].Filter
		if f == nil || f.Mode() == config.GuardOff {
			continue
		}
		if _, ok := f.Body.(*config.CacheFilter); ok {
			before = "the cache"
			if f.Name != "" {
				before += " " + strconv.Quote(f.Name)
			}
			continue
		}
		what := skipped(f.Kind)
		if before == "" || what == "" {
			continue
		}
		c.warn(c.inRoute(i, "filters["+strconv.Itoa(j)+"]", uses[j].Pos),
			fmt.Sprintf("requests that %s answers are not %s: the filter %s stands behind it", before, what, f.Kind),
			"put the cache behind it, unless only what goes to the upstream is meant")
	}
}

// skipped says what does not happen to a request that a cache answers before it comes to a filter of that kind; empty: nothing that
// matters to who is let in, or how often.
func skipped(kind string) string {
	switch kind {
	case "jwt", "api_key", "basic_auth", "mtls", "ext_auth":
		return "asked who sends them"
	case "ip":
		return "judged by their address"
	case "limit":
		return "counted or limited"
	}
	return ""
}

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
	if r := said.Redis; r != nil {
		settings, problem := redisSettings(&r.Server)
		s.Tier = &cache.TierSpec{Redis: settings, Name: r.Name, Wait: r.Wait, EntryBytes: r.MaxEntrySize}
		if problem != nil {
			s.Tier.Missing = &cache.Problem{Field: "redis." + problem.field, Cause: problem.cause, Fix: problem.fix}
		}
	}
	return s
}

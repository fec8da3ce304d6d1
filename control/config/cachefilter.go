package config

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// CacheFilter answers requests with responses it has kept.
type CacheFilter struct {
	Pos
	MaxSize, MaxEntrySize             int64 // bytes
	DefaultTTL, NegativeTTL, MaxTTL   time.Duration
	Heuristic                         Percent
	StaleIfError, StaleWhileUpdated   time.Duration
	StoreSetCookie, ObeysClients, Say bool
	Targeted                          []string // in lower case
	Key                               []GuardKey
	Query                             CacheQuery
	Collapse                          *CacheCollapse // nil: off
	Redis                             *CacheRedis    // nil: none
	Guard                             GuardMode
}

func (v *CacheFilter) guardMode() GuardMode { return v.Guard }

// CacheQuery is how a query becomes part of a key.
type CacheQuery struct {
	Ignore []string
	Sort   bool
}

// CacheCollapse bounds waiting for another's answer.
type CacheCollapse struct {
	Waiting int
	Timeout time.Duration
}

// cacheTimeMax bounds lifetimes that a document gives: longer is what an upstream says itself.
const cacheTimeMax = 365 * 24 * time.Hour

var cacheFilterObject = sync.OnceValue(func() *object[CacheFilter] {
	type T = CacheFilter
	lifetime := func() kind[time.Duration] { return duration(0, cacheTimeMax) }
	return &object[T]{
		name: "cache", article: "a",
		about: "Answers requests with responses it has kept in memory, as a shared cache by RFC 9111. Put guards that find out who asks before it: what stands behind it is not asked when the answer is kept. All routes that name one filter of filters: share one memory.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("max_size", size(1<<20, 1<<40), func(v *T) *int64 { return &v.MaxSize }, 64<<20,
				`How much memory responses may take together, overhead included. 64MiB is some ten thousand pages, and little beside the gateway's buffers.`),
			may("max_entry_size", size(1<<10, 1<<30), func(v *T) *int64 { return &v.MaxEntrySize },
				`Responses with a longer body are not kept. At most an eighth of max_size, and by default 1MiB or that eighth: a few large files would be all that the cache has.`),
			def("default_ttl", lifetime(), func(v *T) *time.Duration { return &v.DefaultTTL }, 0,
				`How long a response that does not say it is fresh, if its status is 200, 203, 204, 300, 301 or 308 and the request does not say who asks. 0s by default: what is not said to be for all is not given to all.`),
			def("negative_ttl", lifetime(), func(v *T) *time.Duration { return &v.NegativeTTL }, 0,
				`The same for 404, 405, 410, 414 and 501.`),
			def("max_ttl", lifetime(), func(v *T) *time.Duration { return &v.MaxTTL }, 0,
				`No response is fresh for longer, whatever it says. 0s: as long as it says.`),
			def("heuristic", percent(), func(v *T) *Percent { return &v.Heuristic }, 0,
				`For which part of the time since its Last-Modified a response that says nothing else is fresh, a day at most (RFC 9111 4.2.2). 10% is usual. 0% by default: it is a guess.`),
			def("stale_if_error", lifetime(), func(v *T) *time.Duration { return &v.StaleIfError }, 0,
				`For how long a stale response stands in when the upstream fails or answers 500, 502, 503 or 504, of responses that do not say it themselves. Those with must-revalidate, proxy-revalidate or s-maxage never do.`),
			def("stale_while_revalidate", lifetime(), func(v *T) *time.Duration { return &v.StaleWhileUpdated }, 0,
				`For how long a stale response is still used while it is asked for anew, of responses that do not say it themselves.`),
			def("store_set_cookie", boolean(), func(v *T) *bool { return &v.StoreSetCookie }, false,
				`Keep responses with Set-Cookie. Off: the cookie of the first client would be given to all.`),
			def("client_directives", boolean(), func(v *T) *bool { return &v.ObeysClients }, true,
				`Do what Cache-Control of a request says: no-cache, max-age, min-fresh, max-stale. Off: only only-if-cached, and no-store keeps the answer from being kept; clients cannot have the upstream asked.`),
			def("targeted", oneOrMore(inLowerCase(fieldName())), func(v *T) *[]string { return &v.Targeted }, []string{"cdn-cache-control"},
				`Fields of responses that stand in the place of Cache-Control and Expires for this cache (RFC 9213), the most specific first.`),
			may("key", guardKey(), func(v *T) *[]GuardKey { return &v.Key },
				`What is part of the key beside the URL and what Vary names: `+guardKeyAbout),
			always("query", section(cacheQueryObject), func(v *T) *CacheQuery { return &v.Query },
				`What of the query is part of the key. By default all of it, as it is written.`),
			on("collapse", cacheCollapseObject, func(v *T) **CacheCollapse { return &v.Collapse },
				`Whether, of identical requests that find nothing, one asks and the others wait for its answer.`),
			may("redis", sharedCache(), func(v *T) **CacheRedis { return &v.Redis },
				`A Redis in which gateways share what they keep: 10.0.0.5:6379. What is not in memory is looked for there, what is kept is written there too, and a purge on one gateway is one on all. Without it each gateway has what it asked for itself.`),
			def("status_header", boolean(), func(v *T) *bool { return &v.Say }, true,
				`Tell clients by Cache-Status (RFC 9211) what the cache did.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce,
				`enforce, shadow (it keeps responses, and counts and records what it would have answered; every request goes to the upstream as it came) or off (what it has stays, and grows old).`),
		},
		short: onOnly[T](),
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if most := v.MaxSize / 8; v.MaxEntrySize > most && g.clean {
				d.fail(g.key("max_entry_size"), "lower it, or raise max_size", "one response may have an eighth of max_size, %s", formatSize(most))
			}
			refuseTwiceAt(d, g, "targeted", v.Targeted)
		},
	}
})

var cacheQueryObject = sync.OnceValue(func() *object[CacheQuery] {
	type T = CacheQuery
	return &object[T]{
		name: "cache_query", article: "the",
		about: "What of a query is part of the key of a response.",
		keys: []key[T]{
			emptyByDefault("ignore", oneOrMore(text("parameter", notEmpty, queryName)), func(v *T) *[]string { return &v.Ignore },
				`Parameters that are left out: a name, or a prefix with * behind it, such as utm_*. Only those that the upstream takes no notice of: else one client chooses what all others get.`),
			def("sort", boolean(), func(v *T) *bool { return &v.Sort }, false,
				`Put parameters in the order of their names, so that ?a=1&b=2 and ?b=2&a=1 are one. Off: to the upstream they may be two.`),
		},
	}
})

func queryName(s string) (cause, fix string) {
	if strings.ContainsAny(s, "&=# ") || strings.Contains(strings.TrimSuffix(s, "*"), "*") {
		return strconv.Quote(s) + " is not the name of a parameter", "write a name, or a prefix with * behind it: utm_*"
	}
	return "", ""
}

var cacheCollapseObject = sync.OnceValue(func() *object[CacheCollapse] {
	type T = CacheCollapse
	return &object[T]{
		name: "cache_collapse", article: "the",
		about: "Bounds on waiting for the answer to another's request.",
		keys: []key[T]{
			def("waiting", integer(1, 1000000), func(v *T) *int { return &v.Waiting }, 1000,
				`How many requests may wait for one answer. Those beyond ask for themselves: a bound on memory.`),
			def("timeout", duration(100*time.Millisecond, 10*time.Minute), func(v *T) *time.Duration { return &v.Timeout }, 5*time.Second,
				`How long each waits before it asks for itself. 5s: longer than most answers take, and shorter than most clients' patience.`),
		},
	}
})

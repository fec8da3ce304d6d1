package cache

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// Spec is what a document says. Zero means the default, unless said otherwise.
type Spec struct {
	// Bytes bounds the memory for responses, overhead included; 0 means 64 MiB.
	Bytes int64
	// EntryBytes bounds the body of one response; 0 means 1 MiB, at most Bytes/8.
	EntryBytes int64
	// Rules are those of policy/cache. A zero means what it means there.
	Rules policy.Rules
	// Key is what is part of the key beside the URL.
	Key gateway.KeyParts
	// Query is what of the query is part of the key.
	Query Query
	// Collapse says who waits for whose answer.
	Collapse Collapse
	// Quiet leaves out Cache-Status.
	Quiet bool
	// Tier is the Redis in which gateways share their responses; nil: none.
	Tier *TierSpec
}

// Query is how a URL's query becomes part of the key.
type Query struct {
	// Ignore are names of parameters that are left out; "utm_*" stands for all that begin so.
	Ignore []string
	// Sort puts parameters in the order of their names.
	Sort bool
}

// Collapse bounds waiting for the answer to another's request.
type Collapse struct {
	// Off: nobody waits.
	Off bool
	// Waiting is how many may wait for one answer; 0 means 1000.
	Waiting int
	// Timeout is how long; 0 means 5 s.
	Timeout time.Duration
}

// Defaults.
const (
	bytesDefault = 64 << 20
	entryDefault = 1 << 20
	// entryShare: one response has at most one part in entryShare of the memory, so that a few large ones do not make up the
	// cache.
	entryShare     = 8
	waitingDefault = 1000
	timeoutDefault = 5 * time.Second
	// bytesMin is room for some responses; below, a cache only costs.
	bytesMin = 1 << 20
)

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// Words of answers that the filter gives: for the log and metrics, and for those that are its own for the client too.
const (
	// ReasonHit: a kept response that is fresh. ReasonStale: one that is not, but may be used.
	ReasonHit   = "cache_hit"
	ReasonStale = "cache_stale"
	// ReasonMiss: nothing is kept, or it has to be asked about.
	ReasonMiss = "cache_miss"
	// ReasonCollapse: the answer that others wait for takes too long. ReasonStatus: the upstream answered with an error. Both are why
	// a stale response stood in.
	ReasonCollapse = "collapse_timeout"
	ReasonStatus   = "upstream_status"
	// ReasonOnlyIfCached: the client wants no request to be made for it, and nothing is kept.
	ReasonOnlyIfCached = "not_cached"
	// ReasonRange: the range that the client asks for lies outside of the kept response.
	ReasonRange = "range_not_satisfiable"
)

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonHit, ReasonStale, ReasonOnlyIfCached, ReasonRange} }

// Filter is a compiled Spec. It is frozen, and shared by all loops; what it keeps is in its Store, which outlives it.
type Filter struct {
	spec  Spec
	guard *gateway.Guard
	store *Store
	loops gateway.PerLoop[scratch]
	later resumes

	tier                             *Tier // nil: none, or in shadow mode
	tierFound, tierNothing, tierLate func(x *gateway.Exchange) gateway.Verdict
}

// StoreKey is what the memory calls the stores of caches: the key of one is this, and the filter's name.
const StoreKey = "cache/"

// tierKey is the same for tiers.
const tierKey = "cache_tier/"

// Compile makes a filter of s, or says everything that is wrong. The store is the one that is in force under the guard's name, or a
// new one; without a memory it is the filter's own.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	var problems []Problem
	fail := func(field, cause, fix string) { problems = append(problems, Problem{field, cause, fix}) }
	if s.Bytes == 0 {
		s.Bytes = bytesDefault
	}
	if s.EntryBytes == 0 {
		s.EntryBytes = min(entryDefault, s.Bytes/entryShare)
	}
	if s.Collapse.Waiting == 0 {
		s.Collapse.Waiting = waitingDefault
	}
	if s.Collapse.Timeout == 0 {
		s.Collapse.Timeout = timeoutDefault
	}
	if s.Bytes < bytesMin {
		fail("max_bytes", "less than 1MiB is no cache", "write max_bytes: 64MiB")
	} else if s.EntryBytes > s.Bytes/entryShare {
		fail("max_entry_bytes", fmt.Sprintf("one response may have an eighth of max_bytes at most, which is %d bytes", s.Bytes/entryShare), "lower it, or raise max_bytes")
	}
	if s.Rules.Heuristic < 0 || s.Rules.Heuristic > 1 {
		fail("heuristic", "it is a part of the time since the last modification, between 0 and 1", "write heuristic: 10%")
	}
	for i, n := range s.Query.Ignore {
		if n == "" || strings.ContainsAny(n, "&=#") || strings.Contains(strings.TrimSuffix(n, "*"), "*") {
			fail(fmt.Sprintf("query.ignore[%d]", i), fmt.Sprintf("%q is no name of a parameter", n), "write the name, or a prefix with * behind it")
		}
	}
	if s.Tier != nil {
		tier := *s.Tier
		s.Tier = &tier
		problems = append(problems, tier.fill(guard.Name, s.EntryBytes)...)
	}
	if problems != nil {
		return nil, problems
	}
	f := &Filter{spec: s, guard: guard, store: gateway.Recall(memory, StoreKey+guard.Name, NewStore)}
	guard.Tell = f.store.tell
	if s.Tier != nil {
		key := fmt.Sprintf("%s%s/%s/%v/%d/%s", tierKey, guard.Name, s.Tier.Name, s.Tier.Wait, s.Tier.EntryBytes, s.Tier.Redis.Key())
		t := gateway.Recall(memory, key, func() *Tier { return newTier(*s.Tier, f.store) })
		guard.Tell = func(yield func(number string, value float64)) {
			f.store.tell(yield)
			t.tellNumbers(yield)
		}
		if guard.Mode != gateway.Shadow {
			f.compileTier(t)
		}
	}
	for how := range landings {
		f.later[how] = func(x *gateway.Exchange) gateway.Verdict { return f.resume(x, how) }
	}
	return f, nil
}

const hookName = "cache"

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: hookName, Request: f.Request, Response: f.Response, Failed: f.Failed, Done: f.Done}
}

// Store returns the memory, for those who purge and count.
func (f *Filter) Store() *Store { return f.store }

// String says what the filter does.
func (f *Filter) String() string {
	s := &f.spec
	b := "keep responses, " + size(s.Bytes) + " in all, up to " + size(s.EntryBytes) + " each"
	if s.Rules.DefaultLifetime > 0 {
		b += "; " + s.Rules.DefaultLifetime.String() + " if they do not say how long"
	}
	if s.Rules.NegativeLifetime > 0 {
		b += "; " + s.Rules.NegativeLifetime.String() + " for 404 and its like"
	}
	if s.Rules.Heuristic > 0 {
		b += "; " + strconv.FormatFloat(s.Rules.Heuristic*100, 'g', 3, 64) + "% of the time since their modification"
	}
	if t := s.Tier; t != nil {
		b += "; shared through Redis as " + t.Name + ", which a miss waits for " + t.Wait.String() + " at most, up to " + size(t.EntryBytes) + " each"
	}
	if s.Collapse.Off {
		return b + "; nobody waits for another's answer"
	}
	return b + fmt.Sprintf("; up to %d wait for another's answer, %v at most", s.Collapse.Waiting, s.Collapse.Timeout)
}

func size(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	case n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "KiB"
	}
	return strconv.FormatInt(n, 10) + "B"
}

package config

import (
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// AdmissionFilter lets as many requests at a time to a cluster as it works on, and has the others wait, fairly.
type AdmissionFilter struct {
	Pos
	Key      []GuardKey // none: all are one tenant's
	Weights  []TenantWeight
	Priority *Priority // nil: all are alike
	Limit    AdmissionLimit
	Min, Max int // of a limit that is found
	Queue    int
	MaxWait  time.Duration
	Hold     AdmissionHold
	Guard    GuardMode
}

func (v *AdmissionFilter) guardMode() GuardMode { return v.Guard }

// AdmissionLimit is how many requests at a time; 0: as many as latency allows.
type AdmissionLimit int

// String is the form read by the parser.
func (l AdmissionLimit) String() string {
	if l == 0 {
		return "auto"
	}
	return strconv.Itoa(int(l))
}

// AdmissionHold is how long a request keeps its place.
type AdmissionHold string

// How long a place is kept.
const (
	HoldToEnd  AdmissionHold = "end"
	HoldToHead AdmissionHold = "head"
)

// TenantWeight is what a tenant gets of what all get.
type TenantWeight struct {
	Pos
	Name   string
	Weight int
}

const (
	// tenantWeightMax is that of filters/admission: a tenant with more would have the place to himself.
	tenantWeightMax = 100
	// admissionLimitMax is past what one node has under way.
	admissionLimitMax = 1_000_000
	// admissionQueueMax is about a gigabyte of heads that wait.
	admissionQueueMax = 1_000_000
)

var admissionFilterObject = sync.OnceValue(func() *object[AdmissionFilter] {
	type T = AdmissionFilter
	isFound := func(v *T) bool { return v.Limit == 0 }
	return &object[T]{
		name: "admission", article: "an",
		about: "In front of a cluster: lets in as many requests at a time as the cluster works on, found from latency, and has the others wait in an order that is fair to tenants. What cannot be answered before its deadline is refused at once. Whoever is refused is answered 503 with Retry-After. Routes to one cluster share a filter by its name.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("key", guardKey(), func(v *T) *[]GuardKey { return &v.Key },
				`Who is a tenant: `+guardKeyAbout+` Without a key all requests are one tenant's, and served in their order.`),
			may("weights", tenantWeights(), func(v *T) *[]TenantWeight { return &v.Weights },
				`What a tenant gets when there is not enough for all, from 1 to 100, by the value of the key: {gold: 4}. 1 for those that are not named.`),
			may("priority", priority(), func(v *T) **Priority { return &v.Priority }, priorityAbout),
			def("limit", admissionLimit(), func(v *T) *AdmissionLimit { return &v.Limit }, 0,
				`How many requests at a time go to the cluster, from all loops of this node: a number, or auto: as many as latency allows. auto by default: a number is right until the cluster, or the number of gateways before it, changes.`),
			def("min", integer(1, admissionLimitMax), func(v *T) *int { return &v.Min }, 1,
				`The least that limit: auto finds. One request at a time, by default: latency alone tells whether that is too much.`).when(isFound),
			def("max", integer(1, admissionLimitMax), func(v *T) *int { return &v.Max }, 10_000,
				`The most that limit: auto finds. More than one node usually has under way with one cluster.`).when(isFound),
			def("queue", integer(0, admissionQueueMax), func(v *T) *int { return &v.Queue }, 1000,
				`How many requests may wait, divided among the loops that have some. One tenant fills half of it at most. A thousand wait about a second for a cluster that does a thousand a second.`),
			def("max_wait", duration(time.Millisecond, time.Minute), func(v *T) *time.Duration { return &v.MaxWait }, time.Second,
				`How long a request may wait. Many clients give up soon after a second.`),
			def("hold", choice("word", HoldToEnd, HoldToHead), func(v *T) *AdmissionHold { return &v.Hold }, HoldToEnd,
				`How long a request keeps its place: to the end of its answer, or to its head, for answers that go on while the cluster has little to do with them (downloads, server-sent events). To the end by default: that is how long an upstream is busy.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			if at := g.key("weights"); at != nil && len(v.Key) != 1 {
				d.fail(at, "write key: {claim: tenant}", "weights are of the values of a key with one part, found %d parts", len(v.Key))
			}
			if v.Limit != 0 {
				for _, name := range []string{"min", "max"} {
					if at := g.key(name); at != nil {
						d.fail(at, "remove it, or write limit: auto", "%s bounds a limit that is found, and this one is a number", quote(name))
					}
				}
			} else if v.Min > v.Max {
				at := g.key("min")
				if at == nil {
					at = g.key("max")
				}
				d.fail(at, "raise max or lower min", "min %d is more than max %d", v.Min, v.Max)
			}
		},
	}
})

func admissionLimit() kind[AdmissionLimit] {
	k := parsed("limit", "auto or 100", `auto|[1-9][0-9]*`, func(s string) (v AdmissionLimit, cause, fix string) {
		if s == "auto" {
			return 0, "", ""
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > admissionLimitMax {
			return 0, quote(s) + " is no limit", "write auto, or a number from 1 to " + strconv.Itoa(admissionLimitMax)
		}
		return AdmissionLimit(n), "", ""
	}, AdmissionLimit.String)
	word := k.schema
	k.schema = func(b *schemaBuilder) map[string]any { return anyOf(word(b), integer(1, admissionLimitMax).schema(b)) }
	return k
}

func tenantWeights() kind[[]TenantWeight] {
	weight := integer(1, tenantWeightMax)
	k := part(weight, func(v *TenantWeight) *int { return &v.Weight })
	k.word = "weight"
	return mapOf(k, func(v *TenantWeight) *string { return &v.Name }, func(v *TenantWeight) *Pos { return &v.Pos },
		func(*decoder, *yaml.Node, string) bool { return true }, asWritten)
}

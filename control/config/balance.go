package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Balance is which endpoint takes the next request.
type Balance struct {
	Pos
	Algorithm Algorithm
	Key       *HashKey // of Maglev; nil for the others

	// Of LoadAware; they mean nothing to the others.
	LatencyScale time.Duration
	Floor        Percent // above 0
	RatioMax     int
	KeepReports  bool
}

// Algorithm is a way to choose an endpoint.
type Algorithm string

// The algorithms.
const (
	RoundRobin   Algorithm = "round_robin"
	Weighted     Algorithm = "weighted" // smooth weighted round robin
	Random       Algorithm = "random"
	LeastRequest Algorithm = "least_request"
	TwoChoices   Algorithm = "two_choices" // the better of two by load and moving latency
	Maglev       Algorithm = "maglev"      // consistent hashing
	LoadAware    Algorithm = "load_aware"  // by reported load, latency and failures
)

// HashKey is what a request is hashed by.
type HashKey struct {
	Pos
	Source HashSource
	Name   string // of the header (in lower case), cookie or path parameter; empty for the client's address
}

func (k *HashKey) parts() (*HashSource, *string) { return &k.Source, &k.Name }

// HashSource is the part of a request that is hashed.
type HashSource string

// The parts of a request that can be hashed.
const (
	HashHeader        HashSource = "header"
	HashCookie        HashSource = "cookie"
	HashClientAddress HashSource = "client_address"
	HashPathParam     HashSource = "path_param"
)

func algorithm() kind[Algorithm] {
	return choice("balancing algorithm", RoundRobin, Weighted, Random, LeastRequest, TwoChoices, Maglev, LoadAware)
}

// isLoadAware tells of a balance to which the keys of load_aware mean something.
func isLoadAware(v *Balance) bool { return v.Algorithm == LoadAware }

// loadAwareKeys are the names of those keys.
var loadAwareKeys = [...]string{"latency_scale", "floor", "ratio_max", "keep_reports"}

// slowStartLoadAware is what slow_start is for load_aware where nothing else is said: what is known of an endpoint is known after
// some seconds, and until then it must not be given all that the others are too loaded for.
const slowStartLoadAware = 10 * time.Second

var balanceObject = sync.OnceValue(func() *object[Balance] {
	return &object[Balance]{
		name: "balance", article: "a",
		about: "Which endpoint takes the next request.",
		pos:   func(v *Balance) *Pos { return &v.Pos },
		keys: []key[Balance]{
			def("algorithm", algorithm(), func(v *Balance) *Algorithm { return &v.Algorithm }, RoundRobin,
				`round_robin (in turn), weighted (in turn, by weight), random, least_request (the fewest under way), two_choices (the better of two by load and latency), maglev (the same key, the same endpoint), load_aware (by the load that endpoints report, by latency and by failures). In turn is the default everyone expects; weights that differ make it weighted.`),
			may("key", present(hashKeyObject), func(v *Balance) **HashKey { return &v.Key },
				`What maglev hashes. By default client_address.`),
			def("latency_scale", duration(time.Millisecond, time.Minute), func(v *Balance) *time.Duration { return &v.LatencyScale }, 100*time.Millisecond,
				`For load_aware: the latency that brings a weight down to a third. 100ms tells services apart that answer in tens of milliseconds.`).when(isLoadAware),
			def("floor", percent(), func(v *Balance) *Percent { return &v.Floor }, Percent(5),
				`For load_aware: the part of its weight that an endpoint keeps whatever it reports. With 5% a process that is close to its memory limit and well still gets something.`).when(isLoadAware),
			def("ratio_max", integer(1, 1000), func(v *Balance) *int { return &v.RatioMax }, 10,
				`For load_aware: by how many times the best part may exceed the worst. Ten, so that one fast endpoint does not draw everybody's traffic.`).when(isLoadAware),
			def("keep_reports", boolean(), func(v *Balance) *bool { return &v.KeepReports }, false,
				`For load_aware: leave the fields endpoint-load-metrics and endpoint-load-metrics-bin in answers. Off, since how busy a server is is no business of clients.`).when(isLoadAware),
		},
		short: &short[Balance]{
			about:  "the name of an algorithm",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *Balance) { algorithm().read(d, n, &v.Algorithm) },
			schema: func(b *schemaBuilder) map[string]any { return algorithm().schema(b) },
		},
		check: func(d *decoder, n *yaml.Node, v *Balance, g given[Balance]) {
			switch {
			case v.Algorithm == Maglev && v.Key == nil:
				v.Key = &HashKey{Source: HashClientAddress}
			case v.Algorithm != Maglev && v.Key != nil:
				d.fail(g.key("key"), "use algorithm: maglev, or remove the key", "%s does not hash, so that a key means nothing", v.Algorithm)
			}
			for _, name := range loadAwareKeys {
				if said := g.key(name); said != nil && v.Algorithm != LoadAware {
					d.fail(said, "use algorithm: load_aware, or remove "+name, "%s does not weigh by load, so that %s means nothing", v.Algorithm, name)
				}
			}
			if said := g.key("floor"); said != nil && v.Floor == 0 && v.Algorithm == LoadAware {
				d.fail(said, "write 1% or more", "an endpoint that gets nothing is never seen to recover")
			}
		},
	}
})

// hashKeyObject has one key for each source.
var hashKeyObject = sync.OnceValue(func() *object[HashKey] {
	named := func(source HashSource, k kind[string], about string) key[HashKey] {
		return may(string(source), sourceName(source, k, (*HashKey).parts), func(v *HashKey) *HashKey { return v }, about).
			when(func(v *HashKey) bool { return v.Source == source })
	}
	return &object[HashKey]{
		name: "hash_key", article: "a",
		about: "What a request is hashed by: one of these.",
		pos:   func(v *HashKey) *Pos { return &v.Pos },
		keys: []key[HashKey]{
			named(HashHeader, fieldName(), `The value of a header field.`),
			named(HashCookie, text("cookie name", fieldNameText), `The value of a cookie.`),
			named(HashPathParam, text("path parameter", notEmpty), `The value of a parameter of the path: id for /users/:id.`),
			may(string(HashClientAddress), hashClient(), func(v *HashKey) *HashKey { return v }, `The address of the client.`).
				when(func(v *HashKey) bool { return v.Source == HashClientAddress }),
		},
		short: &short[HashKey]{
			about: "client_address",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *HashKey) {
				choice("hash key", HashClientAddress).read(d, n, &v.Source)
			},
			schema: choice("hash key", HashClientAddress).schema,
		},
		check: func(d *decoder, n *yaml.Node, v *HashKey, g given[HashKey]) {
			said := 0
			for _, at := range g.keys {
				if at != nil {
					said++
				}
			}
			if n.Kind == yaml.MappingNode && said != 1 {
				d.fail(n, "write one of header, cookie, path_param, client_address", "a hash key has one source, found %d", said)
			}
		},
	}
})

func hashClient() kind[HashKey] {
	return kind[HashKey]{
		word:   "true",
		schema: boolean().schema,
		read: func(d *decoder, n *yaml.Node, v *HashKey) {
			is := false
			boolean().read(d, n, &is)
			if is {
				v.Source = HashClientAddress
				return
			}
			d.fail(n, "write client_address: true", "a hash key needs a source")
		},
		write: func(*HashKey) *yaml.Node { yes := true; return boolean().write(&yes) },
	}
}

package config

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/yumen-io/yumen/policy/compare"
	"go.yaml.in/yaml/v3"
)

// MirrorFilter sends copies of requests to another cluster.
type MirrorFilter struct {
	Pos
	Cluster       Text
	Share         Percent
	Methods       []string
	UnsafeMethods bool
	MaxBody       int64 // 0: no bodies
	InFlight      int
	Timeout       time.Duration
	Headers       FieldChanges
	Compare       *MirrorCompare // nil: answers to copies are thrown away
	Guard         GuardMode
}

func (v *MirrorFilter) guardMode() GuardMode { return v.Guard }

var mirrorFilterObject = sync.OnceValue(func() *object[MirrorFilter] {
	type T = MirrorFilter
	return &object[T]{
		name: "mirror", article: "a",
		about: "Sends copies of requests to another cluster, whose answers no client sees. What copies may take is bounded, so that an original is never slower for them. Put it last in the list: a copy is what the filters before it have made of the request, and is sent even if one behind it refuses the original.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("cluster", clusterName(), func(v *T) *Text { return &v.Cluster },
				`Cluster that gets the copies.`),
			def("share", percent(), func(v *T) *Percent { return &v.Share }, 100,
				`Which part of the requests is copied, at random. 100%: what a mirror is without more; lower it if the cluster is smaller than the one that answers.`),
			def("methods", oneOrMore(text("method", isMethod)), func(v *T) *[]string { return &v.Methods }, []string{"GET", "HEAD"},
				`Methods of requests that are copied. Of others than GET, HEAD and OPTIONS unsafe_methods must be said.`),
			def("unsafe_methods", boolean(), func(v *T) *bool { return &v.UnsafeMethods }, false,
				`Copy requests that change something, too. Off: an order would be placed twice, if the copy's cluster has the same database behind it.`),
			def("max_body", orOff(size(1, 1<<20)), func(v *T) *int64 { return &v.MaxBody }, 64<<10,
				`Requests with a longer body are not copied. Off: none with a body is. It is kept until the request is complete: 64KiB of 64 requests are 4MiB on each loop.`),
			def("in_flight", integer(1, 10_000), func(v *T) *int { return &v.InFlight }, 64,
				`How many copies each loop has under way at most. Beyond, requests are not copied, and counted as in_flight_full: a cluster that hangs takes this much and no more.`),
			def("timeout", duration(10*time.Millisecond, time.Minute), func(v *T) *time.Duration { return &v.Timeout }, 5*time.Second,
				`How long a copy may take. 5s: a slower one only keeps others from being made.`),
			always("headers", section(fieldChangesObject), func(v *T) *FieldChanges { return &v.Headers },
				`What happens to the fields of copies: to take credentials away, for example. X-Yumen-Mirror, with the filter's name, is always set.`),
			off("compare", mirrorCompareObject, func(v *T) **MirrorCompare { return &v.Compare },
				`Whether what is answered to copies is compared with what is answered to the originals. Off: it takes a third request for noise, and memory.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce,
				`enforce, shadow (count what would be copied, and send nothing) or off. Enforced by default: who writes a mirror down wants it.`),
		},
		short: &short[T]{
			about: "the name of a cluster",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				clusterName().read(d, n, &v.Cluster)
			},
			schema: func(b *schemaBuilder) map[string]any { return clusterName().schema(b) },
		},
		check: checkMirror,
	}
})

// MirrorCompare is how answers to copies are compared with those to the originals.
type MirrorCompare struct {
	To       Text
	Headers  []string
	JSON     MirrorJSON
	MaxBody  int64
	Examples int
}

// MirrorJSON is what matters in JSON.
type MirrorJSON struct {
	Ignore    []string
	Tolerance Percent
	AnyOrder  bool
}

var mirrorCompareObject = sync.OnceValue(func() *object[MirrorCompare] {
	type T = MirrorCompare
	return &object[T]{
		name: "mirror_compare", article: "the",
		about: "How answers of the new version are compared with those of the old one: status, headers, and bodies, JSON by its structure. What the old version answers differently to a third copy is noise, and left out.",
		keys: []key[T]{
			may("to", clusterName(), func(v *T) *Text { return &v.To },
				`Cluster of the old version, which gets the third copy when the original has been answered. By default the route's own. Only GET, HEAD and OPTIONS are sent to it again.`),
			def("headers", oneOrMore(inLowerCase(fieldName())), func(v *T) *[]string { return &v.Headers }, []string{"content-type"},
				`Fields of answers to compare.`),
			always("json", section(mirrorJSONObject), func(v *T) *MirrorJSON { return &v.JSON },
				`What matters in JSON.`),
			def("max_body", size(1, 4<<20), func(v *T) *int64 { return &v.MaxBody }, 256<<10,
				`Answers with a longer body are not compared. Three of them are kept for each copy under way: 256KiB of 64 copies are 48MiB on each loop at worst.`),
			def("examples", integer(1, 1000), func(v *T) *int { return &v.Examples }, 20,
				`How many of the last requests with different answers are kept. 20 is as many as somebody reads.`),
		},
		short: onOnly[T](),
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) { refuseTwiceAt(d, g, "headers", v.Headers) },
	}
})

var mirrorJSONObject = sync.OnceValue(func() *object[MirrorJSON] {
	type T = MirrorJSON
	return &object[T]{
		name: "mirror_json", article: "the",
		about: "What matters in JSON that is compared.",
		keys: []key[T]{
			emptyByDefault("ignore", oneOrMore(text("path", jsonPath)), func(v *T) *[]string { return &v.Ignore },
				`Places that do not matter, with all beneath them: $.ts a member, $.items[].id one of all elements, $.*.id one of all members, $..id at any depth, $["a b"] one with other characters.`),
			def("tolerance", percent(), func(v *T) *Percent { return &v.Tolerance }, 0,
				`By how much numbers may differ, as a part of the larger.`),
			def("any_order", boolean(), func(v *T) *bool { return &v.AnyOrder }, false,
				`Whether arrays with the same elements in another order are equal. Off: to most readers of an array its order matters.`),
		},
	}
})

func jsonPath(s string) (cause, fix string) {
	if _, err := compare.ParsePattern(s); err != nil {
		return err.Error(), ""
	}
	return "", ""
}

// safeMethods are those that change nothing (RFC 9110 9.2.1).
var safeMethods = []string{"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT"}

func checkMirror(d *decoder, n *yaml.Node, v *MirrorFilter, g given[MirrorFilter]) {
	if !g.clean {
		return
	}
	refuseTwiceAt(d, g, "methods", v.Methods)
	if at := g.key("share"); at != nil && v.Share == 0 {
		d.fail(at, "write mode: off, or a share above 0%", "nothing is copied")
	}
	if slices.Contains(v.Methods, "CONNECT") {
		d.fail(g.key("methods"), "remove CONNECT", "a tunnel cannot be copied")
	}
	var unsafe []string
	for _, m := range v.Methods {
		if !slices.Contains(safeMethods, m) {
			unsafe = append(unsafe, m)
		}
	}
	if len(unsafe) > 0 && !v.UnsafeMethods {
		d.fail(g.key("methods"), "add unsafe_methods: true if that is harmless", "copies of %s change something, perhaps a second time", strings.Join(unsafe, " and "))
	}
	if at := g.key("unsafe_methods"); at != nil && v.UnsafeMethods && len(unsafe) == 0 {
		d.fail(at, "add methods: [GET, HEAD, POST], or remove it", "no method that changes something is copied")
	}
	for _, list := range [][]Field{v.Headers.Set, v.Headers.Add} {
		for _, f := range list {
			if strings.EqualFold(f.Name, "x-yumen-mirror") {
				d.fail(g.key("headers"), "remove it", "X-Yumen-Mirror is set by the gateway itself")
			}
		}
	}
}

// clusterNames are the clusters that the filter sends requests to.
func (v *MirrorFilter) clusterNames() []string {
	names := []string{v.Cluster.Value}
	if v.Compare != nil {
		names = append(names, v.Compare.To.Value)
	}
	return names
}

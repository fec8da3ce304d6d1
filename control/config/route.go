package config

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Route is which requests go where. Exactly one of Cluster, Respond and Redirect is set.
type Route struct {
	Pos
	Name  string // never empty, and no other route has it
	Match Match

	Cluster  Text // the name; empty for a route that answers by itself
	Respond  *Respond
	Redirect *Redirect

	// Of a route with a cluster; zero otherwise.
	Timeouts RouteTimeouts
	Retry    Retry
	HashOn   *HashKey // nil for that of the cluster

	Filters []FilterUse

	// Raw is whether the route is one of tcp and tls listeners: the bytes of a connection go to Cluster, and of Match only
	// Listeners and, on tls listeners, Hosts say anything; Path is "/*".
	Raw bool
}

// FilterUse is one filter of a route, in the order requests meet them. A filter used by name is the one of
// Document.Filters, so that routes share it.
type FilterUse struct {
	Pos
	*Filter
}

var routeObject = sync.OnceValue(func() *object[Route] {
	proxies := func(v *Route) bool { return v.Cluster.Value != "" }
	keys := []key[Route]{
		may("name", text("name", checkRouteName), func(v *Route) *string { return &v.Name },
			`What logs and metrics call it. By default its methods, host and path.`),
		always("match", section(matchObject), func(v *Route) *Match { return &v.Match },
			`Which requests it takes. In short, the keys of match may stand on the route itself.`),
	}
	keys = append(keys, matchKeys(other[Route, []Text], other[Route, []Predicate],
		other("path", pathPattern(), func(v *Route) *Text { return &v.Match.Path }, aboutPath),
		other("grpc", present(grpcMatchObject), func(v *Route) **grpcMatch { return &v.Match.grpc }, aboutGRPC),
		func(v *Route) *Match { return &v.Match })...)
	keys = append(keys,
		may("cluster", clusterName(), func(v *Route) *Text { return &v.Cluster },
			`The cluster requests go to. A route has this, respond or redirect.`),
		may("respond", present(respondObject), func(v *Route) **Respond { return &v.Respond },
			`An answer of the gateway itself.`),
		may("redirect", present(redirectObject), func(v *Route) **Redirect { return &v.Redirect },
			`An answer that sends the client elsewhere.`),
		inherited("timeouts", section(routeTimeoutsObject), func(v *Route) *RouteTimeouts { return &v.Timeouts },
			`How long a request may take. By default what the cluster and defaults say.`).when(proxies),
		inherited("retry", section(retryObject), func(v *Route) *Retry { return &v.Retry },
			`When a request that failed is tried again. By default what defaults say.`).when(proxies),
		may("hash_on", present(hashKeyObject), func(v *Route) **HashKey { return &v.HashOn },
			`What maglev hashes for this route. By default the key of the cluster.`),
		may("filters", listOf(filterUse()), func(v *Route) *[]FilterUse { return &v.Filters },
			`What happens to requests and answers on the way, in this order: names of filters, or filters.`),
	)
	return &object[Route]{
		name: "route", article: "a",
		about: "Which requests go where. Routes of tcp and tls listeners name their listener and a cluster of protocol tcp, and those of tls the hosts clients ask for; nothing else of a request is known there, and no filter runs. A connection without a byte either way for between_bytes is closed.",
		pos:   func(v *Route) *Pos { return &v.Pos },
		keys:  keys,
		prepare: func(d *decoder, v *Route) {
			v.Match.Path.Value = anyPath
			v.Timeouts = RouteTimeouts{Request: d.doc.Defaults.Timeouts.Request, FirstByte: unsaid, BetweenBytes: unsaid}
			v.Retry = d.doc.Defaults.Retry
		},
		check: checkRoute,
		schema: func(_ *schemaBuilder, self map[string]any) {
			self["oneOf"] = []any{
				map[string]any{"required": []any{"cluster"}},
				map[string]any{"required": []any{"respond"}},
				map[string]any{"required": []any{"redirect"}},
			}
		},
	}
})

func checkRoute(d *decoder, n *yaml.Node, v *Route, g given[Route]) {
	if n.Kind != yaml.MappingNode {
		return
	}
	if g.key("match") == nil {
		v.Match.Pos = v.Pos
	} else {
		for _, k := range matchObject().keys {
			if at := g.key(k.name); at != nil {
				d.at(k.name, func() { d.fail(at, "move it into match", "the route has match and also %s", quote(k.name)) })
			}
		}
	}
	answers := 0
	for _, name := range []string{"cluster", "respond", "redirect"} {
		at := g.key(name)
		if at == nil {
			continue
		}
		if answers++; answers > 1 {
			d.fail(at, "keep one of cluster, respond, redirect", "the route has more than one answer")
		}
	}
	if answers == 0 && !g.odd && !slices.ContainsFunc(g.meant, func(s string) bool { return s == "cluster" || s == "respond" || s == "redirect" }) {
		d.fail(n, "add cluster:, respond: or redirect:", "the route does not say where its requests go")
	}
	if g.key("cluster") == nil && answers > 0 {
		for _, name := range []string{"timeouts", "retry", "hash_on"} {
			if at := g.key(name); at != nil {
				d.at(name, func() { d.fail(at, "remove it", "%s means nothing on a route without a cluster", quote(name)) })
			}
		}
	}
	checkGRPCFilters(d, v, g)
	checkRawRoute(d, v, g)
	if v.Cluster.Value == "" {
		v.Timeouts, v.Retry, v.HashOn = RouteTimeouts{}, Retry{}, nil
		return
	}
	if i, ok := d.clusterNames.find(v.Cluster.Value); ok {
		c := &d.doc.Clusters[i]
		v.Timeouts.inheritFrom(c.Timeouts)
		if v.HashOn != nil && c.Balance.Algorithm != Maglev {
			d.at("hash_on", func() {
				d.fail(nodeAt(v.HashOn.Pos), "remove it, or use balance: maglev in the cluster", "cluster %s balances by %s, which does not hash", quote(c.Name), c.Balance.Algorithm)
			})
		}
	}
}

// clusterName is a reference to a cluster.
func clusterName() kind[Text] {
	k := place("name of a cluster", notEmpty)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *Text) {
		if target := resolved(n); target.Kind == yaml.SequenceNode || target.Kind == yaml.MappingNode {
			d.fail(n, "name the endpoints under clusters, and write the name of the cluster here", "expected the name of a cluster, found %s", describe(target))
			return
		}
		read(d, n, v)
		if v.Value == "" {
			return
		}
		if _, ok := d.clusterNames.find(v.Value); ok {
			return
		}
		if _, cause, _ := parseEndpointAddress(v.Value); cause == "" {
			d.fail(n, "put it under clusters: app: ["+quote(v.Value)+"], and write cluster: app", "%s is an address, not the name of a cluster", quote(v.Value))
			return
		}
		d.refers(n, "cluster", v.Value, d.clusterNames)
	}
	return k
}

// present is the kind of an object that is not there by default.
func present[S any](get func() *object[S]) kind[*S] {
	inner := section(get)
	return kind[*S]{
		word: inner.word,
		read: func(d *decoder, n *yaml.Node, s **S) {
			v := new(S)
			inner.fill(d, v)
			inner.read(d, n, v)
			*s = v
		},
		write:  func(s **S) *yaml.Node { return inner.write(*s) },
		schema: inner.schema,
		inside: inner.inside,
	}
}

// routeNameMax leaves room for a host and a path.
const routeNameMax = 512

func checkRouteName(s string) (cause, fix string) {
	if s == "" || len(s) > routeNameMax || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return quote(s) + " is not a name", "use printable characters, at most " + strconv.Itoa(routeNameMax)
	}
	return "", ""
}

// nameRoutes refuses names given twice and names the rest after what they match, so that a name, and with it a time
// series, survives the reordering of the file.
func nameRoutes(d *decoder, doc *Document, _ *yaml.Node) {
	taken := make(map[string]struct{}, len(doc.Routes))
	for i := range doc.Routes {
		r := &doc.Routes[i]
		if r.Name == "" {
			continue
		}
		if _, twice := taken[r.Name]; twice {
			d.at("routes", func() {
				d.path = append(d.path, step{index: i})
				d.fail(nodeAt(r.Pos), "give each a name of its own", "two routes are named %s", quote(r.Name))
				d.path = d.path[:len(d.path)-1]
			})
		}
		taken[r.Name] = struct{}{}
	}
	next := make(map[string]int) // for the second of a name and later ones
	for i := range doc.Routes {
		r := &doc.Routes[i]
		if r.Name != "" {
			continue
		}
		base := r.describe()
		for name := base; ; name = base + " #" + strconv.Itoa(next[base]+1) {
			if _, used := taken[name]; !used {
				r.Name = name
				taken[name] = struct{}{}
				break
			}
			next[base]++
		}
	}
}

// describe is what a route takes, in short.
func (v *Route) describe() string {
	if !v.Raw {
		return v.Match.describe()
	}
	s := v.Match.Listeners[0].Value
	if len(v.Match.Hosts) > 0 {
		s += " " + v.Match.Hosts[0].Value
	}
	return s
}

// describe is the request line a match takes, more or less.
func (m *Match) describe() string {
	s := m.Path.Value
	if len(m.Hosts) > 0 {
		s = m.Hosts[0].Value + s
	}
	if len(m.Methods) > 0 {
		list := make([]string, len(m.Methods))
		for i, method := range m.Methods {
			list[i] = method.Value
		}
		s = strings.Join(list, ",") + " " + s
	}
	const room = len(" #1000000")
	if len(s) > routeNameMax-room {
		s = strings.ToValidUTF8(s[:routeNameMax-room], "")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

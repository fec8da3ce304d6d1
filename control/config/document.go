package config

import (
	"fmt"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Document is a whole configuration: in long form, with every default said and every reference resolved to something
// that exists. It is never changed after Parse and may be read from any goroutine.
type Document struct {
	Pos
	File string // the name given to Parse or Load

	Listeners []Listener
	Clusters  []Cluster // in the order of the file, as everything here
	Filters   []Filter  // the named ones
	Routes    []Route

	ACME      *ACME // nil when off
	Path      PathPolicy
	Defaults  Defaults
	Trust     Trust
	RequestID RequestID
	Limits    Limits
	Admin     *Admin // nil when off
	Telemetry Telemetry
	Drain     Drain
	Revisions Revisions
	Watch     bool

	short shortForms
}

// shortForms holds, while a document is read, what short keys said, until it is put where the long form has it.
type shortForms struct {
	listen    []listenAddress
	accessLog *AccessLog
}

// listenAddress is an address of the short form.
type listenAddress struct {
	Pos
	Address Address
}

// listenKind is localAddress with its place.
func listenKind() kind[listenAddress] {
	k := localAddress()
	return kind[listenAddress]{
		word:   k.word,
		schema: k.schema,
		read: func(d *decoder, n *yaml.Node, v *listenAddress) {
			v.Pos = posOf(n)
			k.read(d, n, &v.Address)
		},
	}
}

// documentObject is the root of all tables. Its order is that of reading: names and defaults come before those who use
// them, wherever they stand in the file.
var documentObject = sync.OnceValue(func() *object[Document] {
	return &object[Document]{
		name: "document", article: "the",
		about: "The configuration of one gateway. The order of keys and routes means nothing.",
		pos:   func(v *Document) *Pos { return &v.Pos },
		keys: []key[Document]{
			other("listen", oneOrMore(listenKind()), func(v *Document) *[]listenAddress { return &v.short.listen },
				`Short for listeners with an address and nothing else; they are named default, default-2 and so on.`),
			may("trust", section(trustObject), func(v *Document) *Trust { return &v.Trust },
				`Whose word about the client is believed, unless a listener says otherwise.`),
			may("request_id", section(requestIDObject), func(v *Document) *RequestID { return &v.RequestID },
				`Who is told the id of a request, unless a listener says otherwise.`),
			may("listeners", listOf(section(listenerObject)), func(v *Document) *[]Listener { return &v.Listeners },
				`Where clients connect.`).then(takeListeners),
			def("acme", acme(), func(v *Document) **ACME { return &v.ACME }, nil,
				`Certificates had from an authority such as Let's Encrypt. Off: it asks for consent to terms, and for a folder to keep them in.`),
			always("path", section(pathPolicyObject), func(v *Document) *PathPolicy { return &v.Path },
				`How the paths of requests are brought to one spelling before they are routed.`),
			may("defaults", section(defaultsObject), func(v *Document) *Defaults { return &v.Defaults },
				`What routes and clusters do that do not say otherwise.`),
			may("clusters", clusterMap(), func(v *Document) *[]Cluster { return &v.Clusters },
				`Groups of endpoints that do the same work, by name.`).then(nameClusters),
			may("filters", filterMap(), func(v *Document) *[]Filter { return &v.Filters },
				`Filters by name, for routes to share.`).then(nameFilters),
			may("routes", listOf(section(routeObject)), func(v *Document) *[]Route { return &v.Routes },
				`Which requests go where. The most specific route wins, whatever the order.`).then(nameRoutes),
			on("admin", adminObject, func(v *Document) **Admin { return &v.Admin },
				`The admin API and metrics. On by default, on an address only this machine can reach, since a gateway nobody can ask is hard to run; off to have none.`),
			always("telemetry", section(telemetryObject), func(v *Document) *Telemetry { return &v.Telemetry },
				`What the gateway tells about its work.`),
			other("access_log", switchable(accessLogObject), func(v *Document) **AccessLog { return &v.short.accessLog },
				`Short for access_log under telemetry.`),
			always("limits", section(limitsObject), func(v *Document) *Limits { return &v.Limits },
				`Bounds of the whole process.`),
			always("drain", section(drainObject), func(v *Document) *Drain { return &v.Drain },
				`How the gateway stops.`),
			always("revisions", section(revisionsObject), func(v *Document) *Revisions { return &v.Revisions },
				`The numbered history of configurations, for rollback.`),
			def("watch", boolean(), func(v *Document) *bool { return &v.Watch }, true,
				`Load the file again when it changes. A document with errors changes nothing, so watching is safe; off for those who prefer a signal.`),
		},
		check: checkDocument,
	}
})

// checkDocument looks at the parts together.
func checkDocument(d *decoder, n *yaml.Node, doc *Document, g given[Document]) {
	if at := g.key("access_log"); at != nil {
		if hasKey(g.value("telemetry"), "access_log") {
			d.at("access_log", func() { d.fail(at, "keep the one under telemetry", "the access log is configured twice") })
		}
		doc.Telemetry.AccessLog = doc.short.accessLog
	}
	doc.short = shortForms{}
	checkAddresses(d, doc)
	if !g.clean {
		return // what is missing or unused may be there, misspelled
	}
	if len(doc.Listeners) == 0 {
		d.fail(n, `add listen: ":8080"`, "the document has no listener, so no client could connect")
	}
	if len(doc.Routes) == 0 {
		d.warn(n, "add routes: with a path and a cluster", "the document has no route: every request will be answered with 404")
	}
	checkPlainPort(d, doc)
	checkACME(d, doc)
	checkRawRoutes(d, doc)
	checkUnused(d, doc)
}

// hasKey looks ahead into a map that was read elsewhere.
func hasKey(n *yaml.Node, name string) bool {
	if n == nil {
		return false
	}
	n = resolved(n)
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return true
		}
	}
	return false
}

// checkAddresses refuses two sockets on one address. The admin API may not even share a port with a listener that
// takes every address: it must never answer where clients can ask.
func checkAddresses(d *decoder, doc *Document) {
	first := make(map[Address]*Listener, len(doc.Listeners))
	for i := range doc.Listeners {
		l := &doc.Listeners[i]
		if l.Address.Port == 0 {
			continue
		}
		if earlier := first[l.Address]; earlier != nil {
			d.atListener(i, func() {
				d.fail(nodeAt(l.Pos), "give one of them another port", "listeners %s and %s have the same address %s",
					quote(earlier.Name), quote(l.Name), l.Address)
			})
			continue
		}
		first[l.Address] = l
		if a := doc.Admin; a != nil && a.Address.overlaps(l.Address) {
			at := a.Pos
			if at == (Pos{}) {
				at = l.Pos // the admin API is where it is by default
			}
			d.at("admin", func() {
				d.fail(nodeAt(at), "give one of them another port", "the admin API at %s would share its address with listener %s at %s",
					a.Address, quote(l.Name), l.Address)
			})
		}
	}
}

// overlaps reports that a connection to one address could reach the other.
func (a Address) overlaps(b Address) bool {
	return a.Port == b.Port && a.Port != 0 && (a.Host == b.Host || a.isEverywhere() || b.isEverywhere())
}

// checkUnused points at what nothing refers to: often the sign of a slip that was valid.
func checkUnused(d *decoder, doc *Document) {
	clusterUsed := make([]bool, len(doc.Clusters))
	filterUsed := make(map[string]bool, len(doc.Filters))
	for i := range doc.Routes {
		r := &doc.Routes[i]
		if at, known := d.clusterNames.find(r.Cluster.Value); known {
			clusterUsed[at] = true
		}
		for _, f := range r.Filters {
			filterUsed[f.Name] = true
			if leads, ok := f.Filter.Body.(interface{ clusterNames() []string }); ok { // elsewhere
				for _, name := range leads.clusterNames() {
					if at, known := d.clusterNames.find(name); known {
						clusterUsed[at] = true
					}
				}
			}
		}
	}
	for i := range doc.Clusters {
		if c := &doc.Clusters[i]; !clusterUsed[i] {
			d.at("clusters", func() {
				d.at(c.Name, func() { d.warn(nodeAt(c.Pos), "", "no route leads to cluster %s", quote(c.Name)) })
			})
		}
	}
	for i := range doc.Filters {
		if f := &doc.Filters[i]; !filterUsed[f.Name] {
			d.at("filters", func() {
				d.at(f.Name, func() { d.warn(nodeAt(f.Pos), "", "no route uses filter %s", quote(f.Name)) })
			})
		}
	}
}

// nodeAt lets a problem point at a place that outlived its node.
func nodeAt(p Pos) *yaml.Node { return &yaml.Node{Line: p.Line, Column: p.Column} }

func (d *decoder) atListener(i int, report func()) {
	d.at("listeners", func() {
		d.path = append(d.path, step{index: i})
		report()
		d.path = d.path[:len(d.path)-1]
	})
}

// nameMax bounds names: they are labels of metrics and parts of URLs.
const nameMax = 128

// checkName judges the name of a listener, cluster or filter. Names appear in URLs, labels and log lines, so that they
// are words: nothing in them can mean something there.
func checkName(s string) (cause, fix string) {
	valid := s != "" && len(s) <= nameMax && (isAlnum(s[0]) || s[0] == '_')
	for i := 0; i < len(s) && valid; i++ {
		valid = isAlnum(s[i]) || s[i] == '_' || s[i] == '-' || s[i] == '.'
	}
	if !valid {
		return quote(s) + " is not a name", fmt.Sprintf("use letters, digits, dashes, dots and underscores, at most %d, first a letter, digit or underscore", nameMax)
	}
	return "", ""
}

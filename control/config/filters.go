package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// Filter is something that happens to requests and answers on the way, as written: which kind, and its settings.
type Filter struct {
	Pos
	Name string // empty for one written on its route
	Kind string // the key in filterKinds
	Body any    // *HeadersFilter, *RewriteFilter, *GRPCWebFilter, *TranscodeFilter: by Kind
}

// filterKind is one entry of the catalogue.
type filterKind struct {
	name  string
	about string
	body  kind[any]
}

// filterKinds is the catalogue: every filter a document can name. A new filter is its struct, its object and a line
// here.
var filterKinds = sync.OnceValue(func() []filterKind {
	return []filterKind{
		catalogued(headersFilterObject, "Set, add and remove header fields."),
		catalogued(breakerFilterObject, "Stop requests to what fails."),
		catalogued(rewriteFilterObject, "Change the path or the host the upstream sees."),
		catalogued(grpcWebFilterObject, "Let browsers call gRPC services, by gRPC-Web."),
		catalogued(transcodeFilterObject, "Let clients call gRPC services by HTTP and JSON."),
		catalogued(ipFilterObject, "Let clients in by their addresses."),
		catalogued(apiKeyFilterObject, "Know clients by API keys."),
		catalogued(mtlsFilterObject, "Know clients by their certificates."),
		catalogued(hmacAuthFilterObject, "Know clients by signatures over their requests."),
		catalogued(basicAuthFilterObject, "Know clients by name and password."),
		catalogued(jwtFilterObject, "Let clients in by signed tokens (JWT)."),
		catalogued(extAuthFilterObject, "Ask a service whether a request may pass."),
		catalogued(corsFilterObject, "Let pages of other origins use a route."),
		catalogued(admissionFilterObject, "Let in what a cluster can do, fairly."),
		catalogued(shedFilterObject, "Give requests up when there is too much to do."),
		catalogued(limitFilterObject, "Bound how often, or how many at once, requests pass."),
		catalogued(cacheFilterObject, "Answer with responses it has kept."),
		catalogued(compressFilterObject, "Encode answers with zstd, brotli or gzip."),
		catalogued(decompressFilterObject, "Decode the bodies of requests for upstreams that cannot."),
		catalogued(sizesFilterObject, "Bound the requests of a route."),
		catalogued(splitFilterObject, "Divide requests among versions: canaries, blue and green."),
		catalogued(colourFilterObject, "Mark requests at the edge: trace, experiment, user, device."),
		catalogued(mirrorFilterObject, "Copy requests to another version."),
		catalogued(faultFilterObject, "Inject faults on purpose."),
		catalogued(fallbackFilterObject, "What a route does when its upstream has no answer."),
	}
})

func catalogued[S any](get func() *object[S], about string) filterKind {
	inner := section(get)
	return filterKind{
		name:  get().name,
		about: about,
		body: kind[any]{
			word: inner.word,
			read: func(d *decoder, n *yaml.Node, v *any) {
				s := new(S)
				inner.fill(d, s)
				inner.read(d, n, s)
				*v = s
			},
			write:  func(v *any) *yaml.Node { return inner.write((*v).(*S)) },
			schema: inner.schema,
			inside: inner.inside,
		},
	}
}

// HeadersFilter changes header fields. In each direction fields are removed first, then set, then added.
type HeadersFilter struct {
	Request  FieldChanges
	Response FieldChanges
}

// FieldChanges is what happens to the fields of a head.
type FieldChanges struct {
	Set    []Field  // in place of any there are
	Add    []Field  // beside those there are
	Remove []string // in lower case
}

func (c *FieldChanges) isEmpty() bool { return len(c.Set)+len(c.Add)+len(c.Remove) == 0 }

var headersFilterObject = sync.OnceValue(func() *object[HeadersFilter] {
	type T = HeadersFilter
	return &object[T]{
		name: "headers", article: "a",
		about: "Sets, adds and removes header fields.",
		keys: []key[T]{
			always("request", section(fieldChangesObject), func(v *T) *FieldChanges { return &v.Request },
				`Of the request to the upstream.`),
			always("response", section(fieldChangesObject), func(v *T) *FieldChanges { return &v.Response },
				`Of the answer to the client.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if v.Request.isEmpty() && v.Response.isEmpty() && g.key("request") == nil && g.key("response") == nil {
				d.fail(n, "write headers: {request: {set: {x-name: value}}}", "the filter changes nothing")
			}
		},
	}
})

var fieldChangesObject = sync.OnceValue(func() *object[FieldChanges] {
	type T = FieldChanges
	return &object[T]{
		name: "field_changes", article: "a",
		about: "What happens to the fields of a head: removed first, then set, then added.",
		keys: []key[T]{
			may("set", fields(), func(v *T) *[]Field { return &v.Set }, `Fields to send in place of any of that name. Names are compared without regard to case, and sent in the case written here.`),
			may("add", fields(), func(v *T) *[]Field { return &v.Add }, `Fields to send beside any of that name.`),
			may("remove", oneOrMore(fieldName(ownField)), func(v *T) *[]string { return &v.Remove }, `Names of fields not to send.`),
		},
	}
})

// RewriteFilter changes what the upstream sees of the request. Empty fields change nothing.
type RewriteFilter struct {
	StripPrefix string // taken off the path; the route's own path is still what matched
	Prefix      string // put before the path, after StripPrefix
	Path        string // in place of the path, with the route's :params
	Host        string
}

var rewriteFilterObject = sync.OnceValue(func() *object[RewriteFilter] {
	type T = RewriteFilter
	return &object[T]{
		name: "rewrite", article: "a",
		about: "Changes the path or the host the upstream sees.",
		keys: []key[T]{
			may("strip_prefix", text("path", absolutePath), func(v *T) *string { return &v.StripPrefix },
				`Taken off the front of the path, whole segments only: /api of /api/users leaves /users.`),
			may("prefix", text("path", absolutePath), func(v *T) *string { return &v.Prefix },
				`Put before the path, after strip_prefix.`),
			may("path", text("path", absolutePath), func(v *T) *string { return &v.Path },
				`The whole path, in which :name stands for the parameter of the route. The query stays.`),
			may("host", text("host", notEmpty, fieldValue), func(v *T) *string { return &v.Host },
				`The Host field.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if at := g.key("path"); at != nil && (v.StripPrefix != "" || v.Prefix != "") {
				d.fail(at, "keep path, or strip_prefix and prefix", "path replaces the whole path, so that strip_prefix and prefix mean nothing")
			}
			if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
				d.fail(n, "write rewrite: {strip_prefix: /api}", "the filter changes nothing")
			}
		},
	}
})

// filterBody is a map with one key, the kind, to its settings.
func filterBody() kind[Filter] {
	return kind[Filter]{
		word: "filter",
		read: func(d *decoder, n *yaml.Node, v *Filter) {
			if n = d.enter(n); n == nil {
				return
			}
			v.Pos = posOf(n)
			if n.Kind != yaml.MappingNode {
				d.mismatch(n, "a filter such as rewrite: {strip_prefix: /api}")
				return
			}
			if len(n.Content) != 2 {
				d.fail(n, "write one kind of filter and its settings; a list of filters has a dash before each", "a filter has one kind, found %d keys", len(n.Content)/2)
				return
			}
			name, ok := d.mapKey(n.Content[0])
			if !ok {
				return
			}
			d.at(name, func() { readFilterKind(d, n, name, v) })
		},
		write: func(v *Filter) *yaml.Node {
			n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			for _, k := range filterKinds() {
				if k.name == v.Kind {
					n.Content = append(n.Content, textNode(k.name), k.body.write(&v.Body))
				}
			}
			return n
		},
		schema: filterSchema,
		inside: func() *outline {
			out := &outline{name: "filter", about: "Something that happens to requests and answers on the way: one of these."}
			for _, k := range filterKinds() {
				out.keys = append(out.keys, outlineKey{name: k.name, word: k.body.word, about: k.about, inside: k.body.inside})
			}
			return out
		},
	}
}

func readFilterKind(d *decoder, n *yaml.Node, name string, v *Filter) {
	known := make([]string, 0, len(filterKinds()))
	for _, k := range filterKinds() {
		if k.name == name {
			v.Kind = name
			k.body.read(d, n.Content[1], &v.Body)
			return
		}
		known = append(known, k.name)
	}
	if d.full() {
		d.hide()
		return
	}
	fix := didYouMean(name, known)
	if fix == "" {
		fix = "known: "
		for i, k := range known {
			if i > 0 {
				fix += ", "
			}
			fix += k
		}
	}
	d.fail(n.Content[0], fix, "there is no filter of kind %s", quote(name))
}

func filterSchema(b *schemaBuilder) map[string]any {
	properties := map[string]any{}
	for _, k := range filterKinds() {
		properties[k.name] = k.body.schema(b)
	}
	return map[string]any{
		"type": "object", "properties": properties, "additionalProperties": false,
		"minProperties": 1, "maxProperties": 1,
	}
}

// filterMap is the map of filters by name.
func filterMap() kind[[]Filter] {
	return mapOf(filterBody(), func(v *Filter) *string { return &v.Name }, func(v *Filter) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool {
			return d.passes(n, name, []check{checkName})
		}, asWritten)
}

// nameFilters tells the decoder which filters there are, as nameClusters does.
func nameFilters(d *decoder, doc *Document, n *yaml.Node) {
	if n != nil && resolved(n).Kind != yaml.MappingNode && !isNull(resolved(n)) {
		return
	}
	d.filterNames = &names{}
	for i := range doc.Filters {
		d.filterNames.add(doc.Filters[i].Name)
	}
}

// filterUse is the name of a filter, or a filter.
func filterUse() kind[FilterUse] {
	body := filterBody()
	name := text("filter", notEmpty)
	return kind[FilterUse]{
		word: "filter",
		read: func(d *decoder, n *yaml.Node, v *FilterUse) {
			v.Pos = posOf(n)
			v.Filter = &Filter{}
			if resolved(n).Kind != yaml.ScalarNode {
				body.read(d, n, v.Filter)
				return
			}
			var s string
			name.read(d, n, &s)
			if s != "" && d.refers(n, "filter", s, d.filterNames) {
				i, _ := d.filterNames.find(s)
				v.Filter = &d.doc.Filters[i]
			}
		},
		write: func(v *FilterUse) *yaml.Node {
			if v.Name != "" {
				return textNode(v.Name)
			}
			return body.write(v.Filter)
		},
		schema: func(b *schemaBuilder) map[string]any {
			return anyOf(map[string]any{"type": "string"}, body.schema(b))
		},
		inside: asElements(body.inside),
	}
}

package config

import (
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// ExtAuthFilter asks a service whether a request may pass.
type ExtAuthFilter struct {
	Pos
	Cluster         Text
	Protocol        ExtAuthProtocol
	Path            string
	Method          string
	Host            string
	Headers         []string // in lower case, as all names here
	ToUpstream      []string
	ToClient        []string
	Claims          []Field // a claim and the field it is in
	Redirects       bool
	RefusalHeaders  []string
	RefusalBody     int64 // bytes; 0: off
	Timeout         time.Duration
	WhenUnreachable ExtAuthUnreachable
	Cache           *ExtAuthCache // nil: off
	Guard           GuardMode
}

func (v *ExtAuthFilter) guardMode() GuardMode { return v.Guard }

// ExtAuthProtocol is how the service is asked.
type ExtAuthProtocol string

// The protocols.
const (
	ExtAuthHTTP ExtAuthProtocol = "http"
	ExtAuthGRPC ExtAuthProtocol = "grpc"
)

// ExtAuthUnreachable is what becomes of requests while the service cannot be asked.
type ExtAuthUnreachable string

// What can become of them.
const (
	ExtAuthClosed ExtAuthUnreachable = "closed"
	ExtAuthOpen   ExtAuthUnreachable = "open"
)

// ExtAuthCache says how long verdicts are good.
type ExtAuthCache struct {
	Pos
	For        time.Duration
	Key        []GuardKey
	EntriesMax int
}

const (
	// extAuthBodyMax and extAuthEntriesMax are those of filters/extauth.
	extAuthBodyMax        = 64 << 10
	extAuthEntriesMax     = 1_000_000
	extAuthEntriesDefault = 10_000
	// extAuthForMax: whoever loses a right keeps it for so long.
	extAuthForMax = time.Hour
)

var extAuthFilterObject = sync.OnceValue(func() *object[ExtAuthFilter] {
	type T = ExtAuthFilter
	names := func() kind[[]string] { return oneOrMore(fieldName(ownField, extAuthOwn)) }
	return &object[T]{
		name: "ext_auth", article: "an",
		about: "Asks a service of your own whether a request may pass, over HTTP as nginx's auth_request and Traefik's forwardAuth do, or by Envoy's gRPC protocol. Its 2xx lets the request pass; its 401 or 403 is what the client is told.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("cluster", clusterName(), func(v *T) *Text { return &v.Cluster }, `Cluster that is asked. Its health checks and ejections count: a service that is known to be gone keeps nobody waiting.`),
			def("protocol", choice("protocol", ExtAuthHTTP, ExtAuthGRPC), func(v *T) *ExtAuthProtocol { return &v.Protocol }, ExtAuthHTTP, `http, or grpc (envoy.service.auth.v3.Authorization/Check; its cluster speaks HTTP/2). http by default: any server can answer it.`),
			def("path", text("path", absolutePath), func(v *T) *string { return &v.Path }, "/", `Where the question goes; what is asked about stands in X-Forwarded-Method, X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-Proto and X-Forwarded-For.`).when(isHTTPAuth),
			def("method", choice("method", "GET", "HEAD", "POST"), func(v *T) *string { return &v.Method }, "GET", `Of the question, which has no body.`).when(isHTTPAuth),
			may("host", text("host", notEmpty, fieldValue), func(v *T) *string { return &v.Host }, `The Host field of the question. By default the request's own.`),
			def("headers", names(), func(v *T) *[]string { return &v.Headers }, []string{"authorization", "cookie"}, `Fields of the request that the service is told, beside X-Request-Id, Traceparent and Tracestate. These two by default: what it knows clients by. The others may be none of its business.`),
			may("to_upstream", names(), func(v *T) *[]string { return &v.ToUpstream }, `Fields of the service's answer that the upstream is told. What the client says in them is dropped always, in every spelling a server could take for them.`),
			may("to_client", names(), func(v *T) *[]string { return &v.ToClient }, `Fields of the service's answer that the client is told when its request passes, such as set-cookie for sessions that the service makes longer. None by default.`),
			may("claims", authClaims(), func(v *T) *[]Field { return &v.Claims }, `What guards behind this one know of who asks: a name of a claim to a field of the service's answer, {sub: x-user}. Over gRPC a field is one that the service has the upstream told.`),
			def("redirects", boolean(), func(v *T) *bool { return &v.Redirects }, false, `Give the service's redirects to the client, who is led to a login page. Off: clients that are no browsers make nothing of it.`).when(isHTTPAuth),
			may("refusal_headers", names(), func(v *T) *[]string { return &v.RefusalHeaders }, `Fields of a refusal that the client is told. By default www-authenticate, and with redirects location and set-cookie too. Over gRPC all that the service says.`).when(isHTTPAuth),
			def("refusal_body_max", orOff(size(1, extAuthBodyMax)), func(v *T) *int64 { return &v.RefusalBody }, 8<<10, `How long a body the client is given with a refusal. One that is longer gives way to the gateway's own words, as with off. 8KiB is a page.`),
			def("timeout", duration(time.Millisecond, time.Minute), func(v *T) *time.Duration { return &v.Timeout }, time.Second, `How long the service may take, a second try included. One try has nine tenths of it: an endpoint that hangs is then known for it, which ejects it, before the time of the whole is over and nobody's fault. 1s: every request waits for it.`),
			def("when_unreachable", choice("word", ExtAuthClosed, ExtAuthOpen), func(v *T) *ExtAuthUnreachable { return &v.WhenUnreachable }, ExtAuthClosed, `What becomes of requests when the service cannot be asked, or answers neither yes nor no: closed (503) or open (they pass as nobody's). Closed by default: who asks at all must not be passed by.`),
			may("cache", present(extAuthCacheObject), func(v *T) **ExtAuthCache { return &v.Cache }, `Remember verdicts: cache: 10s, or more about it. Without it each request is asked for.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: &short[T]{
			about: "a cluster",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				clusterName().read(d, n, &v.Cluster)
			},
			schema: clusterName().schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if v.Protocol != ExtAuthGRPC {
				return
			}
			for _, name := range []string{"path", "method", "redirects", "refusal_headers"} {
				if at := g.key(name); at != nil {
					d.fail(at, "remove it, or use protocol: http", "%s means nothing over gRPC", quote(name))
				}
			}
		},
	}
})

func isHTTPAuth(v *ExtAuthFilter) bool { return v.Protocol != ExtAuthGRPC }

var extAuthCacheObject = sync.OnceValue(func() *object[ExtAuthCache] {
	type T = ExtAuthCache
	lifetime := func() kind[time.Duration] { return duration(time.Millisecond, extAuthForMax) }
	return &object[T]{
		name: "ext_auth_cache", article: "an",
		about: "How long verdicts are good, and what they depend on. Redirects, and answers by which the client is given a cookie, are not kept.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("for", lifetime(), func(v *T) *time.Duration { return &v.For }, `How long a verdict is good. Whoever loses a right keeps it for so long.`),
			may("key", guardKey(), func(v *T) *[]GuardKey { return &v.Key },
				`What a verdict depends on: `+guardKeyAbout+` By default all that the service is told, the path among it. Requests that lack a part, or have a field of it twice, are always asked for.`),
			def("entries_max", integer(1, extAuthEntriesMax), func(v *T) *int { return &v.EntriesMax }, extAuthEntriesDefault, `How many verdicts each loop keeps, of 2 KiB at most; then the oldest makes room. The default is 20 MiB for each loop at worst, and 2 MiB as services answer.`),
		},
		short: &short[T]{
			about: "a time",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				lifetime().read(d, n, &v.For)
			},
			schema: lifetime().schema,
		},
	}
})

// authClaims is a map of names of claims to names of fields.
func authClaims() kind[[]Field] {
	field := fieldName()
	k := part(field, func(v *Field) *string { return &v.Value })
	return mapOf(k, func(v *Field) *string { return &v.Name }, func(v *Field) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool { return d.passes(n, name, []check{notEmpty}) }, asWritten)
}

// extAuthOwn refuses what the gateway says for itself, and what tells of a body that is another's.
func extAuthOwn(s string) (cause, fix string) {
	switch strings.ToLower(s) {
	case "content-encoding", "expect", "date", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-method",
		"x-forwarded-uri", "x-yumen-reason":
		return quote(s) + " is set by the gateway itself", "remove it"
	}
	return "", ""
}

// clusterNames are the clusters that the filter leads to.
func (v *ExtAuthFilter) clusterNames() []string { return []string{v.Cluster.Value} }

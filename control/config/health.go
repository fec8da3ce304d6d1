package config

import (
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Health is how endpoints are asked whether they work.
type Health struct {
	Pos
	Type      HealthType
	Path      string        // of HTTP checks
	Host      string        // of HTTP and gRPC checks; empty for the address of the endpoint
	Expect    []StatusRange // of HTTP checks; at most 4, in order, with gaps between them
	Service   string        // of gRPC checks; empty for the server as a whole
	Interval  time.Duration
	Timeout   time.Duration
	Jitter    Percent // of Interval
	Failures  int
	Successes int
}

// HealthType is what a check does.
type HealthType string

// The types of checks.
const (
	HealthHTTP HealthType = "http" // GET, and look at the status
	HealthTCP  HealthType = "tcp"  // connect
	HealthGRPC HealthType = "grpc" // grpc.health.v1.Health/Check
)

var healthObject = sync.OnceValue(func() *object[Health] {
	type T = Health
	http := func(v *T) bool { return v.Type == HealthHTTP }
	grpc := func(v *T) bool { return v.Type == HealthGRPC }
	return &object[T]{
		name: "health", article: "a",
		about: "How endpoints are asked whether they work.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("type", choice("type of check", HealthHTTP, HealthTCP, HealthGRPC), func(v *T) *HealthType { return &v.Type }, HealthHTTP,
				`http asks for the path and looks at the status; tcp only connects; grpc asks by the gRPC health protocol (grpc.health.v1), for clusters that speak HTTP/2.`),
			def("path", text("path", absolutePath), func(v *T) *string { return &v.Path }, "/",
				`What is asked for.`).when(http),
			may("host", text("host", notEmpty, fieldValue), func(v *T) *string { return &v.Host },
				`The Host field of the check, of a gRPC one the authority. By default the address of the endpoint.`).
				when(func(v *T) bool { return http(v) || grpc(v) }),
			may("service", text("gRPC service", grpcServiceOrNone), func(v *T) *string { return &v.Service },
				`The gRPC service asked about: pkg.Service. By default the server as a whole.`).when(grpc),
			def("expect", oneOrMore(statusRange()), func(v *T) *[]StatusRange { return &v.Expect }, []StatusRange{{200, 399}},
				`What a sound endpoint answers: a status (204), a range (200-399) or a class (2xx), or a list of them, up to four ranges apart from each other. A redirect to a login page is a sign of life too.`).when(http),
			def("interval", duration(10*time.Millisecond, 24*time.Hour), func(v *T) *time.Duration { return &v.Interval }, 5*time.Second,
				`Between two checks of one endpoint. With three failures, a dead one is found in a quarter of a minute; live requests find it sooner.`),
			def("timeout", duration(time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.Timeout }, 2*time.Second,
				`The longest a check may take, less than the interval.`),
			def("jitter", percent(), func(v *T) *Percent { return &v.Jitter }, 10,
				`How far an interval may be off, at random, so that many gateways do not ask in step.`),
			def("failures", integer(1, 1000), func(v *T) *int { return &v.Failures }, 3,
				`Failed checks in a row that make an endpoint unhealthy. One may be lost on the way; three are not.`),
			def("successes", integer(1, 1000), func(v *T) *int { return &v.Successes }, 2,
				`Good checks in a row that make it healthy again.`),
		},
		short: &short[T]{
			about: "a path, tcp, grpc, or off",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				if t := HealthType(n.Value); t == HealthTCP || t == HealthGRPC {
					v.Type = t
					return
				}
				text("path", func(s string) (cause, fix string) {
					if !strings.HasPrefix(s, "/") {
						return quote(s) + " is neither a path nor a type of check", "write /healthz, tcp, grpc or off"
					}
					return absolutePath(s)
				}).read(d, n, &v.Path)
			},
			schema: func(*schemaBuilder) map[string]any { return patternSchema("/.*|tcp|grpc") },
		},
		check: checkHealth,
	}
})

// expectMax is how many ranges of statuses a check compares with. The bound keeps what a check is made of comparable.
const expectMax = 4

func checkHealth(d *decoder, n *yaml.Node, v *Health, g given[Health]) {
	if v.Timeout > v.Interval {
		at := n
		for _, name := range []string{"interval", "timeout"} {
			if said := g.key(name); said != nil {
				at = said
			}
		}
		d.fail(at, "make the timeout at most the interval", "a check may take %s, longer than the interval of %s", formatDuration(v.Timeout), formatDuration(v.Interval))
	}
	if len(v.Expect) == 0 && g.key("expect") != nil && g.clean {
		d.fail(g.key("expect"), "remove it, or write expect: 200-399", "no status is expected, so that no endpoint could be healthy")
	}
	v.Expect = joinRanges(v.Expect)
	if n := len(v.Expect); n > expectMax {
		d.at("expect", func() {
			d.fail(g.value("expect"), "join neighbours to a range, 200-299, or a class, 2xx",
				"a check can expect %d separate ranges of statuses, found %d", expectMax, n)
		})
	}
	refuse := func(fix string, names ...string) {
		for _, name := range names {
			if at := g.key(name); at != nil {
				d.at(name, func() { d.fail(at, fix, "a check of type %s has no %s", v.Type, name) })
			}
		}
	}
	switch v.Type {
	case HealthHTTP:
		refuse("remove it, or use type: grpc", "service")
	case HealthTCP:
		refuse("remove it, or use type: http", "path", "host", "expect")
		refuse("remove it, or use type: grpc", "service")
		v.Path, v.Host, v.Expect = "", "", nil
	case HealthGRPC:
		refuse("remove it, or use type: http", "path", "expect")
		v.Path, v.Expect = "", nil
	}
}

// Eject is when live requests take an endpoint out of use for a while.
type Eject struct {
	Pos
	Failures int
	Base     time.Duration
	Max      time.Duration
	MaxShare Percent
}

var ejectObject = sync.OnceValue(func() *object[Eject] {
	type T = Eject
	return &object[T]{
		name: "eject", article: "an",
		about: "When live requests take an endpoint out of use for a while.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("failures", integer(1, 100_000), func(v *T) *int { return &v.Failures }, 5,
				`Failures in a row that eject an endpoint: no connection, a reset, a timeout, an answer that is not HTTP, and the statuses 502, 503 and 504. 500 and other 5xx count neither way: they are the program's answer to one request, and a client who found a bad one could send it until every endpoint is out.`),
			def("base", duration(time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.Base }, 10*time.Second,
				`How long the first time: as long as a restart takes. Each further time in a row is as much longer.`),
			def("max", duration(time.Millisecond, 24*time.Hour), func(v *T) *time.Duration { return &v.Max }, 5*time.Minute,
				`The longest it is kept out.`),
			def("max_share", percent(), func(v *T) *Percent { return &v.MaxShare }, 50,
				`The most of a cluster that may be out by ejection at a time. When half fail, the fault is rather behind them.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, _ given[T]) {
			if v.Max < v.Base {
				d.fail(n, "", "the ejection starts at %s, above its max of %s", formatDuration(v.Base), formatDuration(v.Max))
			}
		},
	}
})

// absolutePath accepts a path that can stand in a request line.
func absolutePath(s string) (cause, fix string) {
	switch {
	case !strings.HasPrefix(s, "/"):
		return quote(s) + " does not begin with a slash", "write " + quote("/"+s)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		return quote(s) + " holds what a request line cannot", "percent-encode it"
	}
	return "", ""
}

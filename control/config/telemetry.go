package config

import (
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Telemetry is what the gateway tells about its work.
type Telemetry struct {
	Metrics   Metrics
	AccessLog *AccessLog // nil when off
	Decisions Decisions
}

// Decisions is what is kept of what guards decided, for yumen why.
type Decisions struct {
	Keep   int     // of each loop; 0: none
	Sample Percent // of requests whose passes are recorded too
}

var decisionsObject = sync.OnceValue(func() *object[Decisions] {
	type T = Decisions
	return &object[T]{
		name: "decisions", article: "a",
		about: "What is kept of what guards decided, for yumen why and /api/decisions. The newest take the place of the oldest.",
		keys: []key[T]{
			def("keep", orOff(integer(1, 1_000_000)), func(v *T) *int { return &v.Keep }, 4096,
				`Records that each event loop keeps: every refusal, delay and degradation, and a sample of the rest. 4096 are some 4 MB.`),
			def("sample", percent(), func(v *T) *Percent { return &v.Sample }, 0.1,
				`The share of requests of which what guards let pass is recorded too. One in a thousand shows what is usual and costs nothing that could be measured.`),
		},
	}
})

// Metrics bounds the labels of metrics.
type Metrics struct {
	RouteLimit    int
	EndpointLimit int
}

// AccessLog is one record for each request.
type AccessLog struct {
	Pos
	Path           string // stdout, stderr or a file
	Sample         Percent
	Fields         []string // at least one, each once
	RequestHeaders []string // in lower case, at most 8
}

var telemetryObject = sync.OnceValue(func() *object[Telemetry] {
	return &object[Telemetry]{
		name: "telemetry", article: "a",
		about: "What the gateway tells about its work.",
		keys: []key[Telemetry]{
			always("metrics", section(metricsObject), func(v *Telemetry) *Metrics { return &v.Metrics },
				`What is counted, for /metrics of the admin API.`),
			off("access_log", accessLogObject, func(v *Telemetry) **AccessLog { return &v.AccessLog },
				`One JSON record for each request. Off: on a busy gateway it is the largest thing a disk sees, so it is asked for.`),
			always("decisions", section(decisionsObject), func(v *Telemetry) *Decisions { return &v.Decisions },
				`What is kept of what guards decided, for yumen why.`),
		},
	}
})

var metricsObject = sync.OnceValue(func() *object[Metrics] {
	type T = Metrics
	return &object[T]{
		name: "metrics", article: "a",
		about: "Bounds on the number of time series.",
		keys: []key[T]{
			def("route_limit", integer(0, 100_000), func(v *T) *int { return &v.RouteLimit }, 1000,
				`Routes with numbers of their own; those past it are counted together as other. A thousand routes with their histograms are what one Prometheus scrape takes with ease.`),
			def("endpoint_limit", integer(0, 100_000), func(v *T) *int { return &v.EndpointLimit }, 1000,
				`The same for endpoints.`),
		},
	}
})

// accessLogFields are the words a record can hold, and accessLogUsual those it holds unless fields says otherwise. They are
// those of telemetry/log, which this package does not import because it would be linked with all that writes a log; a test
// of control/compile holds the two lists together.
var (
	accessLogFields = []string{
		"time", "request_id", "listener", "client", "method", "host", "path", "query", "protocol", "status", "reason",
		"guard", "shadow", "route", "cluster", "endpoint", "attempts", "bytes_in", "bytes_out", "duration_us", "first_byte_us", "user_agent",
		"referer", "revision",
	}
	accessLogUsual = []string{
		"time", "request_id", "client", "method", "host", "path", "status", "reason", "guard", "shadow", "route", "cluster", "endpoint",
		"attempts", "bytes_out", "duration_us",
	}
)

// accessLogHeadersMax is how many header fields a record has room for.
const accessLogHeadersMax = 8

var accessLogObject = sync.OnceValue(func() *object[AccessLog] {
	type T = AccessLog
	return &object[T]{
		name: "access_log", article: "an",
		about: "One JSON record for each request. Records that the writer cannot keep up with are dropped and counted; requests never wait.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("path", text("path", notEmpty), func(v *T) *string { return &v.Path }, "stdout",
				`Where records go: stdout, stderr or a file.`),
			def("sample", percent(), func(v *T) *Percent { return &v.Sample }, 100,
				`The share of requests recorded. Answers of 500 and above are always recorded.`),
			def("fields", listOf(choice("field of the access log", accessLogFields...)), func(v *T) *[]string { return &v.Fields }, accessLogUsual,
				`What a record holds, in this order, of: `+strings.Join(accessLogFields, ", ")+`. Times are in microseconds; what is empty is left out, and attempts below two. By default what tells what happened to whom; not the query, where secrets end up.`),
			emptyByDefault("request_headers", listOf(fieldName()), func(v *T) *[]string { return &v.RequestHeaders },
				`Header fields of the request to add to the record under headers, up to 8. None: they may hold secrets.`),
		},
		short: &short[T]{
			about: "a path, on or off",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				text("path", notEmpty).read(d, n, &v.Path)
			},
			schema: func(*schemaBuilder) map[string]any { return map[string]any{"type": "string"} },
		},
		check: checkAccessLog,
	}
})

func checkAccessLog(d *decoder, _ *yaml.Node, v *AccessLog, g given[AccessLog]) {
	if !g.clean {
		return
	}
	if at := g.value("fields"); at != nil {
		d.at("fields", func() {
			if len(v.Fields) == 0 {
				d.fail(at, "remove it for the usual ones, or write access_log: off", "a record without fields says nothing")
			}
			refuseTwice(d, at, v.Fields)
		})
	}
	if at := g.value("request_headers"); at != nil {
		d.at("request_headers", func() {
			if n := len(v.RequestHeaders); n > accessLogHeadersMax {
				d.fail(at, "keep those that are looked at", "a record has room for %d header fields, found %d", accessLogHeadersMax, n)
			}
			refuseTwice(d, at, v.RequestHeaders)
		})
	}
}

// refuseTwice reports the elements of a list that stand in it before.
func refuseTwice[T ~string](d *decoder, list *yaml.Node, elements []T) {
	nodes := resolved(list).Content
	for i, e := range elements {
		if first := slices.Index(elements, e); first < i && i < len(nodes) {
			d.path = append(d.path, step{index: i})
			d.fail(nodes[i], "keep one of them", "%s is listed twice", quote(string(e)))
			d.path = d.path[:len(d.path)-1]
		}
	}
}

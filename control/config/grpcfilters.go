package config

import (
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// GRPCWebFilter lets browsers call gRPC services: gRPC-Web on the side of the client, gRPC on that of the upstream. It has
// no settings.
type GRPCWebFilter struct {
	Pos
}

var grpcWebFilterObject = sync.OnceValue(func() *object[GRPCWebFilter] {
	return &object[GRPCWebFilter]{
		name: "grpc_web", article: "a",
		about: "Translates gRPC-Web, in binary and in text, which browsers can speak, to gRPC. Other requests pass as they are. It has no settings: grpc_web: on, or grpc_web: {}.",
		pos:   func(v *GRPCWebFilter) *Pos { return &v.Pos },
		short: &short[GRPCWebFilter]{
			about: "on",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, _ *GRPCWebFilter) {
				var is bool
				before := d.errors
				boolean().read(d, n, &is)
				if !is && d.errors == before {
					d.fail(n, "remove the filter from the list", "a filter that is off does nothing")
				}
			},
			schema: boolean().schema,
		},
	}
})

// TranscodeFilter lets clients call gRPC services by HTTP and JSON, as the services' google.api.http annotations say.
// Exactly one of Descriptors and Reflection is set.
type TranscodeFilter struct {
	Pos
	Descriptors        string // file: a FileDescriptorSet
	Reflection         bool   // ask the route's cluster
	Services           []string
	UnknownFields      UnknownFields
	Stream             TranscodeStream
	AlwaysPrintFields  bool
	PreserveProtoNames bool
	EnumsAsNumbers     bool
	MaxBody            int64 // of a request, and of each message of an answer; bytes
}

// UnknownFields is what becomes of fields of a request that its message does not have.
type UnknownFields string

// What can become of an unknown field.
const (
	RejectUnknownFields UnknownFields = "reject" // answered with 400
	IgnoreUnknownFields UnknownFields = "ignore"
)

// TranscodeStream is how the messages of a stream from the server are written.
type TranscodeStream string

// The ways to write a stream.
const (
	StreamByAccept TranscodeStream = "accept" // as the client's Accept field asks; ndjson if it does not
	StreamNDJSON   TranscodeStream = "ndjson" // a JSON text in each line
	StreamSSE      TranscodeStream = "sse"    // server-sent events
)

var transcodeFilterObject = sync.OnceValue(func() *object[TranscodeFilter] {
	type T = TranscodeFilter
	return &object[T]{
		name: "transcode", article: "a",
		about: "Translates HTTP and JSON to gRPC, by the google.api.http annotations of the services. Calls of gRPC pass as they are; other requests that none of these takes are answered with 404 or 405.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("descriptors", text("file", isFileName, isDescriptorSet), func(v *T) *string { return &v.Descriptors },
				`File with the services' descriptors: protoc --include_imports --descriptor_set_out=api.pb api.proto, or buf build -o api.pb. This or reflection.`),
			def("reflection", boolean(), func(v *T) *bool { return &v.Reflection }, false,
				`Ask the route's cluster for the descriptors, by gRPC server reflection. This or descriptors. Off: few servers offer it where it matters.`),
			may("services", oneOrMore(text("gRPC service", grpcService)), func(v *T) *[]string { return &v.Services },
				`Services to translate for: pkg.Service. By default all that the descriptors have.`),
			def("unknown_fields", choice("policy for unknown fields", RejectUnknownFields, IgnoreUnknownFields), func(v *T) *UnknownFields { return &v.UnknownFields }, RejectUnknownFields,
				`What becomes of fields of a request that its message does not have: reject answers 400 with their path, ignore drops them. Rejected, since a misspelled field would be lost without a word.`),
			def("stream", choice("form of streams", StreamByAccept, StreamNDJSON, StreamSSE), func(v *T) *TranscodeStream { return &v.Stream }, StreamByAccept,
				`How the messages of a stream are written: ndjson (a line each), sse (server-sent events), or accept: as the client's Accept field asks, ndjson if it does not. One route then serves browsers and programs.`),
			def("always_print_fields", boolean(), func(v *T) *bool { return &v.AlwaysPrintFields }, false,
				`Write fields that hold their default value too. Off, as the JSON mapping of protocol buffers has it.`),
			def("preserve_proto_names", boolean(), func(v *T) *bool { return &v.PreserveProtoNames }, false,
				`Write names of fields as the .proto file has them, user_id. Off: userId, as the JSON mapping has it. Both are read.`),
			def("enums_as_numbers", boolean(), func(v *T) *bool { return &v.EnumsAsNumbers }, false,
				`Write enum values by number. Off: by name, as the JSON mapping has it. Both are read.`),
			def("max_body", size(1<<10, 1<<30), func(v *T) *int64 { return &v.MaxBody }, 4<<20,
				`The largest body of a request, and the largest message of an answer: each is held in memory while it is translated. More is answered with 413 and 502. What gRPC servers take by default.`),
		},
		short: &short[T]{
			about: "a file of descriptors",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				if _, isSwitch := parseSwitch(n.Value); isSwitch {
					d.fail(n, "write transcode: {descriptors: api.pb}, or transcode: {reflection: on}", "the filter needs the descriptors of the services")
					return
				}
				text("file", isFileName, isDescriptorSet).read(d, n, &v.Descriptors)
			},
			schema: fileName().schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			switch {
			case !g.clean:
			case v.Descriptors != "" && v.Reflection:
				d.fail(g.key("reflection"), "keep one of descriptors and reflection", "the descriptors are read from a file and asked for too")
			case v.Descriptors == "" && !v.Reflection:
				d.fail(n, "add descriptors: api.pb, or reflection: on", "the filter needs the descriptors of the services")
			}
			refuseTwiceAt(d, g, "services", v.Services)
		},
		schema: func(_ *schemaBuilder, self map[string]any) {
			self["anyOf"] = []any{map[string]any{"required": []any{"descriptors"}}, map[string]any{"required": []any{"reflection"}}}
		},
	}
})

// isDescriptorSet refuses what is handed in for one most often.
func isDescriptorSet(s string) (cause, fix string) {
	if base, ok := strings.CutSuffix(s, ".proto"); ok {
		return quote(s) + " is a source, not a set of descriptors",
			"compile it: protoc --include_imports --descriptor_set_out=" + base + ".pb " + s
	}
	return "", ""
}

// checkGRPCFilters looks whether what these filters translate to can be spoken to the route's cluster.
func checkGRPCFilters(d *decoder, v *Route, g given[Route]) {
	for i := range v.Filters {
		f := &v.Filters[i]
		if f.Kind != "grpc_web" && f.Kind != "transcode" {
			continue
		}
		report := func(fix, format string, args ...any) {
			d.at("filters", func() {
				d.path = append(d.path, step{index: i})
				d.fail(nodeAt(f.Pos), fix, format, args...)
				d.path = d.path[:len(d.path)-1]
			})
		}
		switch c := d.clusterOf(v); {
		case c == nil && g.key("cluster") == nil && g.clean:
			report("remove it", "%s calls the services of a cluster, and the route has none", quote(f.Kind))
		case c != nil && !c.Protocol.isH2():
			report("add protocol: h2c to the cluster, or h2 for HTTP/2 over TLS", "%s translates to gRPC, which needs HTTP/2, and cluster %s speaks %s",
				quote(f.Kind), quote(c.Name), c.Protocol)
		}
	}
}

package config

import (
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// GRPCStatus is the status of a gRPC call, by its name in lower case.
type GRPCStatus string

// The statuses after which a call may be worth another try.
const (
	GRPCCancelled         GRPCStatus = "cancelled"
	GRPCDeadlineExceeded  GRPCStatus = "deadline_exceeded"
	GRPCResourceExhausted GRPCStatus = "resource_exhausted"
	GRPCAborted           GRPCStatus = "aborted"
	GRPCInternal          GRPCStatus = "internal"
	GRPCUnavailable       GRPCStatus = "unavailable"
)

var grpcStatuses = []GRPCStatus{GRPCCancelled, GRPCDeadlineExceeded, GRPCResourceExhausted, GRPCAborted, GRPCInternal, GRPCUnavailable}

// Code is the number the status has in grpc-status.
func (s GRPCStatus) Code() int {
	switch s {
	case GRPCCancelled:
		return 1
	case GRPCDeadlineExceeded:
		return 4
	case GRPCResourceExhausted:
		return 8
	case GRPCAborted:
		return 10
	case GRPCInternal:
		return 13
	case GRPCUnavailable:
		return 14
	}
	return 2 // UNKNOWN
}

// word is what retry.on calls it.
func (s GRPCStatus) word() string { return "grpc_" + string(s) }

func grpcStatusOf(word string) (s GRPCStatus, ok bool) {
	for _, s := range grpcStatuses {
		if s.word() == word {
			return s, true
		}
	}
	return "", false
}

func grpcWords() []string {
	list := make([]string, len(grpcStatuses))
	for i, s := range grpcStatuses {
		list[i] = s.word()
	}
	return list
}

func grpcWordList() string { return strings.Join(grpcWords(), ", ") }

// grpcMatch is another spelling of a path and of POST: that is what a gRPC call is to HTTP.
type grpcMatch struct {
	pos     Pos
	service string
	method  string // empty for all
}

const aboutGRPC = `Calls of a gRPC service: {service: pkg.Service, method: Name}, or pkg.Service/Name. Short for the path /pkg.Service/Name, or /pkg.Service/* without a method, and POST.`

var grpcMatchObject = sync.OnceValue(func() *object[grpcMatch] {
	type T = grpcMatch
	return &object[T]{
		name: "grpc_match", article: "a",
		about: "Calls of a gRPC service.",
		pos:   func(v *T) *Pos { return &v.pos },
		keys: []key[T]{
			need("service", text("gRPC service", grpcService), func(v *T) *string { return &v.service },
				`The service with its package: pkg.Service.`),
			may("method", text("gRPC method", grpcMethod), func(v *T) *string { return &v.method },
				`The method. By default all of the service.`),
		},
		short: &short[T]{
			about: "pkg.Service or pkg.Service/Method",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				s, ok := d.scalar(n, "a gRPC service")
				if !ok {
					return
				}
				service, method, hasMethod := strings.Cut(s, "/")
				if strings.HasPrefix(s, "/") {
					service = s // and is told to be a path
				}
				if !d.passes(n, service, []check{grpcService}) || hasMethod && !d.passes(n, method, []check{grpcMethod}) {
					return
				}
				v.service, v.method = service, method
			},
			schema: func(*schemaBuilder) map[string]any { return map[string]any{"type": "string"} },
		},
	}
})

// takeGRPC brings a match by service into the long form, in which there are paths and methods only.
func takeGRPC(d *decoder, m *Match, n *yaml.Node) {
	said := m.grpc
	m.grpc = nil
	if said == nil || said.service == "" {
		return
	}
	switch {
	case m.Path.Pos != (Pos{}):
		d.at("grpc", func() { d.fail(n, "keep grpc, or path", "grpc stands for a path, and path is given too") })
		return
	case len(m.Methods) > 0:
		d.at("grpc", func() { d.fail(n, "remove methods", "grpc stands for POST, and methods are given too") })
		return
	}
	method := said.method
	if method == "" {
		method = "*"
	}
	at := posOf(n)
	m.Path = Text{at, "/" + said.service + "/" + method}
	m.Methods = []Text{{at, "POST"}}
}

// grpcService accepts the full name of a service: identifiers of the protocol buffers language with dots between them.
func grpcService(s string) (cause, fix string) {
	if strings.HasPrefix(s, "/") {
		return quote(s) + " is a path, not a gRPC service", "write it without the first slash: pkg.Service"
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isIdentifier(part) {
			return quote(s) + " is not a gRPC service", "write its package and name: pkg.Service"
		}
	}
	if len(s) > predicateMax {
		return "the name of the gRPC service is longer than " + formatSize(predicateMax), ""
	}
	return "", ""
}

// grpcServiceOrNone accepts what the health protocol has: the empty name is the whole server.
func grpcServiceOrNone(s string) (cause, fix string) {
	if s == "" {
		return "", ""
	}
	return grpcService(s)
}

func grpcMethod(s string) (cause, fix string) {
	if !isIdentifier(s) || len(s) > predicateMax {
		return quote(s) + " is not a gRPC method", "write its name, or leave it out for all methods of the service"
	}
	return "", ""
}

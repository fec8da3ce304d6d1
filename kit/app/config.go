package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// Config of an App. Nothing is required: an App without servers runs its components and checks.
type Config struct {
	// Name of the service for logs and health pages; "" means the name of the program.
	Name string
	// Host is this machine's name or address as callers know it. It stands in Addresses for servers that listen on all interfaces, which
	// otherwise are there as [::], where no caller finds them.
	Host string
	// HTTP, GRPC and Admin are the servers. One without an address is not there.
	HTTP  HTTPConfig
	GRPC  GRPCConfig
	Admin AdminConfig
	// Chain is what all requests and calls go through, but probes, health and load: a *chain.Chain of kit/app/chain, or another. Nil: none.
	Chain Chain
	// Components start in this order, before anything is served, and stop in the reverse of it. At most 256.
	Components []Component
	// Checks are of what the service depends on. At most 64.
	Checks []Check
	// Register makes the instance known, each once, when it is ready for the first time. A failure ends the App. At most 16.
	Register []Registrar
	// StartTimeout is how long each component may take to start: 0 means 30 s.
	StartTimeout time.Duration
	// Drain says how long the phases of the end take.
	Drain DrainConfig
	// Signals begin the drain; a second one ends it at once. Nil means SIGTERM and SIGINT.
	Signals []os.Signal
	// NoSignals leaves signals alone, for programs that run several Apps, and tests.
	NoSignals bool
	// Logger is told of transitions, never of single requests. Nil means slog.Default().
	Logger *slog.Logger
}

// Chain is one set of policies in the forms in which the servers need it.
type Chain interface {
	Handler(http.Handler) http.Handler
	Unary() grpc.UnaryServerInterceptor
	Stream() grpc.StreamServerInterceptor
}

// HTTPConfig is the server for HTTP/1.1 and HTTP/2: by ALPN with TLS, by prior knowledge without.
type HTTPConfig struct {
	// Address to listen on, host:port; port 0 takes a free one. "": no server.
	Address string
	// Handler of the requests; required with an Address. Without Admin.Address, /healthz and /readyz never reach it.
	Handler http.Handler
	// TLS, if set, is served with. NextProtos are set here.
	TLS *tls.Config
	// ReadHeaderTimeout is for the head of a request, the TLS handshake included: 0 means 5 s.
	ReadHeaderTimeout time.Duration
	// ReadTimeout is for a whole request, and WriteTimeout from its head to the end of its answer: 0 means 1 min, below 0 none.
	// A handler that streams sets its own by http.ResponseController.
	ReadTimeout, WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept between requests: 0 means 2 min. Proxies in front want it longer than their own.
	IdleTimeout time.Duration
	// HeadBytesMax bounds the head of a request: 0 means 64 KiB.
	HeadBytesMax int
	// ConnectionsMax bounds the open connections: 0 means 16,384. More are closed as they come.
	ConnectionsMax int
}

// GRPCConfig is the gRPC server, with grpc-go's own transport. It has the health service of grpc.health.v1, for "" and for each service registered.
type GRPCConfig struct {
	// Address to listen on, host:port; port 0 takes a free one. "": no server, unless SharePort.
	Address string
	// SharePort serves on HTTP's port and with HTTP's TLS: without TLS, connections that begin as HTTP/2 are gRPC's; with TLS, those whose
	// client offers only h2 by ALPN. HTTP is then served by HTTP/1.1 alone.
	SharePort bool
	// Register registers the services; required with a server. What only this server is to have, such as rpc.RegisterStats of kit/rpc, is registered here, too.
	Register func(*grpc.Server)
	// Options are added after our own, which they override; interceptors among them run outside the chain. Those of rpc.Reporter belong here.
	Options []grpc.ServerOption
	// TLS, if set, is served with.
	TLS *tls.Config
	// ConnectTimeout is for the TLS handshake and HTTP/2's first frames: 0 means 5 s.
	ConnectTimeout time.Duration
	// HeadBytesMax bounds the metadata of a call: 0 means 64 KiB.
	HeadBytesMax int
	// StreamsMax bounds the calls of a connection at a time: 0 means 1000. More wait at the client.
	StreamsMax int
	// ConnectionsMax bounds the open connections: 0 means 16,384. More are closed as they come.
	ConnectionsMax int
}

// AdminConfig is the server for operators: /healthz, /readyz and what Handler has.
type AdminConfig struct {
	// Address to listen on, host:port. "": /healthz and /readyz are on HTTP's, which strangers may reach, and do not say there why a check fails.
	Address string
	// Handler gets all other paths, such as observe.Admin; it needs an Address.
	Handler http.Handler
}

// DrainConfig says how long the phases of the end may take. 0 means the default, below 0 not at all. The defaults are together below
// the 30 s that Kubernetes gives.
type DrainConfig struct {
	// Deregister is how long the registry may take: 2 s.
	Deregister time.Duration
	// Wait is how long callers may take to hear of it: 3 s.
	Wait time.Duration
	// Unready is how long it says that it is not ready before connections are told to go: 2 s, for those who ask every second.
	Unready time.Duration
	// GoAway is how long HTTP connections are told to go before idle ones are closed: 1 s.
	GoAway time.Duration
	// Finish is how long requests and calls that run may take: 15 s. It ends when the last has ended. They can be told of it, see Draining.
	Finish time.Duration
	// Stop is for all components together: 5 s. Each has an equal part of what those before it have left.
	Stop time.Duration
}

// Component is something that must run for the service to serve: a pool of connections, a cache, a consumer. Functions that are nil
// are left out. Contexts of Start and Stop have deadlines.
type Component struct {
	// Name is 1 to 64 of letters, digits, ".", "_", "-", and its own.
	Name string
	// Start returns when what comes after it can use it. Its context ends with it.
	Start func(context.Context) error
	// Run goes on beside the service from when Start has returned, until its context ends. When it returns an error before, the service drains.
	Run func(context.Context) error
	// Stop is called if Start has succeeded, after the context of Run has ended.
	Stop func(context.Context) error
}

// Check is a question about a dependency, asked in the background and never by a probe.
type Check struct {
	// Name is 1 to 64 of letters, digits, ".", "_", "-", and its own.
	Name string
	// Run returns nil if all is well. One that does not heed its context is not run again before it has returned, and has failed meanwhile.
	Run func(context.Context) error
	// Critical ones have to pass for the service to be ready. Name so only what no request can do without, and remember that a dependency
	// that all instances share makes all of them unready at once.
	Critical bool
	// Interval between the end of one run and the beginning of the next, a tenth more or less: 0 means 5 s; at least 10 ms.
	Interval time.Duration
	// Timeout of a run: 0 means 2 s.
	Timeout time.Duration
	// FailAfter is how many runs in a row have to fail before one that passed counts as failed: 0 means 2, at most 100.
	FailAfter int
}

// Registrar makes the instance known and returns at once; at has the addresses that it listens on. Registry.Register of kit/registry needs
// only to be wrapped in one.
type Registrar func(ctx context.Context, at Addresses) (Registration, error)

// Registration is an instance that is known: a *registry.Registration is one.
type Registration interface {
	// Wait returns nil while callers can find the instance, and waits until they can.
	Wait(context.Context) error
	// Deregister returns when callers cannot find it any more.
	Deregister(context.Context) error
}

// Addresses that an App listens on, as host:port; "" where there is no server. With SharePort, GRPC is HTTP.
type Addresses struct{ HTTP, GRPC, Admin string }

const (
	componentsMax = 256 // more are a mistake in a loop
	checksMax     = 64  // each has a goroutine and a line on a page
	registrarsMax = 16
	nameBytesMax  = 64
	failAfterMax  = 100
	intervalMin   = 10 * time.Millisecond
)

// filled is a private copy with the defaults in, or an error for each field that is wrong, all at once.
func (c Config) filled() (Config, error) {
	var errs []error
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("app: Config.%s %s", field, fmt.Sprintf(format, args...)))
	}
	positive := func(field string, d *time.Duration, preset time.Duration) {
		if *d == 0 {
			*d = preset
		}
		if *d < 0 {
			wrong(field, "is %v, wants more than 0", *d)
		}
	}
	number := func(field string, n *int, preset, low, high int) {
		if *n == 0 {
			*n = preset
		}
		if *n < low || *n > high {
			wrong(field, "is %d, wants %d to %d", *n, low, high)
		}
	}
	if c.Name == "" {
		c.Name = program()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Signals == nil {
		c.Signals = []os.Signal{syscall.SIGTERM, os.Interrupt}
	}
	positive("StartTimeout", &c.StartTimeout, 30*time.Second)
	c.Drain.fill()

	address := func(field, a string) {
		if _, _, err := net.SplitHostPort(a); a != "" && err != nil {
			wrong(field, "is %q, wants host:port", a)
		}
	}
	address("HTTP.Address", c.HTTP.Address)
	address("GRPC.Address", c.GRPC.Address)
	address("Admin.Address", c.Admin.Address)
	if strings.ContainsAny(c.Host, "[]/ ") {
		wrong("Host", "is %q, wants a name or an address without brackets and port", c.Host)
	}
	h := &c.HTTP
	if h.Address == "" && h.Handler != nil {
		wrong("HTTP.Address", "is empty, and there is a Handler: wants host:port")
	}
	if h.Address != "" && h.Handler == nil {
		wrong("HTTP.Handler", "is nil, wants what answers requests")
	}
	positive("HTTP.ReadHeaderTimeout", &h.ReadHeaderTimeout, 5*time.Second)
	preset(&h.ReadTimeout, time.Minute)
	preset(&h.WriteTimeout, time.Minute)
	positive("HTTP.IdleTimeout", &h.IdleTimeout, 2*time.Minute)
	number("HTTP.HeadBytesMax", &h.HeadBytesMax, 64<<10, 1<<10, 16<<20)
	number("HTTP.ConnectionsMax", &h.ConnectionsMax, 16_384, 1, 10_000_000)

	certified := func(field string, t *tls.Config) {
		if t != nil && len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
			wrong(field, "has no certificate, wants Certificates, GetCertificate or GetConfigForClient")
		}
	}
	certified("HTTP.TLS", h.TLS)
	g := &c.GRPC
	certified("GRPC.TLS", g.TLS)
	switch {
	case g.SharePort && g.Address != "":
		wrong("GRPC.Address", "is %q, and SharePort is set: wants one of them", g.Address)
	case g.SharePort && h.Address == "":
		wrong("GRPC.SharePort", "is set, and HTTP.Address is empty: wants a port to share")
	case g.SharePort && g.TLS != nil:
		wrong("GRPC.TLS", "is set, and so is SharePort: wants HTTP.TLS, which both then have")
	case g.SharePort && h.TLS != nil && h.TLS.GetConfigForClient != nil:
		wrong("HTTP.TLS", "has a GetConfigForClient, and GRPC.SharePort is set, which needs its place")
	case !g.SharePort && g.Address == "" && g.Register != nil:
		wrong("GRPC.Address", "is empty, and there is a Register: wants host:port, or SharePort")
	}
	if (g.SharePort || g.Address != "") && g.Register == nil {
		wrong("GRPC.Register", "is nil, wants what registers services")
	}
	positive("GRPC.ConnectTimeout", &g.ConnectTimeout, 5*time.Second)
	number("GRPC.HeadBytesMax", &g.HeadBytesMax, 64<<10, 1<<10, 16<<20)
	number("GRPC.StreamsMax", &g.StreamsMax, 1000, 1, 1_000_000)
	number("GRPC.ConnectionsMax", &g.ConnectionsMax, 16_384, 1, 10_000_000)
	if c.Admin.Handler != nil && c.Admin.Address == "" {
		wrong("Admin.Handler", "is set, and Admin.Address is empty: it is not for the port that strangers reach")
	}

	c.Components = append([]Component(nil), c.Components...)
	c.Checks = append([]Check(nil), c.Checks...)
	if n := len(c.Components); n > componentsMax {
		wrong("Components", "has %d entries, wants at most %d", n, componentsMax)
	}
	if n := len(c.Checks); n > checksMax {
		wrong("Checks", "has %d entries, wants at most %d", n, checksMax)
	}
	if n := len(c.Register); n > registrarsMax {
		wrong("Register", "has %d entries, wants at most %d", n, registrarsMax)
	}
	for i, r := range c.Register {
		if r == nil {
			wrong(fmt.Sprintf("Register[%d]", i), "is nil, wants a function")
		}
	}
	seen := map[string]bool{}
	named := func(field, name string) {
		if !isName(name) {
			wrong(field, "is %.100q, wants 1 to %d of letters, digits, \".\", \"_\", \"-\"", name, nameBytesMax)
		}
		if seen[name] {
			wrong(field, "is %q, which another has: wants a name of its own", name)
		}
		seen[name] = true
	}
	for i := range c.Components {
		named(fmt.Sprintf("Components[%d].Name", i), c.Components[i].Name)
	}
	clear(seen)
	if len(c.Register) > 0 {
		seen[registrationCheck] = true
	}
	for i := range c.Checks {
		k := &c.Checks[i]
		field := fmt.Sprintf("Checks[%d].", i)
		named(field+"Name", k.Name)
		if k.Run == nil {
			wrong(field+"Run", "is nil, wants a function")
		}
		positive(field+"Interval", &k.Interval, 5*time.Second)
		positive(field+"Timeout", &k.Timeout, 2*time.Second)
		number(field+"FailAfter", &k.FailAfter, 2, 1, failAfterMax)
		if k.Interval > 0 && k.Interval < intervalMin {
			wrong(field+"Interval", "is %v, wants at least %v", k.Interval, intervalMin)
		}
	}
	return c, errors.Join(errs...)
}

func (d *DrainConfig) fill() {
	preset(&d.Deregister, 2*time.Second)
	preset(&d.Wait, 3*time.Second)
	preset(&d.Unready, 2*time.Second)
	preset(&d.GoAway, time.Second)
	preset(&d.Finish, 15*time.Second)
	preset(&d.Stop, 5*time.Second)
}

// preset fills in a default, and makes what is below 0 none.
func preset(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
	*d = max(*d, 0)
}

func program() string {
	path := os.Args[0]
	for i := len(path) - 1; i >= 0; i-- {
		if os.IsPathSeparator(path[i]) {
			return path[i+1:]
		}
	}
	return path
}

func isName(s string) bool {
	if s == "" || len(s) > nameBytesMax {
		return false
	}
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return true
}

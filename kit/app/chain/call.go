package chain

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// Stage is a part of a chain, by which a call can end.
type Stage uint8

// Stages, in the order in which a call comes to them.
const (
	StageNone Stage = iota
	StageDeadline
	StageAuth
	StageLimit
	StageBreaker
	StageValidation
	stages
)

// String returns the word of logs and metrics.
func (s Stage) String() string {
	return [stages]string{"none", "deadline", "auth", "limit", "breaker", "validation"}[s]
}

// Call are the facts of a call that are the same for HTTP and gRPC. It is valid until the call has ended, and may be read
// by any goroutine of its own.
type Call struct {
	ctx       context.Context // with what the transport says of the call
	chain     *Chain
	request   *http.Request // of HTTP
	method    string
	protocol  string
	stream    bool
	rule      *rule
	principal *Principal
	begun     time.Time

	// What follows is for the log.
	stage  Stage // that refused
	at     Stage // whose guard was asked last and has not let the call pass
	reason string
	cause  error
}

// Method is the name of what is called: "/shop.Orders/Create" of gRPC; of HTTP what Config.Route says or the pattern by which
// it was routed ("POST /orders"), and "" while or where no route is known.
func (c *Call) Method() string { return c.method }

// Protocol is "http" or "grpc".
func (c *Call) Protocol() string { return c.protocol }

// Stream tells whether it is a stream of gRPC.
func (c *Call) Stream() bool { return c.stream }

// Request is that of HTTP, as it came; nil of gRPC.
func (c *Call) Request() *http.Request { return c.request }

// Principal is who calls; nil before it is known, and of public methods.
func (c *Call) Principal() *Principal { return c.principal }

// Header are the values of a header field, or of gRPC's metadata of that name. They must not be changed.
func (c *Call) Header(name string) []string {
	if c.request != nil {
		return c.request.Header[http.CanonicalHeaderKey(name)]
	}
	return metadata.ValueFromIncomingContext(c.ctx, strings.ToLower(name))
}

// Address is that of who has connected, without the port.
func (c *Call) Address() string {
	whole := ""
	if c.request != nil {
		whole = c.request.RemoteAddr
	} else if p, ok := peer.FromContext(c.ctx); ok && p.Addr != nil {
		if tcp, ok := p.Addr.(*net.TCPAddr); ok {
			return tcp.IP.String()
		}
		whole = p.Addr.String()
	}
	if host, _, err := net.SplitHostPort(whole); err == nil {
		return host
	}
	return whole
}

// TLS is the connection's; nil without TLS.
func (c *Call) TLS() *tls.ConnectionState {
	if c.request != nil {
		return c.request.TLS
	}
	if p, ok := peer.FromContext(c.ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return &info.State
		}
	}
	return nil
}

// CallOf is the call that ctx belongs to; nil outside of a chain.
func CallOf(ctx context.Context) *Call {
	if s := stateOf(ctx); s != nil {
		return &s.call
	}
	return nil
}

// PrincipalOf is who calls; nil outside of a chain, of public methods, and of chains that authenticate nobody.
func PrincipalOf(ctx context.Context) *Principal {
	if s := stateOf(ctx); s != nil {
		return s.call.principal
	}
	return nil
}

// refused remembers which part ended the call.
func (c *Call) refused(by Stage, reason string, cause error) {
	c.stage, c.reason, c.cause = by, reason, cause
}

// state is all that a call costs, in one: its facts and the context that has them, which is the handler's.
type state struct {
	context.Context // of the layer outside, with the time that the client gives
	call            Call
	own             answer.Recorder // of HTTP, where nobody outside has one
	at              *answer.Recorder
	named           bool // by Config.Route
}

type stateKey struct{}

// Value answers to the chain with the state itself.
func (s *state) Value(key any) any {
	if _, ok := key.(stateKey); ok {
		return s
	}
	return s.Context.Value(key)
}

func stateOf(ctx context.Context) *state {
	if s, ok := ctx.(*state); ok {
		return s
	}
	s, _ := ctx.Value(stateKey{}).(*state)
	return s
}

// Chain is the one that the call has come to.
func (c *Call) Chain() *Chain { return c.chain }

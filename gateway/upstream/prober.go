package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/policy/health"
)

// Probe says how endpoints are checked. Comparable, so that a change is noticed.
type Probe struct {
	// TCP checks whether a connection can be had, and no more: also where TLS is spoken, of which it says nothing.
	TCP bool
	// GRPC asks the endpoint by gRPC's health protocol, for Service or, if that is empty, for the server as a whole.
	GRPC    bool
	Service string
	// Otherwise the check is a GET of Path, spoken as the cluster speaks.
	Path     string
	Host     string // for the Host field; the endpoint's name if empty
	Interval time.Duration
	Timeout  time.Duration
	Jitter   float64 // how far an interval may be off, at random, as a share of it: 0 to 1
	// Expect are the statuses of a healthy endpoint, as ranges from-to.
	Expect [4]StatusRange
}

// StatusRange is a range of statuses, both ends included; the zero value is empty.
type StatusRange struct{ From, To int }

func (p *Probe) expects(status int) bool {
	for _, r := range p.Expect {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

// prober checks one endpoint, on a goroutine of its own: a check may wait for a slow endpoint, the next one must not.
type prober struct {
	name   string // of the target, which a check may ask for
	cancel context.CancelFunc
	done   chan struct{}
	last   string // how the last failed check failed; the monitor's
}

func startProber(m *monitor, e *judged, spec *Spec, t Target) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	pr := &prober{name: t.Name, cancel: cancel, done: make(chan struct{})}
	go pr.run(ctx, m, e, spec.Probe, newChecker(spec.Probe, spec.dialTo(t), t))
	return pr
}

func (pr *prober) end() {
	pr.cancel()
	<-pr.done
}

// run checks at once, and then at the interval give or take the jitter, so that the checks of many gateways and endpoints
// do not fall together.
func (pr *prober) run(ctx context.Context, m *monitor, e *judged, p *Probe, check *checker) {
	defer close(pr.done)
	for {
		outcome, text := check.once(ctx)
		if ctx.Err() != nil {
			return
		}
		select {
		case m.probed <- observation{e, outcome, text}:
		case <-ctx.Done():
			return
		}
		pause := time.NewTimer(time.Duration(float64(p.Interval) * (1 + p.Jitter*(2*rand.Float64()-1))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// checker makes checks of one endpoint. Each check has a connection of its own: whether one can be had is part of the
// question, and so is whether its certificate is good, which a resumed session would not show.
type checker struct {
	probe  *Probe
	target Target
	scheme string
	two    bool // only HTTP/2 will do
	client http.Client
}

// newChecker returns a checker that speaks with the endpoint as requests do.
func newChecker(p *Probe, d *engine.DialConfig, t Target) *checker {
	dialer := &net.Dialer{}
	dialer.SetMultipathTCP(false)
	c := &checker{probe: p, target: t, scheme: "http", two: p.GRPC || d.Protocols == engine.HTTP2}
	transport := &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 32 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", t.Addr.String())
		},
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(!c.two)
	if d.TLS == nil {
		transport.Protocols.SetUnencryptedHTTP2(c.two)
	} else {
		c.scheme = "https"
		transport.TLSClientConfig = d.TLS.Clone()
		transport.TLSClientConfig.ClientSessionCache = nil
		transport.Protocols.SetHTTP2(c.two || d.Protocols&engine.HTTP2 != 0)
	}
	c.client = http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// checkBodyMax is how much of a check's answer is read: enough for any honest one, bounded for the others.
const checkBodyMax = 64 << 10

func (c *checker) once(ctx context.Context) (health.Outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, c.probe.Timeout)
	defer cancel()
	switch {
	case c.probe.TCP:
		return c.connect(ctx)
	case c.probe.GRPC:
		return c.call(ctx)
	}
	resp, _, outcome, text := c.ask(ctx, http.MethodGet, c.probe.Path, nil, nil)
	if outcome != health.OK {
		return outcome, text
	}
	if !c.probe.expects(resp.StatusCode) {
		return health.WrongStatus, fmt.Sprintf("status %d from %s", resp.StatusCode, c.probe.Path)
	}
	return health.OK, ""
}

// ask makes a request and returns its answer with as much of the body as is read. The outcome is OK if there is one, whatever
// it says.
func (c *checker) ask(ctx context.Context, method, path string, fields http.Header, content []byte) (
	resp *http.Response, body []byte, o health.Outcome, text string,
) {
	var noTLS atomic.Bool // the handshake failed; it may go on when nobody waits for it any more
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { noTLS.Store(err != nil) },
	})
	req, err := http.NewRequestWithContext(ctx, method, c.scheme+"://"+c.target.Addr.String()+path, bytes.NewReader(content))
	if err != nil {
		return nil, nil, health.BadResponse, err.Error()
	}
	if fields != nil {
		req.Header = fields
	}
	req.Host = c.host()
	req.Header.Set("User-Agent", "yumen-health")
	resp, err = c.client.Do(req)
	switch {
	case err != nil && noTLS.Load() && ctx.Err() == nil:
		return nil, nil, health.ConnectFailure, err.Error()
	case err != nil:
		return nil, nil, outcomeOfCheck(err), err.Error()
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(io.LimitReader(resp.Body, checkBodyMax)); err != nil {
		return nil, nil, outcomeOfCheck(err), err.Error()
	}
	if c.two && resp.ProtoMajor != 2 {
		return nil, nil, health.BadResponse, "the answer came by " + resp.Proto + ", and HTTP/2 is what the cluster speaks"
	}
	return resp, body, health.OK, ""
}

func (c *checker) connect(ctx context.Context) (health.Outcome, string) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.target.Addr.String())
	if err != nil {
		return outcomeOfCheck(err), err.Error()
	}
	conn.Close()
	return health.OK, ""
}

func (c *checker) host() string {
	if c.probe.Host != "" {
		return c.probe.Host
	}
	if _, err := netip.ParseAddrPort(c.target.Name); err != nil && c.target.Name != "" {
		return c.target.Name
	}
	return c.target.Addr.String()
}

func outcomeOfCheck(err error) health.Outcome {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return health.Timeout
	case errors.As(err, &op) && op.Op == "dial":
		return health.ConnectFailure
	case errors.As(err, &op):
		return health.Reset
	}
	return health.BadResponse
}

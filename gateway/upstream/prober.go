package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/policy/health"
)

// Probe says how endpoints are checked. Comparable, so that a change is noticed.
type Probe struct {
	TCP      bool // connect only; otherwise an HTTP request
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

func startProber(m *monitor, e *judged, p *Probe, t Target) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	pr := &prober{name: t.Name, cancel: cancel, done: make(chan struct{})}
	go pr.run(ctx, m, e, p, t)
	return pr
}

func (pr *prober) end() {
	pr.cancel()
	<-pr.done
}

// run checks at once, and then at the interval give or take the jitter, so that the checks of many gateways and endpoints
// do not fall together.
func (pr *prober) run(ctx context.Context, m *monitor, e *judged, p *Probe, t Target) {
	defer close(pr.done)
	check := newChecker(p, t)
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
// question.
type checker struct {
	probe  *Probe
	target Target
	client http.Client
}

func newChecker(p *Probe, t Target) *checker {
	dialer := &net.Dialer{}
	dialer.SetMultipathTCP(false)
	return &checker{probe: p, target: t, client: http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", t.Addr.String())
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// checkBodyMax is how much of a check's answer is read: enough for any honest one, bounded for the others.
const checkBodyMax = 64 << 10

func (c *checker) once(ctx context.Context) (health.Outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, c.probe.Timeout)
	defer cancel()
	if c.probe.TCP {
		return c.connect(ctx)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.target.Addr.String()+c.probe.Path, nil)
	if err != nil {
		return health.BadResponse, err.Error()
	}
	req.Host = c.host()
	req.Header.Set("User-Agent", "yumen-health")
	resp, err := c.client.Do(req)
	if err != nil {
		return outcomeOfCheck(err), err.Error()
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, checkBodyMax)); err != nil {
		return outcomeOfCheck(err), err.Error()
	}
	if !c.probe.expects(resp.StatusCode) {
		return health.WrongStatus, fmt.Sprintf("status %d from %s", resp.StatusCode, c.probe.Path)
	}
	return health.OK, ""
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

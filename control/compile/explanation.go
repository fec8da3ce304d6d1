package compile

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/gateway"
)

// ExplainRequest is a request that somebody asks about. Nothing is sent.
type ExplainRequest struct {
	Method   string     `json:"method"`             // empty: GET
	URL      string     `json:"url"`                // as a client would write it; a path alone is one without a host
	Headers  []Header   `json:"headers,omitempty"`  // a Host among them takes the place of the URL's
	Listener string     `json:"listener,omitempty"` // empty: the one with the URL's port, or the first
	Client   netip.Addr `json:"client,omitzero"`    // its address, for balancing; not valid: 192.0.2.1, an example
}

// Header is a header field.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Explanation is what would become of a request.
type Explanation struct {
	Listener string `json:"listener"`
	Method   string `json:"method"`
	Host     string `json:"host"` // as routes are asked for it; empty: only routes of every host fit
	Path     string `json:"path"` // in normal form: what is routed and, unless a filter rewrites it, forwarded
	Sent     string `json:"sent"` // the path as the client sends it
	Query    string `json:"query,omitempty"`

	// Refused is set if the request does not get as far as a route.
	Refused *Refusal `json:"refused,omitempty"`
	// Candidates are the routes whose host and path fit, in the order in which they are asked.
	Candidates []Candidate `json:"candidates,omitempty"`

	Route    string            `json:"route,omitempty"` // the one chosen
	Params   map[string]string `json:"params,omitempty"`
	Filters  []FilterView      `json:"filters,omitempty"`
	Respond  *RespondView      `json:"respond,omitempty"`
	Redirect *RedirectView     `json:"redirect,omitempty"`

	Cluster   string         `json:"cluster,omitempty"`
	Forwarded *ForwardedView `json:"forwarded,omitempty"`
	Balance   *BalanceView   `json:"balance,omitempty"`
	Timeouts  *TimeoutsView  `json:"timeouts,omitempty"`
	Retry     *RetryView     `json:"retry,omitempty"`
}

// Refusal is an answer that the gateway gives by itself because there is nothing else to do.
type Refusal struct {
	Status int    `json:"status"`
	Reason string `json:"reason"` // the word of x-yumen-reason, log and metric
	Text   string `json:"text"`
	Allow  string `json:"allow,omitempty"` // the methods that would do
}

// Candidate is a route whose host and path fit.
type Candidate struct {
	Route  string `json:"route"`
	Line   int    `json:"line,omitempty"`
	Chosen bool   `json:"chosen"`
	Why    string `json:"why,omitempty"` // not, if it was not chosen
}

// FilterView is a filter of the route, in the order in which requests meet them.
type FilterView struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	Mode string `json:"mode,omitempty"` // of a guard: enforce or shadow
	Text string `json:"text"`
}

// RespondView is the answer a route gives by itself.
type RespondView struct {
	Status    int `json:"status"`
	BodyBytes int `json:"body_bytes"`
}

// RedirectView is where a route sends its clients.
type RedirectView struct {
	Status int    `json:"status"`
	To     string `json:"to"` // as the document has it
}

// ForwardedView is the request as filters leave it for the upstream.
type ForwardedView struct {
	Host  string `json:"host"`
	Path  string `json:"path"`
	Query string `json:"query,omitempty"`
}

// BalanceView is how the endpoint is chosen.
type BalanceView struct {
	Algorithm string `json:"algorithm"`
	Key       string `json:"key,omitempty"`   // what a hash goes by
	Value     string `json:"value,omitempty"` // of the key in this request
	// Endpoints of the cluster, as the document has them.
	Endpoints []EndpointView `json:"endpoints"`
	Note      string         `json:"note,omitempty"`
}

// EndpointView is an endpoint of the cluster.
type EndpointView struct {
	Address  string `json:"address"`
	Weight   uint32 `json:"weight"`
	Priority uint8  `json:"priority"`
	Resolved bool   `json:"resolved"` // false: a name, which may stand for several addresses
	Chosen   bool   `json:"chosen,omitempty"`
	Etcd     bool   `json:"etcd,omitempty"` // a service, which stands for its instances
}

// TimeoutsView are the bounds in time, in words: none, 5s.
type TimeoutsView struct {
	Connect      string `json:"connect"`
	Queue        string `json:"queue"`
	FirstByte    string `json:"first_byte"`
	BetweenBytes string `json:"between_bytes"`
	Request      string `json:"request"`
}

// RetryView is when the request would be tried again.
type RetryView struct {
	Attempts int      `json:"attempts"`
	PerTry   string   `json:"per_try"`
	On       []string `json:"on"`
	Note     string   `json:"note,omitempty"`
}

// String tells it to people.
func (e *Explanation) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	request := e.Method + " " + e.Host + e.Path
	if e.Query != "" {
		request += "?" + e.Query
	}
	if e.Host == "" && e.Listener != "" {
		request += ", no host"
	}
	if e.Listener != "" {
		request += ", on listener " + e.Listener
	}
	line("request    %s", request)
	if e.Sent != e.Path {
		line("           the path was sent as %s", e.Sent)
	}
	for i, c := range e.Candidates {
		label := "          "
		if i == 0 {
			label = "candidates"
		}
		at := ""
		if c.Line > 0 {
			at = fmt.Sprintf(" (line %d)", c.Line)
		}
		if c.Chosen {
			line("%s * %s%s", label, c.Route, at)
		} else {
			line("%s - %s%s: %s", label, c.Route, at, c.Why)
		}
	}
	if r := e.Refused; r != nil {
		line("answer     %d %s: %s", r.Status, r.Reason, r.Text)
		if r.Allow != "" {
			line("           allowed: %s", r.Allow)
		}
		return b.String()
	}
	line("route      %s", e.Route)
	for _, name := range sortedKeys(e.Params) {
		line("           %s = %s", name, e.Params[name])
	}
	for i, f := range e.Filters {
		label := "       "
		if i == 0 {
			label = "filters"
		}
		name := f.Kind
		if f.Name != "" {
			name = f.Name + " (" + f.Kind + ")"
		}
		if f.Mode == gateway.Shadow.String() {
			name += ", in shadow mode: it does nothing"
		}
		line("%s    %s: %s", label, name, f.Text)
	}
	switch {
	case e.Respond != nil:
		line("answer     %d by the gateway itself, %d bytes", e.Respond.Status, e.Respond.BodyBytes)
	case e.Redirect != nil:
		line("answer     %d redirect to %s", e.Redirect.Status, e.Redirect.To)
	default:
		e.writeCluster(line)
	}
	return b.String()
}

func (e *Explanation) writeCluster(line func(string, ...any)) {
	line("cluster    %s", e.Cluster)
	forwarded := e.Method + " " + e.Forwarded.Path
	if e.Forwarded.Query != "" {
		forwarded += "?" + e.Forwarded.Query
	}
	if e.Forwarded.Host != "" {
		forwarded += ", host " + e.Forwarded.Host
	}
	line("forwarded  %s", forwarded)
	balance := e.Balance.Algorithm
	if e.Balance.Key != "" {
		balance += " by " + e.Balance.Key
		if e.Balance.Value != "" {
			balance += fmt.Sprintf(" (%q)", e.Balance.Value)
		}
	}
	line("balance    %s", balance)
	if e.Balance.Note != "" {
		line("           %s", e.Balance.Note)
	}
	for i, p := range e.Balance.Endpoints {
		label := "         "
		if i == 0 {
			label = "endpoints"
		}
		text := p.Address
		if p.Weight != 1 {
			text += fmt.Sprintf(", weight %d", p.Weight)
		}
		if p.Priority > 0 {
			text += fmt.Sprintf(", priority %d", p.Priority)
		}
		switch {
		case p.Etcd:
			text += ", each instance that has registered"
		case !p.Resolved:
			text += ", each address of this name"
		}
		if p.Chosen {
			text += " <- chosen while it is healthy"
		}
		line("%s  %s", label, text)
	}
	t := e.Timeouts
	line("timeouts   connect %s, queue %s, first byte %s, between bytes %s, request %s", t.Connect, t.Queue, t.FirstByte, t.BetweenBytes, t.Request)
	r := e.Retry
	if r.Attempts <= 1 {
		line("retry      off")
		return
	}
	line("retry      %d attempts, per try %s, on %s", r.Attempts, r.PerTry, strings.Join(r.On, ", "))
	if r.Note != "" {
		line("           %s", r.Note)
	}
}

func retryOn(on *config.RetryOn) []string {
	list := []string{}
	for _, w := range []struct {
		is   bool
		word string
	}{{on.Connect, "connect"}, {on.Reset, "reset"}, {on.Timeout, "timeout"}} {
		if w.is {
			list = append(list, w.word)
		}
	}
	for _, s := range on.Statuses {
		list = append(list, s.String())
	}
	return list
}

package compile

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
)

// Explain says what would become of a request. The request is written out as a client of HTTP/1.1 would send it (one without
// a host, as a client of HTTP/1.0, which need not name one: it gets what routes of every host have) and then read by the codec, normalised, routed and filtered by the code that does so with real ones. What a trusted proxy says of
// its client is not looked at.
func (p *Plan) Explain(req ExplainRequest) *Explanation {
	e := &Explanation{Method: req.Method}
	if e.Method == "" {
		e.Method = "GET"
	}
	host, target, err := splitURL(req.URL)
	l := p.listener(req.Listener, host)
	if err == nil && l == nil {
		err = errors.New("there is no listener " + strconv.Quote(req.Listener))
	}
	if err != nil {
		e.Sent, e.Path = req.URL, req.URL
		e.Refused = &Refusal{Status: 400, Reason: "malformed", Text: err.Error()}
		return e
	}
	e.Listener, e.Host = l.Name, host
	e.Sent, e.Query, _ = strings.Cut(target, "?")
	h, err := parseHead(e.Method, host, target, req.Headers, l.Server.H1)
	if err == nil {
		e.Host = string(gateway.AppendHost(nil, h.AuthorityBytes()))
		err = message.NormalizePath(h, p.Path)
	}
	if err != nil {
		e.Path = e.Sent
		e.Refused = refusalOf(err)
		return e
	}
	e.Path = string(h.PathBytes())
	p.explainRoute(e, h, req)
	return e
}

func refusalOf(err error) *Refusal {
	var r *message.Refusal
	if errors.As(err, &r) {
		return &Refusal{Status: r.Status, Reason: r.Reason, Text: r.Text}
	}
	return &Refusal{Status: 400, Reason: "malformed", Text: err.Error()}
}

// splitURL takes a URL apart as a client does that then sends path and query as they are: nothing is decoded here.
func splitURL(s string) (host, target string, err error) {
	s, _, _ = strings.Cut(s, "#") // clients keep the fragment
	if strings.ContainsAny(s, " \t\r\n") {
		return "", "", errors.New("a URL holds no blanks: write %20")
	}
	if strings.HasPrefix(s, "/") || s == "*" {
		return "", s, nil
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && !strings.ContainsAny(scheme, "/?") {
		s = rest
	}
	host, target = s, "/"
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		host, target = s[:i], s[i:]
		if target[0] == '?' {
			target = "/" + target
		}
	}
	switch {
	case host == "":
		return "", "", errors.New("the URL has no host: write http://example.com/path, or /path alone")
	case strings.Contains(host, "@"):
		return "", "", errors.New("clients do not send the user name of a URL: give it as a header field")
	}
	return host, target, nil
}

// listener finds where the request would arrive: the named one, or the one with the port of the URL, or the first.
func (p *Plan) listener(name, host string) *ListenerPlan {
	port := "80"
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		port = host[i+1:]
	}
	for i, l := range p.Listeners {
		if l.Name == name || name == "" && strconv.Itoa(int(p.Document.Listeners[i].Address.Port)) == port {
			return l
		}
	}
	if name == "" && len(p.Listeners) > 0 {
		return p.Listeners[0]
	}
	return nil
}

// parseHead writes the request and lets the codec read it.
func parseHead(method, host, target string, headers []Header, limits *h1.Limits) (*message.Head, error) {
	var b strings.Builder
	for _, f := range headers {
		if strings.ContainsAny(f.Name+f.Value, "\r\n") {
			return nil, errors.New("a header field holds no line ends")
		}
		if strings.EqualFold(f.Name, "host") {
			host = f.Value
			continue
		}
		b.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	if strings.ContainsAny(method+host, "\r\n") {
		return nil, errors.New("neither method nor host holds line ends")
	}
	line := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if host == "" {
		line = method + " " + target + " HTTP/1.0\r\n"
	}

	pool := buf.NewPool(0)
	var in buf.Chain
	in.AppendString(pool, line+b.String()+"\r\n")
	defer in.Release(pool)
	var codec h1.Server
	codec.Init(limits)
	h := &message.Head{}
	ev, err := codec.Next(&in, pool, h)
	if err != nil {
		return nil, err
	}
	if ev.Kind != message.GotHead {
		return nil, errors.New("this is not the head of a request")
	}
	return h, nil
}

// explainRoute tells which route takes the request, and what follows.
func (p *Plan) explainRoute(e *Explanation, h *message.Head, req ExplainRequest) {
	m := &match.Request{Listener: e.Listener, Host: []byte(e.Host), Method: h.MethodBytes(), Path: h.PathBytes(),
		Query: h.QueryBytes(), Fields: &h.Fields}
	for _, c := range p.Table.Explain(m) {
		r := p.Routes[c.Index]
		e.Candidates = append(e.Candidates, Candidate{r.Name, r.said.Line, c.Chosen, c.Why})
	}
	var params route.Params
	found := p.Table.Match(m, &params)
	if found.Index < 0 {
		e.Refused = &Refusal{Status: 404, Reason: "no_route", Text: "no route matches this request"}
		if found.Allow != 0 {
			e.Refused = &Refusal{Status: 405, Reason: "method_not_allowed", Text: "the path exists, but not for this method",
				Allow: string(p.Table.AppendAllow(nil, found.Allow))}
		}
		return
	}
	r := p.Routes[found.Index]
	e.Route = r.Name
	for _, segment := range pathParams(r.said.Match.Path.Value) {
		name := paramName(segment)
		value, _ := params.Get(name)
		if e.Params == nil {
			e.Params = map[string]string{}
		}
		e.Params[name] = string(value)
	}
	client := req.Client
	if !client.IsValid() {
		client = exampleClient
	}
	cluster := r.Cluster
	for i, f := range r.filters {
		view := FilterView{Kind: f.Hooks.Name, Name: r.said.Filters[i].Name, Text: f.Text}
		if f.Guard != nil {
			view.Mode = f.Guard.Mode.String()
		}
		if f.Split != nil {
			view.Text = f.Split.String() // with the weights that hold now
			choice := f.Split.Choose(h, &params, client)
			if choice.Variant == "" {
				view.Text += "; which variant this request goes to cannot be told: " + choice.Why
			} else {
				view.Text += "; this request goes to " + choice.Variant + " " + choice.Why
				cluster = choice.Cluster.Index
			}
		}
		e.Filters = append(e.Filters, view)
		if f.Request != nil {
			f.Request(h, &params)
		}
	}
	switch {
	case r.said.Respond != nil:
		e.Respond = &RespondView{r.said.Respond.Status, len(r.said.Respond.Body)}
	case r.said.Redirect != nil:
		e.Redirect = &RedirectView{r.said.Redirect.Status, r.said.Redirect.To}
	default:
		p.explainProxy(e, r, cluster, h, &params, client)
	}
}

// exampleClient is an address for documentation (RFC 5737).
var exampleClient = netip.AddrFrom4([4]byte{192, 0, 2, 1})

func (p *Plan) explainProxy(e *Explanation, r *RoutePlan, cluster int, h *message.Head, params *route.Params, client netip.Addr) {
	c := p.Clusters[cluster]
	e.Cluster = c.Name
	e.Forwarded = &ForwardedView{string(h.AuthorityBytes()), string(h.PathBytes()), string(h.QueryBytes())}
	e.Balance = &BalanceView{Algorithm: c.Algorithm}
	for _, t := range c.Endpoints {
		e.Balance.Endpoints = append(e.Balance.Endpoints, EndpointView{t.Address, max(t.Weight, 1), t.Priority, t.Addr.IsValid(), false, t.Etcd != nil})
	}
	if r.Route.Key != nil {
		explainKey(e.Balance, c, r.Route.Key, h, params, client)
	}
	said := r.said
	e.Timeouts = &TimeoutsView{
		Connect: timeout(c.said.Timeouts.Connect), Queue: timeout(c.said.Connections.QueueTimeout),
		FirstByte: timeout(said.Timeouts.FirstByte), BetweenBytes: timeout(said.Timeouts.BetweenBytes),
		Request: timeout(said.Timeouts.Request),
	}
	e.Retry = &RetryView{Attempts: said.Retry.Attempts, PerTry: timeout(said.Retry.PerTry), On: retryOn(&said.Retry.On)}
	if !said.Retry.NonIdempotent && !retry.Idempotent(e.Method) {
		e.Retry.Note = e.Method + " may do its work twice, so it is tried again only if nothing of it was sent"
	}
}

// explainKey says what is hashed and, where all endpoints have addresses, which one that leads to.
func explainKey(b *BalanceView, c *ClusterPlan, k *gateway.Key, h *message.Head, params *route.Params, client netip.Addr) {
	value, ok := k.Value(h, params)
	b.Key, b.Value = keyText(k), string(value)
	if !ok {
		b.Value = client.String()
		if k.By != gateway.ByClientAddress {
			b.Note = "the request has no " + b.Key + ", so the client's address is hashed"
		}
	}
	if c.Resolves() {
		return
	}
	endpoints := make([]balance.Endpoint, len(c.Endpoints))
	for i, t := range c.Endpoints {
		endpoints[i] = balance.Endpoint{Identity: t.Addr.String(), Weight: t.Weight, Priority: t.Priority}
	}
	i, _ := balance.New(c.whole.Balance, endpoints, 0).Pick(0, 0, k.Hash(h, params, client), &balance.Tried{})
	if i >= 0 {
		b.Endpoints[i].Chosen = true
	}
}

func keyText(k *gateway.Key) string {
	switch k.By {
	case gateway.ByHeader:
		return string(config.HashHeader) + " " + k.Name
	case gateway.ByCookie:
		return string(config.HashCookie) + " " + k.Name
	case gateway.ByPathParam:
		return string(config.HashPathParam) + " " + k.Name
	}
	return string(config.HashClientAddress)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

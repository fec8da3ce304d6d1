package cors

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// The words of preflights: of one that is answered, and of refused ones.
const (
	ReasonPreflight      = "cors_preflight"
	ReasonOrigin         = "cors_origin"
	ReasonMethod         = "cors_method"
	ReasonHeader         = "cors_header"
	ReasonPrivateNetwork = "cors_private_network"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonPreflight, ReasonOrigin, ReasonMethod, ReasonHeader, ReasonPrivateNetwork}
}

// Filter carries a policy out. It is frozen, and shared by all loops.
type Filter struct {
	policy  *Policy
	guard   *gateway.Guard
	scratch gateway.PerLoop[[128]byte]
}

// NewFilter returns a filter.
func NewFilter(p *Policy, guard *gateway.Guard) *Filter { return &Filter{policy: p, guard: guard} }

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "cors", Request: f.Request, Response: f.Response}
}

// String says what the filter does.
func (f *Filter) String() string { return f.policy.String() }

// preflight is kept for an exchange that the filter answers itself.
var preflight = new(byte)

// answer is the answer to a preflight; its fields are added on the way out.
var answer = &gateway.Respond{Status: 204, Reason: ReasonPreflight}

const (
	requestMethod  = "access-control-request-method"
	requestHeaders = "access-control-request-headers"
	requestPrivate = "access-control-request-private-network"
	allowPrefix    = "access-control-"
)

// Request answers preflights: OPTIONS with an origin and the method that is asked for.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	h := x.Request
	if !h.IsMethod("OPTIONS") {
		return gateway.GoOn
	}
	origin, ok := h.Get(message.Origin)
	if !ok {
		return gateway.GoOn
	}
	method, at := h.NextField(requestMethod, 0)
	if at < 0 {
		return gateway.GoOn
	}
	j := x.Judgement(f.guard)
	j.Key = append(append(f.scratch.On(x)[:0], "origin="...), origin[:min(len(origin), 100)]...)
	headers, _ := h.NextField(requestHeaders, 0)
	j.Reason, j.Text = f.judge(h, origin, method, headers)
	if j.Reason != "" {
		j.Outcome, j.Status = gateway.Refused, 403
		return x.Judge(j)
	}
	x.Judge(j)
	if f.guard.Mode != gateway.Enforce {
		return gateway.GoOn
	}
	x.Keep(preflight)
	return x.Answer(answer)
}

// judge returns why a preflight is refused; empty if it is not.
func (f *Filter) judge(h *message.Head, origin, method, headers []byte) (reason, text string) {
	p := f.policy
	switch {
	case !p.Allows(origin):
		return ReasonOrigin, "Pages of this origin may not use this."
	case !p.AllowsMethod(method):
		return ReasonMethod, "Pages of other origins may not use this method."
	case p.DeniedHeader(headers) != nil:
		return ReasonHeader, "Pages of other origins may not send one of these header fields."
	}
	if v, at := h.NextField(requestPrivate, 0); at >= 0 && string(v) == "true" && !p.private {
		return ReasonPrivateNetwork, "Pages of public networks may not use this."
	}
	return "", ""
}

// Response says what the policy is. It runs for answers of the gateway's own, too: a page that is refused is to see why.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	if f.guard.Mode != gateway.Enforce {
		return
	}
	f.policy.apply(x.Request, h, x.Kept() == preflight)
}

// apply puts the policy's fields into an answer to a request, in the place of any that are there.
func (p *Policy) apply(request, h *message.Head, preflight bool) {
	all := h.All()
	for i := range all {
		if f := &all[i]; f.ID == message.OtherField && isAccessControl(h.Bytes(f.Name)) {
			f.Gone = true
		}
	}
	if p.varies() {
		addVary(h)
	}
	origin, ok := request.Get(message.Origin)
	if !ok || !p.Allows(origin) {
		return
	}
	if p.anyOrigin {
		h.AddString("Access-Control-Allow-Origin", "*")
	} else {
		h.Add([]byte("Access-Control-Allow-Origin"), origin)
	}
	if p.credentials {
		h.AddString("Access-Control-Allow-Credentials", "true")
	}
	if !preflight {
		if p.expose != "" {
			h.AddString("Access-Control-Expose-Headers", p.expose)
		}
		return
	}
	// What was asked for stands for "any": with credentials "*" would be a name (Fetch, CORS protocol and credentials).
	echo(h, "Access-Control-Allow-Methods", p.allowMethods, request, requestMethod)
	echo(h, "Access-Control-Allow-Headers", p.allowHeaders, request, requestHeaders)
	if p.maxAge != "" {
		h.AddString("Access-Control-Max-Age", p.maxAge)
	}
	if v, at := request.NextField(requestPrivate, 0); at >= 0 && string(v) == "true" && p.private {
		h.AddString("Access-Control-Allow-Private-Network", "true")
	}
}

// echo adds a field: its value, or if there is none what the request asks for.
func echo(h *message.Head, name, value string, request *message.Head, asked string) {
	if value != "" {
		h.AddString(name, value)
	} else if v, at := request.NextField(asked, 0); at >= 0 && len(v) > 0 {
		h.Add([]byte(name), v)
	}
}

func isAccessControl(name []byte) bool {
	if len(name) < len(allowPrefix) {
		return false
	}
	for i := range len(allowPrefix) {
		if message.Lower(name[i]) != allowPrefix[i] {
			return false
		}
	}
	return true
}

// addVary adds Vary: Origin (RFC 9110 12.5.5), unless that is said already. It is added to answers without CORS as well: a cache
// must not give a page the answer that another client got.
func addVary(h *message.Head) {
	for v, at := h.NextField("vary", 0); at >= 0; v, at = h.NextField("vary", at) {
		for len(v) > 0 {
			var name []byte
			name, v = cut(v)
			if string(name) == "*" || bytes.EqualFold(name, []byte("Origin")) {
				return
			}
		}
	}
	h.AddString("Vary", "Origin")
}

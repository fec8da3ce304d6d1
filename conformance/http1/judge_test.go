//go:build linux

package http1

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// outcome is all that a case left behind.
type outcome struct {
	client    *dialogue
	requests  []*request // that reached the upstream, in order of arrival
	raw       []byte     // bytes at the upstream that are no request
	afterward string     // what a further request on a connection that had to close got; "" is nothing
	tunnelled bool       // bytes went both ways after a 101
	honest    []string   // what was wrong with the honest requests afterwards
}

// verdict holds what is wrong, by whose standard.
type verdict struct {
	rfc   []string // the RFC's, or safety's
	house []string // ours
	soft  []string // worth knowing
}

func (v *verdict) rfcf(format string, args ...any) {
	v.rfc = append(v.rfc, fmt.Sprintf(format, args...))
}
func (v *verdict) housef(format string, args ...any) {
	v.house = append(v.house, fmt.Sprintf(format, args...))
}
func (v *verdict) softf(format string, args ...any) {
	v.soft = append(v.soft, fmt.Sprintf(format, args...))
}

func judge(c *testCase, o *outcome) *verdict {
	v := &verdict{}
	v.decision(c, o)
	v.counts(c, o)
	v.denied(c, o)
	for _, r := range o.requests {
		v.forwardedClean(c, r)
	}
	if len(o.requests) > 0 {
		if c.Forwarded != nil {
			v.rfc = append(v.rfc, c.Forwarded.broken(o.requests[0])...)
		}
		if c.HouseForwarded != nil {
			v.house = append(v.house, c.HouseForwarded.broken(o.requests[0])...)
		}
	}
	v.answersClean(c, o)
	if c.Response != nil {
		v.rfc = append(v.rfc, c.Response.broken(o.client)...)
	}
	v.rfc = append(v.rfc, o.honest...)
	return v
}

// decision compares accept and reject with what happened.
func (v *verdict) decision(c *testCase, o *outcome) {
	accepted, rejected := decided(c, o)
	first := o.client.first()
	saw := fmt.Sprintf("%d whole requests upstream, status %d", whole(o.requests), first.status)
	check := func(want string, note func(string, ...any)) {
		switch {
		case want == "accept" && !accepted:
			note("ought to be accepted: %s", saw)
		case want == "reject" && !rejected:
			note("ought to be rejected: %s", saw)
		}
	}
	check(c.Expect, v.rfcf)
	if c.House != c.Expect {
		check(c.House, v.housef)
	}
	if len(c.Statuses) > 0 && !slices.Contains(c.Statuses, first.status) {
		v.rfcf("status %d, want one of %v", first.status, c.Statuses)
	}
}

// decided says what the gateway made of the first request. Where the upstream is the attacker, its response is what is
// accepted or rejected.
func decided(c *testCase, o *outcome) (accepted, rejected bool) {
	first := o.client.first()
	if c.byResponse() {
		cut := first.status == 0 || !first.complete
		return !cut && first.status != 502 && first.status != 504, cut || first.status >= 500
	}
	refused := first.status == 0 || first.status >= 400
	reached := whole(o.requests) > 0
	switch {
	case c.Upstream != nil: // the status is the upstream's
		return reached && (first.complete || first.status == 101), refused && !reached
	case c.H2 && first.status == 0:
		return false, !reached
	}
	return !refused && first.complete, refused && !reached
}

func whole(requests []*request) int {
	n := 0
	for _, r := range requests {
		if r.complete {
			n++
		}
	}
	return n
}

// counts judges how many requests the bytes became, in what order they were answered, and what followed the last.
func (v *verdict) counts(c *testCase, o *outcome) {
	n := whole(o.requests)
	if c.RequestMax != nil && n > *c.RequestMax {
		v.rfcf("%d whole requests reached the upstream, at most %d may", n, *c.RequestMax)
	}
	if c.RequestMin != nil && n < *c.RequestMin {
		v.rfcf("%d whole requests reached the upstream, at least %d must", n, *c.RequestMin)
	}
	for _, r := range o.requests {
		if !c.SmuggledOK && (strings.Contains(r.target, "smuggled") || len(r.fields.all("X-Smug")) > 0) {
			v.rfcf("a smuggled request reached the upstream: %.80q", r.head)
		}
	}
	for i, target := range c.Order {
		if i >= len(o.client.final) {
			v.rfcf("%d answers, want %d", len(o.client.final), len(c.Order))
			break
		}
		if got := o.client.final[i].fields.all("X-Target"); !slices.Equal(got, []string{`"` + target + `"`}) {
			v.rfcf("answer %d is to %v, want %s", i, got, target)
		}
	}
	if c.Tail == "reject" {
		last := o.client.final
		if len(last) > 0 && last[len(last)-1].status < 400 && len(last) > 1 {
			v.rfcf("the bad tail was answered with %d", last[len(last)-1].status)
		}
		if !o.client.eof {
			v.housef("the connection stays open after a bad tail")
		}
	}
	switch {
	case c.Close != "must":
	case o.afterward != "":
		v.rfcf("the connection went on after it had to close: %s", o.afterward)
	case !o.client.eof:
		v.housef("the connection stays open though it serves nothing")
	}
	if c.Tunnel && !o.tunnelled {
		v.rfcf("no bytes pass through the tunnel after 101")
	}
	if !c.Tunnel && len(o.raw) > 0 {
		v.rfcf("bytes passed to the upstream outside any request: %.60q", o.raw)
	}
}

// denied judges whether a request came round the rule that /denied and below is answered by the gateway.
func (v *verdict) denied(c *testCase, o *outcome) {
	if !c.Deny {
		return
	}
	for _, r := range o.requests {
		switch {
		case isDenied(rfcPath(r.target)):
			v.rfcf("came round the rule: the upstream got %q", r.target)
		case c.DenySoft && isDenied(loosePath(r.target)):
			v.softf("the upstream got %q, which some would read as the denied path", r.target)
		}
	}
}

func isDenied(path string) bool { return path == "/denied" || strings.HasPrefix(path, "/denied/") }

// rfcPath is the path as RFC 3986 section 6.2.2 makes it comparable: %-encoded octets decoded but for the slash, which
// is data when encoded, then dot segments removed.
func rfcPath(target string) string {
	path := targetPath(target)
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	return removeDots(strings.Split(decode(path, "/%"), "/"))
}

// loosePath is the path as a careless upstream might read it: decoded twice, backslashes and encoded slashes taken for
// slashes, parameters, NUL and LF cut off, slashes merged, dots removed before a fragment is.
func loosePath(target string) string {
	path := targetPath(target)
	path, _, _ = strings.Cut(path, "?")
	path = strings.ReplaceAll(decode(decode(path, ""), ""), `\`, "/")
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		if i := strings.IndexAny(segment, ";\x00\n#"); i >= 0 {
			segment = segment[:i]
		}
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	return removeDots(append([]string{""}, segments...))
}

// targetPath takes the scheme and authority off an absolute-form.
func targetPath(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}
	return target
}

// decode replaces %XX by its octet, except for the octets in keep.
func decode(path, keep string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			var octet byte
			if n, _ := fmt.Sscanf(path[i+1:i+3], "%02x", &octet); n == 1 && strings.IndexByte(keep, octet) < 0 {
				b.WriteByte(octet)
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// removeDots is RFC 3986 section 5.2.4 on segments, the first of which is the empty one before the leading slash.
func removeDots(segments []string) string {
	var out []string
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(out) > 1 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return strings.Join(out, "/")
}

// forwardedClean are the promises about every request that leaves for an upstream, whatever the case.
func (v *verdict) forwardedClean(c *testCase, r *request) {
	for _, fault := range append(slices.Clip(r.faults), framingFaults(r.fields, c.CodingOK)...) {
		v.rfcf("forwarded: %s", fault)
	}
	if n := len(r.fields.all("Host")); n != 1 {
		v.rfcf("forwarded with %d Host lines", n)
	}
	named := r.fields.tokens("Connection")
	upgrade := slices.Contains(named, "upgrade")
	for _, option := range named {
		switch option {
		case "close", "keep-alive", "upgrade":
		case "te": // belongs there when a TE is sent, RFC 9110 section 10.1.4
		default:
			v.rfcf("forwarded with Connection: %s", option)
		}
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "HTTP2-Settings"} {
		if values := r.fields.all(name); len(values) > 0 {
			v.rfcf("forwarded with %s: %s", name, values[0])
		}
	}
	if te := r.fields.tokens("TE"); len(te) > 0 && !slices.Equal(te, []string{"trailers"}) {
		v.rfcf("forwarded with TE: %v", te)
	}
	if values := r.fields.all("Upgrade"); len(values) > 0 && !upgrade {
		v.rfcf("forwarded with Upgrade: %s and no Connection: upgrade", values[0])
	}
	// RFC 9110 section 6.5.1: fields for framing, routing and authentication may not be trailers.
	for _, name := range []string{"Transfer-Encoding", "Content-Length", "Host", "Authorization"} {
		if len(r.trailers.all(name)) > 0 {
			v.housef("forwarded with %s in the trailers", name)
		}
	}
}

// broken says which of the rules the request breaks.
func (rules *forwardRules) broken(r *request) []string {
	var faults []string
	fault := func(format string, args ...any) {
		faults = append(faults, "forwarded: "+fmt.Sprintf(format, args...))
	}
	equal := func(what string, want *string, got string) {
		if want != nil && got != *want {
			fault("%s %.80q, want %.80q", what, got, *want)
		}
	}
	among := func(what string, want []string, got string) {
		if want != nil && !slices.Contains(want, got) {
			fault("%s %.80q, want one of %q", what, got, want)
		}
	}
	host := strings.Join(r.fields.all("Host"), ", ")
	equal("method", rules.Method, r.method)
	equal("target", rules.Target, r.target)
	among("target", rules.TargetIn, r.target)
	if slices.Contains(rules.TargetNot, r.target) {
		fault("target %q", r.target)
	}
	among("version", rules.VersionIn, r.version)
	equal("host", rules.Host, host)
	among("host", rules.HostIn, host)
	if rules.HostFold != nil && !strings.EqualFold(host, *rules.HostFold) {
		fault("host %q, want %q in any case", host, *rules.HostFold)
	}
	if r.complete {
		equal("body", rules.Body, string(r.body))
		if rules.BodyBytes != nil && len(r.body) != *rules.BodyBytes {
			fault("body of %d bytes, want %d", len(r.body), *rules.BodyBytes)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules.Present)) {
		want := rules.Present[name]
		got := r.fields.all(name)
		if text, exact := want.(string); len(got) == 0 || exact && !slices.Equal(got, []string{text}) {
			fault("%s is %q, want %v", name, got, want)
		}
	}
	for _, name := range rules.Absent {
		if got := r.fields.all(name); len(got) > 0 && !isOwnChunked(r, name, got) {
			fault("%s: %s", name, got[0])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules.ValueBytes)) {
		want := rules.ValueBytes[name]
		if got := r.fields.all(name); len(got) != 1 || len(got[0]) != want {
			fault("%s is not one value of %d bytes", name, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules.NotOnly)) {
		only := rules.NotOnly[name]
		if got := r.fields.all(name); slices.Equal(got, []string{only}) {
			fault("%s is the client's %q alone", name, only)
		}
	}
	if got := strings.Join(r.fields.all("Transfer-Encoding"), ", "); got != "" {
		among("transfer-encoding", rules.Coding, got)
	}
	if te := r.fields.tokens("TE"); rules.TETrailers && len(te) > 0 && !slices.Equal(te, []string{"trailers"}) {
		fault("TE: %v", te)
	}
	if rules.NotInTarget != nil && strings.ContainsAny(r.target, *rules.NotInTarget) {
		fault("target %q holds one of %q", r.target, *rules.NotInTarget)
	}
	if rules.NotInHead != nil && bytes.ContainsAny(r.head, *rules.NotInHead) {
		fault("head holds one of %q", *rules.NotInHead)
	}
	if rules.UpgradeNever != nil && slices.Contains(r.fields.tokens("Upgrade"), *rules.UpgradeNever) {
		fault("Upgrade: %v", r.fields.tokens("Upgrade"))
	}
	return faults
}

// isOwnChunked lets a gateway re-frame a body of known length: its own coding is not the client's disguised one.
func isOwnChunked(r *request, name string, got []string) bool {
	return strings.EqualFold(name, "transfer-encoding") && slices.Equal(got, []string{"chunked"}) &&
		len(r.fields.all("Content-Length")) == 0
}

// answersClean are the promises about every response a client sees, whatever the case.
func (v *verdict) answersClean(c *testCase, o *outcome) {
	for _, a := range append(slices.Clip(o.client.interim), o.client.final...) {
		for _, fault := range a.faults {
			v.rfcf("answer: %s", fault)
		}
	}
	for i, a := range o.client.final {
		cutAllowed := c.Expect == "reject" || c.House == "reject" || c.Expect == "either"
		if !a.complete && !cutAllowed {
			v.rfcf("answer %d (%d) is cut short", i, a.status)
		}
		for _, name := range []string{"Proxy-Connection", "Upgrade"} {
			if values := a.fields.all(name); len(values) > 0 && a.status != 101 && a.status != 426 {
				v.rfcf("answer with %s: %s", name, values[0])
			}
		}
	}
	if len(o.client.junk) > 0 && !c.H2 {
		v.rfcf("bytes that are no response: %.60q", o.client.junk)
	}
}

// broken says which of the rules the dialogue breaks.
func (rules *answerRules) broken(d *dialogue) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, "answer: "+fmt.Sprintf(format, args...)) }
	first := d.first()
	status, body := first.status, string(first.body)
	if status == 0 && len(d.interim) > 0 && slices.Contains(rules.StatusIn, d.interim[0].status) {
		status = d.interim[0].status
	}
	if rules.Status != nil && status != *rules.Status {
		fault("status %d, want %d", status, *rules.Status)
	}
	if rules.StatusIn != nil && !slices.Contains(rules.StatusIn, status) {
		fault("status %d, want one of %v", status, rules.StatusIn)
	}
	if slices.Contains(rules.StatusNot, status) {
		fault("status %d", status)
	}
	if rules.Body != nil && body != *rules.Body && status < 400 {
		fault("body %.60q, want %.60q", body, *rules.Body)
	}
	failed := status == 0 || status >= 400 || !first.complete
	if rules.BodyOrError != nil && body != *rules.BodyOrError && !failed {
		fault("body %.60q, want %.60q or an error", body, *rules.BodyOrError)
	}
	if rules.Cut && !failed {
		fault("status %d with a whole body %.60q, want an error or a visible cut", status, body)
	}
	if rules.Valid && len(first.faults) > 0 {
		fault("not well-formed")
	}
	if codings := first.fields.all("Transfer-Encoding"); rules.CodingClean && len(codings) > 0 && !slices.Equal(codings, []string{"chunked"}) {
		fault("Transfer-Encoding %q", codings)
	}
	if rules.Continued && len(d.interim) == 0 && status < 400 {
		fault("no 100 before the body was sent")
	}
	for _, name := range rules.Absent {
		if got := first.fields.all(name); len(got) > 0 {
			fault("%s: %s", name, got[0])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules.AbsentValue)) {
		value := rules.AbsentValue[name]
		if slices.Contains(first.fields.all(name), value) {
			fault("%s: %s", name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules.Count)) {
		want := rules.Count[name]
		if got := len(first.fields.all(name)); got != want {
			fault("%d %s lines, want %d", got, name, want)
		}
	}
	if n := len(d.interim); rules.InterimBounded > 0 && n >= rules.InterimBounded {
		fault("%d interim answers", n)
	}
	return faults
}

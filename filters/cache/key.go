package cache

import (
	"bytes"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// keyBytesMax bounds the key of one response; a request with a longer one passes by. Heads are bounded too, so this is about
// memory, not about attacks: keys of that length are never asked for twice.
const keyBytesMax = 8 << 10

// schemeOf is the scheme of the listener.
var schemeOf = gateway.Template{{Of: gateway.OfScheme}}

// appendURL appends the URL that the request asks for: scheme://host:port/path?query, the host in lower case.
func (f *Filter) appendURL(b []byte, x *gateway.Exchange) []byte {
	b = append(append(b, x.Render(schemeOf)...), "://"...)
	for _, c := range x.Request.AuthorityBytes() {
		b = append(b, message.Lower(c))
	}
	b = append(b, x.Request.PathBytes()...)
	if x.Request.HasQuery {
		b = f.spec.Query.appendTo(b, x.Request.QueryBytes())
	}
	return b
}

// paramsMax bounds how many parameters are put in order; a longer query is taken as it is.
const paramsMax = 64

// appendTo appends a query with its '?', or nothing if nothing of it counts.
func (q *Query) appendTo(b, query []byte) []byte {
	if len(q.Ignore) == 0 && !q.Sort {
		return append(append(b, '?'), query...)
	}
	var params [paramsMax][]byte
	n := 0
	for rest := query; len(rest) > 0; {
		var p []byte
		p, rest, _ = bytes.Cut(rest, []byte{'&'})
		switch {
		case len(p) == 0 || q.ignores(p):
		case n == paramsMax:
			return append(append(b, '?'), query...)
		default:
			params[n] = p
			n++
		}
	}
	if q.Sort { // by names, and those of one name as they came
		slices.SortStableFunc(params[:n], func(a, b []byte) int { return bytes.Compare(nameOf(a), nameOf(b)) })
	}
	for i, p := range params[:n] {
		b = append(append(b, "?&"[min(i, 1)]), p...)
	}
	return b
}

func nameOf(param []byte) []byte {
	if i := bytes.IndexByte(param, '='); i >= 0 {
		return param[:i]
	}
	return param
}

// ignores tells whether a parameter is left out. Names are compared as they are written: one in another spelling counts.
func (q *Query) ignores(param []byte) bool {
	name := nameOf(param)
	for _, n := range q.Ignore {
		if prefix, open := strings.CutSuffix(n, "*"); open && len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix || n == string(name) {
			return true
		}
	}
	return false
}

// appendPrefix appends what selectors of the request begin with: the document's parts, and what a trusted proxy says that the
// client asked for. Upstreams write links with that; what clients who are not trusted say of it has been dropped before.
func (f *Filter) appendPrefix(b []byte, x *gateway.Exchange) []byte {
	for i := range f.spec.Key {
		// Each with its length before it: what a client writes into one part must not look like another.
		at := len(b)
		b = append(b, 0, 0)
		b, _ = f.spec.Key[i:i+1].Append(b, x)
		n := len(b) - at - 2
		b[at], b[at+1] = byte(n>>8), byte(n)
	}
	for i := range x.Request.All() {
		l := &x.Request.All()[i]
		if l.Gone {
			continue
		}
		switch l.ID {
		case message.XForwardedHost, message.XForwardedProto, message.XForwardedPort:
			b = append(append(b, byte('0'+l.ID-message.XForwardedHost)), x.Request.Bytes(l.Value)...)
			b = append(b, 0)
		}
	}
	return b
}

// unkeyed are fields by which some servers let themselves be told another method or URL than that of the request. The key does not
// have them, so a request with one of them neither gets what is kept nor adds to it.
var unkeyed = [...]string{"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-forwarded-prefix",
	"x-forwarded-scheme", "x-forwarded-server", "x-original-host", "x-host"}

// steers tells whether a request has one of the unkeyed fields.
func steers(f *message.Fields) bool {
	for i := range f.All() {
		l := &f.All()[i]
		if l.ID != message.OtherField || l.Gone || l.Name.Len < 6 {
			continue
		}
		name := f.Bytes(l.Name)
		if message.Lower(name[0]) != 'x' || name[1] != '-' {
			continue
		}
		for _, n := range unkeyed {
			if len(n) == len(name) && equalLower(name, n) {
				return true
			}
		}
	}
	return false
}

func equalLower(b []byte, lower string) bool {
	for i := range b {
		if message.Lower(b[i]) != lower[i] {
			return false
		}
	}
	return true
}

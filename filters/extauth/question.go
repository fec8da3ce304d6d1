package extauth

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// The fields by which the service is told of the request. They are written by the gateway alone.
var (
	forwardedMethod = []byte("X-Forwarded-Method")
	forwardedURI    = []byte("X-Forwarded-Uri")
	scheme          = gateway.Template{{Of: gateway.OfScheme}}
)

// ask writes the head of the question into the desk's.
func (f *Filter) ask(x *gateway.Exchange, d *desk) {
	h, r := &d.head, x.Request
	h.Reset()
	h.Proto = message.HTTP11
	h.Method, h.Path = h.StoreString(f.spec.Method), h.StoreString(f.spec.Path)
	h.Authority = h.Store(r.AuthorityBytes())
	if f.spec.Host != "" {
		h.Authority = h.StoreString(f.spec.Host)
	}
	for _, l := range r.All() {
		if name := r.Bytes(l.Name); !l.Gone && f.isSent(name) {
			h.Add(name, r.Bytes(l.Value))
		}
	}
	h.Add(forwardedMethod, x.Method())
	h.Add(forwardedURI, appendTarget(nil, r))
	raw, at := h.BeginLine(message.XForwardedFor)
	h.EndLine(x.ClientAddr.AppendTo(raw), at, message.XForwardedFor)
	h.AddKnown(message.XForwardedProto, x.Render(scheme))
	if r.Authority.Len > 0 {
		h.AddKnown(message.XForwardedHost, r.AuthorityBytes())
	}
}

func (f *Filter) isSent(name []byte) bool {
	for _, s := range f.sends {
		if len(s) == len(name) && equalLower(name, s) {
			return true
		}
	}
	return false
}

func equalLower(name []byte, lower string) bool {
	for i, c := range name {
		if message.Lower(c) != lower[i] {
			return false
		}
	}
	return true
}

// appendTarget appends path and query as the request has them at this place of the list of filters.
func appendTarget(b []byte, h *message.Head) []byte {
	b = append(b, h.PathBytes()...)
	if h.HasQuery {
		b = append(append(b, '?'), h.QueryBytes()...)
	}
	return b
}

// tagOf returns what stands for the request's question in the cache. Not ok: its verdict may not be kept.
func (f *Filter) tagOf(x *gateway.Exchange, d *desk) (t tag, ok bool) {
	if cap(d.key) > keyKept {
		d.key = nil
	}
	b := d.key[:0]
	if parts := f.spec.Cache.Key; len(parts) > 0 {
		b, ok = parts.Append(b, x)
		ok = ok && !twice(parts, x.Request)
	} else {
		b, ok = f.appendQuestion(b, x), true
	}
	d.key = b
	return sha256.Sum256(b), ok
}

// twice tells whether a request has a field twice that the key has once: service and upstream may read different ones.
func twice(parts gateway.KeyParts, h *message.Head) bool {
	for i := range parts {
		if parts[i].By != gateway.ByHeader {
			continue
		}
		n := 0
		for _, l := range h.All() {
			if name := h.Bytes(l.Name); !l.Gone && len(name) == len(parts[i].Name) && message.EqualFold(name, []byte(parts[i].Name)) {
				n++
			}
		}
		if n > 1 {
			return true
		}
	}
	return false
}

// appendQuestion appends all that the service is told which tells one question from another, each part behind its length.
func (f *Filter) appendQuestion(b []byte, x *gateway.Exchange) []byte {
	r := x.Request
	b = appendPart(b, x.Method())
	b = appendPart(b, x.Render(scheme))
	b = appendPart(b, r.AuthorityBytes())
	b = appendPart(b, r.PathBytes())
	if r.HasQuery {
		b = append(b, '?')
	}
	b = appendPart(b, r.QueryBytes())
	a := x.ClientAddr.As16()
	b = append(b, a[:]...)
	for _, l := range r.All() {
		if name := r.Bytes(l.Name); !l.Gone && f.isAsked(name) {
			b = appendPart(b, name)
			for i := len(b) - len(name); i < len(b); i++ {
				b[i] = message.Lower(b[i])
			}
			b = appendPart(b, r.Bytes(l.Value))
		}
	}
	return b
}

// isAsked is isSent without what differs from request to request.
func (f *Filter) isAsked(name []byte) bool {
	for _, s := range f.sends[:len(f.sends)-len(always)] {
		if len(s) == len(name) && equalLower(name, s) {
			return true
		}
	}
	return false
}

func appendPart(b, part []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(part)))
	return append(b, part...)
}

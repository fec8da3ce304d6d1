package apikey

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/match"
)

// Place is where a key is looked for.
type Place struct {
	In   In
	Name string // of a header field in lower case
}

// In is a part of a request.
type In uint8

// The parts of a request that can have a key.
const (
	InHeader In = iota
	InQuery
	InCookie
)

var inWords = [...]string{InHeader: "header", InQuery: "query", InCookie: "cookie"}

// find returns the first value at a place, decoded into b where it has escapes, and how many there are.
func (p *Place) find(h *message.Head, b []byte) (value []byte, n int) {
	take := func(v []byte) {
		if n++; n == 1 {
			value = v
		}
	}
	switch p.In {
	case InHeader:
		for v, at := h.NextField(p.Name, 0); at >= 0; v, at = h.NextField(p.Name, at) {
			if p.Name == authorization {
				var ok bool
				if v, ok = afterScheme(v); !ok {
					continue // somebody else's
				}
			}
			take(v)
		}
	case InQuery:
		for query := h.QueryBytes(); len(query) > 0; {
			var pair []byte
			pair, query = cut(query, '&')
			if name, v := cut(pair, '='); isEscaped(name, p.Name) {
				if n++; n == 1 {
					value = unescape(b[:0], v)
				}
			}
		}
	case InCookie:
		for crumbs, at := h.NextField("cookie", 0); at >= 0; crumbs, at = h.NextField("cookie", at) {
			for len(crumbs) > 0 {
				var crumb []byte
				crumb, crumbs = cut(crumbs, ';')
				if name, v := cut(crumb, '='); string(bytes.TrimSpace(name)) == p.Name {
					take(bytes.TrimSpace(v))
				}
			}
		}
	}
	return value, n
}

// remove takes all values at a place off the request. Parts of a head stay where they are in memory, so that what was found is
// good until the head is reset.
func (p *Place) remove(h *message.Head) {
	switch p.In {
	case InHeader:
		all := h.All()
		for i := range all {
			f := &all[i]
			if f.Gone || !isField(h.Bytes(f.Name), p.Name) {
				continue
			}
			if p.Name == authorization {
				if _, ours := afterScheme(h.Bytes(f.Value)); !ours {
					continue
				}
			}
			f.Gone = true
		}
	case InQuery:
		removeParameter(h, p.Name)
	case InCookie:
		removeCookie(h, p.Name)
	}
}

const authorization = "authorization"

// afterScheme is the key of an Authorization field (RFC 9110 11.6.2): what follows Bearer or ApiKey. A field of another scheme is
// not meant for this filter.
func afterScheme(v []byte) (key []byte, ok bool) {
	scheme, rest := cut(v, ' ')
	if !fold(scheme, "bearer") && !fold(scheme, "apikey") {
		return nil, false
	}
	return bytes.TrimLeft(rest, " "), true
}

// isField compares the name of a field with one in lower case, by which servers that turn '-' into '_' are no way around the
// removal of a secret.
func isField(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if c == '_' && want[i] == '-' {
			continue
		}
		if message.Lower(c) != want[i] {
			return false
		}
	}
	return true
}

func fold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if message.Lower(c) != want[i] {
			return false
		}
	}
	return true
}

// removeParameter stores the query anew without the parameter; if it is not there nothing is written.
func removeParameter(h *message.Head, name string) {
	if !hasParameter(h.QueryBytes(), name) {
		return
	}
	from := uint32(h.RawLen())
	query := h.Query // Store may move the bytes: what is left is found by its place
	for at, end := query.Off, query.Off+query.Len; at < end; {
		rest := h.Bytes(message.Span{Off: at, Len: end - at})
		pair, _ := cut(rest, '&')
		length := uint32(len(pair))
		if n, _ := cut(pair, '='); len(pair) > 0 && !isEscaped(n, name) {
			if uint32(h.RawLen()) > from {
				h.StoreString("&")
			}
			h.Store(h.Bytes(message.Span{Off: at, Len: length}))
		}
		at += length + 1
	}
	h.Query = message.Span{Off: from, Len: uint32(h.RawLen()) - from}
	h.HasQuery = h.Query.Len > 0
}

// hideParameter overwrites the values of a parameter where the query came, which the access log shows, with stars. The query that
// goes on is another copy.
func hideParameter(h *message.Head, came message.Span, name string) {
	if h.Query == came {
		from := uint32(h.RawLen())
		h.Store(h.Bytes(came))
		h.Query.Off = from
	}
	for query := h.Bytes(came); len(query) > 0; {
		var pair []byte
		pair, query = cut(query, '&')
		if n, value := cut(pair, '='); isEscaped(n, name) {
			for i := range value {
				value[i] = '*'
			}
		}
	}
}

func hasParameter(query []byte, name string) bool {
	for len(query) > 0 {
		var pair []byte
		pair, query = cut(query, '&')
		if n, _ := cut(pair, '='); isEscaped(n, name) {
			return true
		}
	}
	return false
}

// removeCookie stores each Cookie field anew that has the cookie.
func removeCookie(h *message.Head, name string) {
	for i := range h.All() {
		f := &h.All()[i]
		if f.ID != message.Cookie || f.Gone || !hasCookie(h.Bytes(f.Value), name) {
			continue
		}
		from, value := uint32(h.RawLen()), f.Value
		for at, end := value.Off, value.Off+value.Len; at < end; {
			crumb, _ := cut(h.Bytes(message.Span{Off: at, Len: end - at}), ';')
			length := uint32(len(crumb))
			trimmed := bytes.TrimSpace(crumb)
			if n, _ := cut(trimmed, '='); len(trimmed) > 0 && string(bytes.TrimSpace(n)) != name {
				if uint32(h.RawLen()) > from {
					h.StoreString("; ")
				}
				h.Store(bytes.TrimSpace(h.Bytes(message.Span{Off: at, Len: length})))
			}
			at += length + 1
		}
		f.Value = message.Span{Off: from, Len: uint32(h.RawLen()) - from}
		f.Gone = f.Value.Len == 0
	}
}

func hasCookie(crumbs []byte, name string) bool {
	for len(crumbs) > 0 {
		var crumb []byte
		crumb, crumbs = cut(crumbs, ';')
		if n, _ := cut(crumb, '='); string(bytes.TrimSpace(n)) == name {
			return true
		}
	}
	return false
}

// cut splits v around the first sep.
func cut(v []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(v, sep); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, nil
}

// isEscaped tells whether v, its escapes resolved, is s.
func isEscaped(v []byte, s string) bool {
	for i := range len(s) {
		if len(v) == 0 {
			return false
		}
		c, n := match.DecodeByte(v)
		if c != s[i] {
			return false
		}
		v = v[n:]
	}
	return len(v) == 0
}

// unescape resolves escapes, in b if there are any. What is longer than a key can be is cut off there.
func unescape(b, v []byte) []byte {
	if bytes.IndexByte(v, '%') < 0 && bytes.IndexByte(v, '+') < 0 {
		return v
	}
	for len(v) > 0 && len(b) <= KeyBytesMax {
		c, n := match.DecodeByte(v)
		b = append(b, c)
		v = v[n:]
	}
	return b
}

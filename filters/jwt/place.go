package jwt

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// PlaceKind is a sort of place for a token.
type PlaceKind uint8

// The places. InAuthorization is the field Authorization with the scheme Bearer (RFC 6750 section 2.1).
const (
	InAuthorization PlaceKind = iota
	InHeader                  // a field of another name; the word Bearer may stand before the token
	InCookie
	InQuery
)

// Place is where a token may be.
type Place struct {
	Kind PlaceKind
	Name string // of the field in lower case, the cookie, or the parameter
}

// find returns the token of a request, nil if it carries none. More than one, wherever, is refused: gateway and upstream could
// each believe another (RFC 6750 section 2 forbids it to clients).
func find(h *message.Head, places []Place) (token []byte, refused *refusal) {
	found := 0
	for i := range places {
		switch p := &places[i]; p.Kind {
		case InAuthorization:
			fields, all := 0, h.All()
			for i := range all {
				if l := &all[i]; l.ID == message.Authorization && !l.Gone {
					if t, ok := bearer(h.Bytes(l.Value)); ok {
						token = t
						found++
					}
					if fields++; fields > 1 {
						return nil, ambiguous
					}
				}
			}
		case InHeader:
			for value, next := h.NextField(p.Name, 0); next >= 0; value, next = h.NextField(p.Name, next) {
				if t, ok := bearer(value); ok {
					value = t
				}
				token = value
				found++
			}
		case InCookie:
			for value, next := h.NextField("cookie", 0); next >= 0; value, next = h.NextField("cookie", next) {
				if t, n := lastOf(value, ';', p.Name); n > 0 {
					token = t
					found += n
				}
			}
		case InQuery:
			if t, n := lastOf(h.QueryBytes(), '&', p.Name); n > 0 {
				token = t
				found += n
			}
		}
	}
	if found > 1 {
		return nil, ambiguous
	}
	if found == 1 && token == nil {
		token = []byte{}
	}
	return token, nil
}

// lastOf returns the last value of a name in a list, and how many there are.
func lastOf(list []byte, separator byte, name string) (last []byte, n int) {
	eachPart(list, separator, name, func(value []byte, _, _ int) {
		last = value
		n++
	})
	return last, n
}

// bearer returns what stands after the scheme, whose case does not matter (RFC 9110 section 11.1).
func bearer(value []byte) (token []byte, ok bool) {
	const scheme = "bearer"
	if len(value) < len(scheme) {
		return nil, false
	}
	for i := range len(scheme) {
		if message.Lower(value[i]) != scheme[i] {
			return nil, false
		}
	}
	rest := value[len(scheme):]
	if len(rest) > 0 && rest[0] != ' ' {
		return nil, false
	}
	return bytes.Trim(rest, " "), true
}

// eachPart calls do with the values of a name in a list of name=value, and where each part lies.
func eachPart(list []byte, separator byte, name string, do func(value []byte, from, to int)) {
	for from := 0; from < len(list); {
		to := len(list)
		if n := bytes.IndexByte(list[from:], separator); n >= 0 {
			to = from + n
		}
		if key, value, ok := bytes.Cut(bytes.Trim(list[from:to], " \t"), []byte{'='}); ok && string(key) == name {
			do(bytes.Trim(value, `"`), from, to)
		}
		from = to + 1
	}
}

// strip takes the token away, so that the upstream does not get it. scratch is for what is left of a list; it is returned
// for the next time.
func strip(h *message.Head, places []Place, scratch []byte) []byte {
	for i := range places {
		switch p := &places[i]; p.Kind {
		case InAuthorization:
			all := h.All()
			for i := range all {
				if l := &all[i]; l.ID == message.Authorization && !l.Gone {
					_, l.Gone = bearer(h.Bytes(l.Value))
				}
			}
		case InHeader:
			for _, next := h.NextField(p.Name, 0); next >= 0; _, next = h.NextField(p.Name, next) {
				h.All()[next-1].Gone = true
			}
		case InCookie:
			scratch = stripCookie(h, p.Name, scratch)
		case InQuery:
			if scratch = without(scratch[:0], h.QueryBytes(), '&', p.Name); len(scratch) != int(h.Query.Len) {
				h.Query, h.HasQuery = h.Store(scratch), len(scratch) > 0
			}
		}
	}
	return scratch
}

func stripCookie(h *message.Head, name string, scratch []byte) []byte {
	for n := len(h.All()) - 1; n >= 0; n-- {
		f := &h.All()[n]
		if f.Gone || f.ID != message.Cookie {
			continue
		}
		value := h.Bytes(f.Value)
		if scratch = without(scratch[:0], value, ';', name); len(scratch) == len(value) {
			continue
		}
		f.Gone = true
		if scratch = bytes.TrimLeft(scratch, " "); len(scratch) > 0 {
			h.AddKnown(message.Cookie, scratch)
		}
	}
	return scratch
}

// without appends a list without the parts of a name.
func without(b, list []byte, separator byte, name string) []byte {
	kept := 0 // of list, up to here
	eachPart(list, separator, name, func(_ []byte, from, to int) {
		b = append(b, list[kept:from]...)
		if kept = to + 1; to == len(list) {
			kept = to
			if from > 0 && len(b) > 0 && b[len(b)-1] == separator {
				b = b[:len(b)-1] // which stood before the last part
			}
		}
	})
	return append(b, list[kept:]...)
}

package cache

import "github.com/yumen-io/yumen/engine/message"

// Refusal is why a response is not kept, in one word; empty: it is.
type Refusal string

// Refusals.
const (
	Kept              Refusal = ""
	RefusedMethod     Refusal = "method"          // only what GET brought is kept
	RefusedRequest    Refusal = "request"         // the request says no-store, or has a body
	RefusedStatus     Refusal = "status"          // not final, of a part, or one that has to be understood
	RefusedNoStore    Refusal = "no_store"        // the response says so
	RefusedPrivate    Refusal = "private"         // it is for one user
	RefusedAuth       Refusal = "authorization"   // the request says who asks, and the response does not say that this is no matter
	RefusedSetCookie  Refusal = "set_cookie"      // whoever came next would get it
	RefusedVary       Refusal = "vary"            // Vary: *, or one with more names than VaryMax
	RefusedLifetime   Refusal = "no_lifetime"     // nothing says how long it is fresh
	RefusedStale      Refusal = "stale"           // it was stale when it came, and cannot be asked about
	RefusedTooLarge   Refusal = "too_large"       // larger than one response may be
	RefusedIncomplete Refusal = "incomplete"      // it did not come to its end
	RefusedVaryChange Refusal = "changed_request" // a later filter changed what Vary names
)

// Refusals is every reason, for metrics.
func Refusals() []Refusal {
	return []Refusal{RefusedMethod, RefusedRequest, RefusedStatus, RefusedNoStore, RefusedPrivate, RefusedAuth, RefusedSetCookie, RefusedVary,
		RefusedLifetime, RefusedStale, RefusedTooLarge, RefusedIncomplete, RefusedVaryChange}
}

// Storable says whether a response may be kept (RFC 9111 3). method and request are those of the request as it was looked up;
// identified tells that it says who asks, by Authorization or by something that a filter has verified.
func (r *Rules) Storable(method []byte, request *Control, identified bool, h *message.Head, f *Freshness) Refusal {
	if string(method) != "GET" {
		return RefusedMethod
	}
	if request.Is(NoStore) {
		return RefusedRequest
	}
	c, _ := r.responseControl(h)
	switch s := h.Status; {
	case s < 200, s == 206, s == 304, s > 599:
		return RefusedStatus
	case s == 412, s == 416: // about the condition or the range of this one request, whatever their Cache-Control says
		return RefusedStatus
	case c.Is(MustUnderstand) && !understood(s):
		return RefusedStatus
	case c.Is(NoStore) && !c.Is(MustUnderstand): // RFC 9111 5.2.2.3: whoever understands the status may leave out no-store
		return RefusedNoStore
	case c.Is(Private):
		return RefusedPrivate
	case identified && !c.Is(Public|MustRevalidate|HasSMaxAge): // RFC 9111 3.5
		return RefusedAuth
	case !r.StoreSetCookie && h.Has(message.SetCookie):
		return RefusedSetCookie
	case !varies(&h.Fields):
		return RefusedVary
	case !f.Explicit && f.Lifetime <= 0 && !c.Is(NoCache):
		return RefusedLifetime
	}
	if (f.NoCache || f.Lifetime+max(f.StaleIfError, f.StaleWhileRevalidate) <= f.Age) && !HasValidator(&h.Fields) {
		return RefusedStale
	}
	return Kept
}

// understood are the statuses of which the cache knows what they ask of it.
func understood(status int) bool {
	return classOf(status) != otherStatus || status == 302 || status == 303 || status == 307 || status == 400 || status == 403
}

// HasValidator tells whether an upstream can be asked if the response is still good.
func HasValidator(f *message.Fields) bool {
	if _, next := f.NextField("etag", 0); next >= 0 {
		return true
	}
	_, next := f.NextField("last-modified", 0)
	return next >= 0
}

// StoresField tells whether a field of a response is kept with it: not those of one connection, of this hop or of proxies
// (RFC 9111 3.1, RFC 9110 7.6.1), nor those that no-cache or private name; nor Age and Cache-Status, which are made anew.
func StoresField(h *message.Head, l *message.Field, qualified bool) bool {
	if l.Gone {
		return false
	}
	switch l.ID {
	case message.Connection, message.ContentLength, message.HTTP2Settings, message.KeepAlive, message.ProxyAuthenticate, message.ProxyAuthorization,
		message.ProxyConnection, message.TE, message.Trailer, message.TransferEncoding, message.Upgrade, message.XRequestID:
		return false
	}
	name := h.Bytes(l.Name)
	for _, not := range notStored {
		if equalFold(name, not) {
			return false
		}
	}
	return !qualified || !namesField(&h.Fields, name)
}

var notStored = [...]string{"age", "proxy-authentication-info", "x-yumen-reason"}

// Qualified tells whether the response names fields in no-cache or private, for StoresField.
func Qualified(h *message.Head) bool {
	c := ReadControl(&h.Fields)
	return c.Is(NoCacheFields | PrivateFields)
}

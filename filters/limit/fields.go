package limit

import (
	"strconv"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// The fields of draft-ietf-httpapi-ratelimit-headers, in the form it has since its ninth version: lists of structured fields
// (RFC 9651), an item for each check by the name of its rule.
//
//	RateLimit-Policy: "default";q=200;w=2     200 may pass in 2 s: the quota, and how long it takes to be there again
//	RateLimit: "default";r=131;t=1            131 are left, and all of them will be there again in a second
var (
	policyField = []byte("RateLimit-Policy")
	limitField  = []byte("RateLimit")
)

// appendPolicy is the same for all answers.
func (f *Filter) appendPolicy(b []byte) []byte {
	for i := range f.checks {
		c := &f.checks[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, c.item...), "q="...)
		b = strconv.AppendInt(b, c.terms.limit.Quota(), 10)
		if c.atOnce {
			b = append(b, `;qu="concurrent-requests"`...)
		} else {
			b = strconv.AppendInt(append(b, ";w="...), seconds(c.terms.limit.Window()), 10)
		}
	}
	return b
}

// Response is the hook: it says what the checks have found. Fields of an upstream's own limits stay beside these.
func (f *Filter) Response(x *gateway.Exchange, h *message.Head) {
	t, _ := x.Kept().(*ticket)
	if t == nil || t.count == 0 {
		return
	}
	at := f.loops.On(x)
	b := at.field[:0]
	for i := range t.said[:t.count] {
		s := &t.said[i]
		c := &f.checks[s.check]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, c.item...), "r="...)
		b = strconv.AppendInt(b, s.remaining, 10)
		if !c.atOnce {
			b = strconv.AppendInt(append(b, ";t="...), seconds(s.reset), 10)
		}
	}
	at.field = b
	h.Add(policyField, f.policy)
	h.Add(limitField, b)
}

// seconds is a time in whole seconds, rounded up: whoever comes back then is not too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

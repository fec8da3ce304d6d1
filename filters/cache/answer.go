package cache

import (
	"strconv"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// hit answers with the entry. Its body is shared by all who get it.
func (f *Filter) hit(x *gateway.Exchange, v *visit, age duration) gateway.Verdict {
	v.state = serving
	v.said.Hit = true
	v.said.TTL, v.said.HasTTL = v.entry.fresh.Lifetime-age, true
	reason := ReasonHit
	if v.said.TTL <= 0 {
		reason, v.stale = ReasonStale, true
	}
	if v.said.Detail == "" {
		v.said.Forward = ""
	}
	r := &v.home.respond
	if v.part == policy.Nothing {
		reason = ReasonRange
	}
	*r = gateway.Respond{Status: v.status(), Body: v.body(), Reason: reason, Stored: true}
	return x.Answer(r)
}

// status is that of the answer: the entry's, or what the request's condition or range makes of it.
func (v *visit) status() int {
	switch {
	case v.condition == policy.NotModified && v.entry.status == 200:
		return 304
	case v.part == policy.Some:
		return 206
	case v.part == policy.Nothing:
		return 416
	}
	return v.entry.status
}

// body is that of the answer.
func (v *visit) body() []byte {
	switch v.status() {
	case 304, 416:
		return nil
	case 206:
		return v.entry.body[v.span.From:v.span.To]
	}
	return v.entry.body
}

// write makes the head of the answer. What stands there is what filters behind the cache have added, who added it to the kept
// response already; or a 304 that was for the cache.
func (v *visit) write(x *gateway.Exchange, h *message.Head) {
	for i := range h.All() {
		h.All()[i].Gone = true
	}
	e := v.entry
	h.Status = v.status()
	e.writeTo(h, h.Status == 304)
	b := policy.AppendAge(v.home.bytes[:0], e.ageAt(x.Now()))
	h.Add(ageField, b)
	if v.stale {
		h.Add(degradedField, degradedStale)
	}
	switch h.Status {
	case 206:
		b = append(b[:0], "bytes "...)
		b = strconv.AppendInt(b, v.span.From, 10)
		b = strconv.AppendInt(append(b, '-'), v.span.To-1, 10)
		b = strconv.AppendInt(append(b, '/'), int64(len(e.body)), 10)
		h.Add(contentRange, b)
	case 416:
		b = strconv.AppendInt(append(b[:0], "bytes */"...), int64(len(e.body)), 10)
		h.Add(contentRange, b)
		h.Add(reasonField, []byte(ReasonRange))
	}
	v.home.bytes = b
}

var contentRange = []byte("Content-Range")

package cache

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// received decides what becomes of the upstream's answer.
func (f *Filter) received(x *gateway.Exchange, v *visit, h *message.Head) {
	e, now := v.entry, x.Now()
	switch {
	case v.asking && h.Status == 304:
		f.confirmed(x, v, h)
		return
	case e != nil && policy.IsError(h.Status) && v.standsIn(e.ageAt(now)):
		v.said.Status, v.said.Hit = h.Status, true
		v.home.counts.stale.Add(1)
		f.instead(x, v, h)
		f.land(v, lost)
		return
	}
	if v.said.Forward == "request" || v.said.Forward == "stale" {
		v.said.Status = h.Status
	}
	if v.head {
		if e != nil && h.Status == 200 && !policy.Confirms(h, &e.fields) { // RFC 9111 4.3.5
			f.store.dropEntry(e)
		}
		return
	}
	why, fresh := f.judge(x, v, h)
	if why == policy.Kept {
		why = f.fill(x, v, h, fresh)
	}
	if why == policy.Kept {
		return
	}
	v.said.Detail = string(why)
	v.home.counts.refuse(why)
	if e != nil && h.Status < 500 { // what was kept is no answer any more
		f.store.dropEntry(e)
	}
	if h.Status < 500 && v.plain {
		f.store.setBypass(v.hash, now)
	}
	f.land(v, lost)
}

// judge says whether an answer may be kept, and how long it is fresh.
func (f *Filter) judge(x *gateway.Exchange, v *visit, h *message.Head) (policy.Refusal, policy.Freshness) {
	fresh := f.spec.Rules.Fresh(h, x.Wall().Unix(), x.Now().Sub(v.began), v.identified)
	return f.spec.Rules.Storable(getMethod, &v.control, v.identified, h, &fresh), fresh
}

var getMethod = []byte("GET")

// confirmed goes on with what is kept: the upstream says that it is good.
func (f *Filter) confirmed(x *gateway.Exchange, v *visit, h *message.Head) {
	old := v.entry
	v.said.Status = 304
	v.home.counts.confirmed.Add(1)
	if !policy.Confirms(h, &old.fields) {
		// The upstream speaks of another response than it was asked about. The next request asks plainly.
		f.store.dropEntry(old)
		f.instead(x, v, h)
		f.land(v, lost)
		return
	}
	e := &entry{status: old.status, vary: old.vary, selector: old.selector, body: old.body, tags: old.tags, came: x.Wall().Unix(), kept: x.Now()}
	policy.Merge(&e.fields, &old.fields, h)
	merged := message.Head{Fields: e.fields, Status: old.status}
	fresh := f.spec.Rules.Fresh(&merged, e.came, e.kept.Sub(v.began), v.identified)
	v.entry = e
	if why := f.spec.Rules.Storable(getMethod, &v.control, v.identified, &merged, &fresh); why != policy.Kept {
		v.said.Detail = string(why)
		f.store.dropEntry(old)
		f.land(v, lost)
	} else {
		e.fresh = fresh
		e.seal(len(v.url))
		v.said.Stored = f.store.put(v.hash, v.url, e, v.since, f.spec.Bytes)
		f.land(v, arrived)
	}
	if e.raw == nil {
		e.fresh = fresh
		e.seal(len(v.url))
	}
	f.instead(x, v, h)
}

// instead makes the answer one of the entry, in the place of what comes from the upstream.
func (f *Filter) instead(x *gateway.Exchange, v *visit, h *message.Head) {
	v.state = serving
	v.said.TTL, v.said.HasTTL = v.entry.fresh.Lifetime-v.entry.ageAt(x.Now()), true
	h.Reason = message.Span{}
	v.write(x, h)
	v.text = v.body()
	h.Length = int64(len(v.text))
	v.mode = telling
	x.AddStage(v)
}

// fill begins to keep an answer.
func (f *Filter) fill(x *gateway.Exchange, v *visit, h *message.Head, fresh policy.Freshness) policy.Refusal {
	limit := f.spec.EntryBytes
	if h.Length > limit {
		return policy.RefusedTooLarge
	}
	e := &entry{status: h.Status, came: x.Wall().Unix(), kept: x.Now(), fresh: fresh}
	b := policy.AppendVary(v.home.bytes[:0], &h.Fields)
	e.vary = string(b)
	// What Vary names must be now what it was when the request was looked up: a later request is looked up with what its client
	// sent, and filters behind the cache may have changed it.
	b = policy.AppendSelector(append(b[:0], v.prefix...), e.vary, &v.asked)
	e.selector = string(b)
	b = policy.AppendSelector(append(b[:0], v.prefix...), e.vary, &x.Request.Fields)
	v.home.bytes = b
	switch {
	case string(b) != e.selector:
		return policy.RefusedVaryChange
	case len(v.url)+len(e.selector)+len(e.vary) > keyBytesMax:
		return policy.RefusedVary
	}
	var ok bool
	if e.tags, ok = readTags(h); !ok {
		return refusedTags
	}
	qualified := policy.Qualified(h)
	dated := false
	for i := range h.All() {
		l := &h.All()[i]
		if !policy.StoresField(h, l, qualified) || isTags(h.Bytes(l.Name)) {
			continue
		}
		dated = dated || l.ID == message.Date
		e.fields.Add(h.Bytes(l.Name), h.Bytes(l.Value))
	}
	if !dated { // RFC 9110 6.6.1: who receives and keeps it says when
		e.fields.AddKnown(message.Date, policy.AppendDate(b[:0], e.came))
	}
	size := h.Length
	if size < 0 {
		size = firstPart
	}
	if !f.store.reserve(size, f.spec.Bytes) {
		return refusedBusy
	}
	v.reserved, v.length, v.pending = size, h.Length, e
	v.text = make([]byte, 0, size)
	v.mode = filling
	v.said.Stored = true
	v.now = x.Now()
	x.AddStage(v)
	return policy.Kept
}

// Reasons of the filter's own not to keep an answer.
const (
	refusedTags policy.Refusal = "too_many_tags" // it could not be purged by all of them
	refusedBusy policy.Refusal = "busy"          // too much is on its way in
)

// firstPart is what a body of unknown length is given room for at first.
const firstPart = 4 << 10

// stage is the visit as the gateway sees it on the way of the body: it copies what passes, or says something else instead.
type stage struct {
	mode     mode
	text     []byte // what has come, or what is to be said
	pending  *entry
	length   int64 // what the head says; below zero if nothing
	reserved int64
	told     bool
	gone     bool
	now      mono.Time
}

type mode uint8

const (
	idle mode = iota
	filling
	telling
	// full: what came is not kept.
	full
)

// Data is for gateway.Stage.
func (v *visit) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	if v.mode == telling {
		v.tell(out, p)
		in.Skip(p, n)
		return nil
	}
	for n > 0 {
		front := in.Front()
		front = front[:min(len(front), n)]
		if v.mode == filling && v.grow(len(front)) {
			v.text = append(v.text, front...)
		}
		n -= len(front)
		out.Take(p, in, len(front))
	}
	return nil
}

// grow makes room for n bytes more, or gives up keeping the answer.
func (v *visit) grow(n int) bool {
	need := int64(len(v.text) + n)
	if need > v.f.spec.EntryBytes {
		v.giveUp(policy.RefusedTooLarge)
		return false
	}
	if need <= v.reserved {
		return true
	}
	more := max(need, min(2*v.reserved, v.f.spec.EntryBytes)) - v.reserved
	if !v.f.store.reserve(more, v.f.spec.Bytes) {
		v.giveUp(refusedBusy)
		return false
	}
	v.reserved += more
	text := make([]byte, len(v.text), v.reserved)
	copy(text, v.text)
	v.text = text
	return true
}

// giveUp ends the keeping of an answer that turned out too large, or came when too many do.
func (v *visit) giveUp(why policy.Refusal) {
	v.unreserve()
	v.text, v.pending, v.mode = nil, nil, full
	v.home.counts.refuse(why)
	v.f.store.setBypass(v.hash, v.now)
	v.f.land(v, lost)
}

func (v *visit) unreserve() {
	v.f.store.fills.Add(-v.reserved)
	v.reserved = 0
}

func (v *visit) tell(out *buf.Chain, p *buf.Pool) {
	if !v.told {
		v.told = true
		out.Append(p, v.text)
	}
}

// Flush is for gateway.Stage: nothing is held back.
func (v *visit) Flush(out *buf.Chain, p *buf.Pool) error { return nil }

// End is for gateway.Stage: the body is complete, and kept if it is as long as was said.
func (v *visit) End(out *buf.Chain, p *buf.Pool) error {
	switch v.mode {
	case telling:
		v.tell(out, p)
	case filling:
		v.keep()
	}
	return nil
}

func (v *visit) keep() {
	f, e := v.f, v.pending
	v.unreserve()
	if v.length >= 0 && v.length != int64(len(v.text)) {
		v.pending = nil
		f.land(v, lost)
		return
	}
	e.body = v.text
	if cap(e.body)-len(e.body) > len(e.body)/8+64 { // no memory for what did not come
		e.body = append(make([]byte, 0, len(v.text)), v.text...)
	}
	e.seal(len(v.url))
	v.pending, v.text = nil, nil
	if f.store.put(v.hash, v.url, e, v.since, f.spec.Bytes) {
		v.home.counts.stored.Add(1)
		f.land(v, arrived)
		return
	}
	f.land(v, abandoned) // purged meanwhile: whoever waits wants a newer one
}

// Release is for gateway.Stage. An answer that did not come to its end is not kept.
func (v *visit) Release(_ *buf.Pool, _ bool) {
	if v.mode == filling && v.pending != nil {
		v.unreserve()
		v.pending = nil
		how := lost
		if v.gone {
			how = abandoned
		}
		v.f.land(v, how)
	}
	v.release()
}

// Tags: names by which responses are purged together.
const (
	// tagsMax and tagBytesMax bound the tags of one response, which are memory beside it.
	tagsMax     = 64
	tagBytesMax = 4 << 10
)

var tagFields = [...]string{"surrogate-key", "cache-tag"}

func isTags(name []byte) bool {
	for _, n := range tagFields {
		if len(n) == len(name) && equalLower(name, n) {
			return true
		}
	}
	return false
}

// removeTags keeps tags from clients: they are between the upstream and the cache.
func removeTags(h *message.Head) {
	for i := range h.All() {
		if l := &h.All()[i]; !l.Gone && l.ID == message.OtherField && isTags(h.Bytes(l.Name)) {
			l.Gone = true
		}
	}
}

// readTags returns the tags of an answer: words with spaces between them (Surrogate-Key), or commas (Cache-Tag). false: there are
// more than are kept.
func readTags(h *message.Head) (tags []string, ok bool) {
	total := 0
	for i := range h.All() {
		l := &h.All()[i]
		if l.Gone || l.ID != message.OtherField || !isTags(h.Bytes(l.Name)) {
			continue
		}
		word := func(c byte) bool { return c != ' ' && c != '\t' && c != ',' }
		for v := h.Bytes(l.Value); len(v) > 0; {
			n := 0
			for n < len(v) && word(v[n]) {
				n++
			}
			if n > 0 {
				if total += n; len(tags) == tagsMax || total > tagBytesMax {
					return nil, false
				}
				tags = append(tags, string(v[:n]))
			}
			v = v[min(n+1, len(v)):]
		}
	}
	return tags, true
}

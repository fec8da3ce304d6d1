package cache

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// arrival is when the head of an answer came, and to which request it is one.
type arrival struct {
	now  mono.Time
	wall policy.Unix
	sent *message.Fields
}

// received decides what becomes of the upstream's answer.
func (f *Filter) received(x *gateway.Exchange, v *visit, h *message.Head) {
	at := arrival{x.Now(), x.Wall().Unix(), &x.Request.Fields}
	e := v.entry
	if v.asking && h.Status == 304 {
		f.confirm(v, h, at)
		f.instead(x, v, h)
		return
	}
	if e != nil && policy.IsError(h.Status) && v.standsIn(e.ageAt(at.now)) {
		f.land(v, lost)
		f.standIn(x, v, h)
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
	if f.keep(v, h, at) {
		x.AddStage(v)
	}
	if v.stripped && h.Status == 200 && policy.Evaluate(&v.asked, &h.Fields, at.wall, at.wall) == policy.NotModified {
		f.notModified(x, v, h)
	}
}

// standIn puts the stale entry in the place of an error.
func (f *Filter) standIn(x *gateway.Exchange, v *visit, h *message.Head) {
	if f.shadows() && v.use == policy.Revalidate { // it is counted as an answer already
		return
	}
	f.degrade(x, v, v.entry.ageAt(x.Now()), ReasonStatus, h.Status)
	if f.shadows() {
		return
	}
	v.said.Status, v.said.Hit, v.stale = h.Status, true, true
	f.instead(x, v, h)
}

// notModified answers the client's own condition, which was left out of what the upstream was asked, by the answer that came.
// What there is of a body goes no further than the entry that it fills.
func (f *Filter) notModified(x *gateway.Exchange, v *visit, h *message.Head) {
	if v.mode == idle {
		v.mode = full
		x.AddStage(v)
	}
	v.silent, v.said.Status = true, h.Status
	// Clients of HTTP/2 would wait for a body of the length that was declared.
	h.Status, h.Reason, h.Length = 304, message.Span{}, 0
	for i := range h.All() {
		l := &h.All()[i]
		if aboutBody(l.ID, h.Bytes(l.Name)) || l.ID == message.Trailer {
			l.Gone = true
		}
	}
}

// keep begins to keep an answer, for which the visit then has to see the body, or says why not.
func (f *Filter) keep(v *visit, h *message.Head, at arrival) bool {
	fresh := f.spec.Rules.Fresh(h, at.wall, at.now.Sub(v.began), v.identified)
	why := f.spec.Rules.Storable(getMethod, &v.control, v.identified, h, &fresh)
	if why == policy.Kept {
		why = f.fill(v, h, fresh, at)
	}
	if why == policy.Kept {
		return true
	}
	v.said.Detail = string(why)
	v.home.counts.refuse(why)
	// What was kept is no answer any more; but an error says nothing of it, nor a 304 to a condition of the client's own.
	if v.entry != nil && h.Status < 500 && h.Status != 304 {
		f.store.dropEntry(v.entry)
	}
	if h.Status < 500 && v.plain {
		f.store.setBypass(v.hash, at.now)
	}
	f.land(v, lost)
	return false
}

var getMethod = []byte("GET")

// confirm makes the entry fresh again: the upstream says that it is good. The visit has the new one then.
func (f *Filter) confirm(v *visit, h *message.Head, at arrival) {
	old := v.entry
	v.said.Status = 304
	v.home.counts.confirmed.Add(1)
	if !policy.Confirms(h, &old.fields) {
		// The upstream speaks of another response than it was asked about. The next request asks plainly.
		f.store.dropEntry(old)
		f.land(v, lost)
		return
	}
	e := &entry{status: old.status, vary: old.vary, selector: old.selector, body: old.body, tags: old.tags, came: at.wall, kept: at.now}
	policy.Merge(&e.fields, &old.fields, h)
	merged := message.Head{Fields: e.fields, Status: old.status}
	e.fresh = f.spec.Rules.Fresh(&merged, e.came, e.kept.Sub(v.began), v.identified)
	e.seal(len(v.url))
	v.entry = e
	if why := f.spec.Rules.Storable(getMethod, &v.control, v.identified, &merged, &e.fresh); why != policy.Kept {
		v.said.Detail = string(why)
		f.store.dropEntry(old)
		f.land(v, lost)
		return
	}
	v.said.Stored = f.put(v, e)
	f.land(v, arrived)
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

// fill gets everything ready for the body of an answer that may be kept.
func (f *Filter) fill(v *visit, h *message.Head, fresh policy.Freshness, at arrival) policy.Refusal {
	limit := f.spec.EntryBytes
	if h.Length > limit {
		return policy.RefusedTooLarge
	}
	e := &entry{status: h.Status, came: at.wall, kept: at.now, fresh: fresh}
	b := policy.AppendVary(v.home.bytes[:0], &h.Fields)
	e.vary = string(b)
	// What Vary names must be now what it was when the request was looked up: a later request is looked up with what its client
	// sent, and filters behind the cache may have changed it.
	b = policy.AppendSelector(append(b[:0], v.prefix...), e.vary, &v.asked)
	e.selector = string(b)
	b = policy.AppendSelector(append(b[:0], v.prefix...), e.vary, at.sent)
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
	v.now = at.now
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
	silent   bool // nothing of what comes goes on
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
		if v.silent {
			in.Skip(p, len(front))
		} else {
			out.Take(p, in, len(front))
		}
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
		v.complete()
	}
	return nil
}

// complete keeps what has come, if that is all.
func (v *visit) complete() {
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
	if f.put(v, e) {
		v.home.counts.stored.Add(1)
		f.land(v, arrived)
		return
	}
	f.land(v, abandoned) // purged meanwhile: whoever waits wants a newer one
}

// put keeps an entry, here and in Redis.
func (f *Filter) put(v *visit, e *entry) bool {
	if !f.store.put(v.hash, v.url, e, v.since, f.spec.Bytes) {
		return false
	}
	if f.tier != nil {
		f.tier.offer(e, v.url, v.began)
	}
	return true
}

// Release is for gateway.Stage. An answer that did not come to its end is not kept.
func (v *visit) Release(_ *buf.Pool, _ bool) {
	how := lost
	if v.gone {
		how = abandoned
	}
	v.abandon(how)
	v.release()
}

// abandon ends the keeping of an answer that did not come to its end.
func (v *visit) abandon(how landing) {
	if v.mode == filling && v.pending != nil {
		v.unreserve()
		v.pending = nil
		v.f.land(v, how)
	}
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

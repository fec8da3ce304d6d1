package cache

import (
	"sync/atomic"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// entry is one kept response. But for its mark of use and its place in a queue it is never changed once the store lets others find it, so
// that any number of loops may be sending it.
type entry struct {
	// Frozen.
	status   int
	vary     string // names, as policy.AppendVary has them
	selector string // what the request had there, with the document's own parts before it
	fields   message.Fields
	raw      []byte // of fields, line behind line
	body     []byte
	tags     []string
	came     policy.Unix // by the clock on the wall, for dates
	kept     mono.Time   // since when it ages here
	fresh    policy.Freshness
	size     int64
	of       *resource
	since    uint64 // of Store.whole, when it was asked for

	// Published: how often it was used since the queue looked last, up to usedMax.
	used atomic.Uint32
	// Since when it may be asked for anew without a client, after it could not be (mono.Time).
	renewable atomic.Int64

	// Of the shard, under its lock.
	prev, next *entry
	in         *queue
}

// entryOverhead is what a response costs beside its bytes: the entry, its share of the table, allocation slack. It was
// measured with small responses, and is rounded up.
const entryOverhead = 768

// seal ends the making of an entry.
func (e *entry) seal(url int) {
	e.raw = e.fields.Bytes(message.Span{Len: uint32(e.fields.RawLen())})
	const fieldSize = 20
	e.size = int64(len(e.raw) + len(e.fields.All())*fieldSize + cap(e.body) + len(e.vary) + len(e.selector) + url + entryOverhead)
	for _, t := range e.tags {
		e.size += int64(len(t)) + 16
	}
}

// ageAt is how old the response is.
func (e *entry) ageAt(now mono.Time) (age duration) { return e.fresh.AgeAt(now.Sub(e.kept)) }

// touch notes a use. An entry that all loops want is written to until it is known to be in use, and from then on only read.
func (e *entry) touch() {
	if n := e.used.Load(); n < usedMax {
		e.used.CompareAndSwap(n, n+1)
	}
}

// writeTo appends the fields to a head, in one piece. With notModified those that describe the body are left out (RFC 9110
// 15.4.5).
func (e *entry) writeTo(h *message.Head, notModified bool) {
	at := h.Store(e.raw)
	for i := range e.fields.All() {
		l := &e.fields.All()[i]
		if l.Gone || notModified && aboutBody(l.ID, e.fields.Bytes(l.Name)) {
			continue
		}
		h.AddSpan(message.Span{Off: at.Off + l.Name.Off, Len: l.Name.Len}, message.Span{Off: at.Off + l.Value.Off, Len: l.Value.Len}, l.ID)
	}
}

func aboutBody(id message.ID, name []byte) bool {
	return id == message.ContentType || id == message.ContentEncoding ||
		len(name) == len(contentLanguage) && message.EqualFold(name, contentLanguage)
}

var contentLanguage = []byte("Content-Language")

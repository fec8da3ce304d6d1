package mirror

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/compare"
)

// Compare is how answers to copies are compared with those to the originals.
type Compare struct {
	// To is the cluster of the old version, which gets a third copy; nil: the route's own, which is found among Clusters.
	To       *gateway.ClusterRef
	Clusters []gateway.ClusterRef
	Config   compare.Config
	// BodyBytesMax is the longest body of an answer that is compared; 0: CompareBytesDefault.
	BodyBytesMax int64
	// Examples is how many of the last requests with different answers are kept; 0: ExamplesDefault.
	Examples int
}

const (
	// CompareBytesDefault is more than most answers of an API have. Three of them are kept for each copy.
	CompareBytesDefault = 256 << 10
	// CompareBytesMax bounds what a document may ask for.
	CompareBytesMax = 4 << 20
	// ExamplesDefault is as many as somebody reads.
	ExamplesDefault = 20
	// ExamplesMax bounds what a document may ask for.
	ExamplesMax = 1000
)

// comparison is what is known of one request's answers. It belongs to a loop until it is handed to the report's goroutine.
type comparison struct {
	at             time.Time
	id             string
	method, target string
	old, next      answer
	again          answer // the old version's to the third copy
	asked          bool   // there is a third copy
}

// comparing begins a comparison: the flight is held until the original has ended.
func (t *flight) comparing(x *gateway.Exchange) {
	t.hold++
	t.compared = &comparison{at: x.Wall(), id: string(x.RequestID()), method: string(x.Method()), target: string(t.head.PathBytes())}
	t.copy.into, t.third.into = &t.compared.next, &t.compared.again
	x.Keep(t)
}

// response is the hook: it takes a copy of the original's answer.
func (f *Filter) response(x *gateway.Exchange, h *message.Head) {
	t, _ := x.Kept().(*flight)
	if t == nil || t.compared == nil || t.compared.old.headed {
		return
	}
	a := &t.compared.old
	a.read(h, &f.spec.Compare.Config)
	switch {
	case x.Outcome().Reason != "":
		a.foreign = true
	case h.Length > f.spec.Compare.BodyBytesMax && string(x.Method()) != "HEAD":
		a.large = true
	default:
		t.hold++
		t.answer.t = t
		x.AddStage(&t.answer)
	}
}

// done is the hook. The original has been answered: now the old version may be asked again, of which the original, which may be
// one of many that wait for a connection, is no slower.
func (f *Filter) done(x *gateway.Exchange) {
	t, _ := x.Kept().(*flight)
	if t == nil || t.compared == nil {
		return
	}
	c := t.compared
	c.old.took = x.Outcome().FirstByte
	c.old.whole = c.old.whole && !x.Outcome().ClientGone
	known := t.copy.ended && (!c.next.whole || compare.Equal(&c.old.Answer, &c.next.Answer))
	if c.old.whole && !c.old.large && !t.gone && !known && safe(x.Method()) {
		if to, ok := f.again(x); ok {
			c.asked = true
			t.hold++
			t.third.begin(x, to)
		}
	}
	t.release()
}

// again returns the cluster of the old version.
func (f *Filter) again(x *gateway.Exchange) (gateway.ClusterRef, bool) {
	if to := f.spec.Compare.To; to != nil {
		return *to, true
	}
	for _, ref := range f.spec.Compare.Clusters {
		if x.Route.Cluster != nil && x.ClusterAt(ref) == x.Route.Cluster {
			return ref, true
		}
	}
	return gateway.ClusterRef{}, false
}

// safe tells whether the old version may be asked twice: of methods that change nothing (RFC 9110 9.2.1).
func safe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS":
		return true
	}
	return false
}

// conclude is called when all answers there will be have come.
func (t *flight) conclude() {
	c, r := t.compared, t.f.report
	switch {
	case t.gone: // there was no copy
	case c.old.large || c.next.large || c.again.large:
		r.add(answerTooLarge)
	case c.old.foreign || !c.old.whole:
		r.add(originalFailed)
	case !c.next.whole:
		r.add(copyFailed)
	default:
		r.times(c.old.took, c.next.took)
		if compare.Equal(&c.old.Answer, &c.next.Answer) && c.old.coding == c.next.coding {
			r.add(equal)
			return
		}
		if c.asked && !c.again.whole {
			r.add(thirdFailed)
			return
		}
		r.submit(job{c, t.f.spec.Compare})
	}
}

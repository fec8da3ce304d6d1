package cache

import (
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// renewal asks anew for a response that is stale and was used all the same (RFC 5861 3), by an errand: the client that it was used
// for does not wait. It has a visit of its own, which leads a flight, so that there is one renewal at a time, and who finds the
// response too stale waits for it. Loop-owned.
type renewal struct {
	v    *visit
	old  *entry
	wall policy.Unix // when it began, with visit.began
}

// renewalPause is how long a response is not asked for anew after that failed: while it may be used stale, its upstream gets a
// request a second and not one for each client's.
const renewalPause = time.Second

// direct tells whether an errand asks what the exchange would: it passes no filters, and goes to the route's cluster. Where that is
// not so, one client's request asks for all.
func (f *Filter) direct(x *gateway.Exchange) bool {
	behind := false
	for i := range x.Route.Filters {
		h := &x.Route.Filters[i]
		switch {
		case h.Name == hookName:
			behind = true
		case behind && (h.Request != nil || h.Response != nil):
			return false
		}
		for _, n := range turning {
			if h.Name == n {
				return false
			}
		}
	}
	return behind && x.Route.Cluster != nil
}

// turning are filters that send requests to another cluster than the route's, or in another protocol.
var turning = [...]string{"split", "transcode", "grpc_web"}

// renew begins a renewal of the visit's entry, unless there is one, or one has just failed.
func (f *Filter) renew(x *gateway.Exchange, v *visit) {
	e, now := v.entry, x.Now()
	if mono.Time(e.renewable.Load()) > now {
		return
	}
	fl := f.store.lead(v.hash, f.flightKey(v, e))
	if fl == nil {
		return
	}
	n := f.take(x)
	n.state, n.flight, n.entry, n.use, n.control, n.identified, n.plain = missing, fl, e, policy.Revalidate, v.control, v.identified, true
	n.hash, n.url, n.prefix = v.hash, append(n.url[:0], v.url...), append(n.prefix[:0], v.prefix...)
	n.began, n.since = now, f.store.generation(v.hash)
	var h message.Head
	x.Request.CopyRequest(&h)
	h.CopyTo(&n.asked)
	h.Method = h.StoreString("GET")
	if n.asking = policy.AskAbout(&h.Fields, &e.fields); !n.asking {
		policy.DropConditions(&h.Fields)
	}
	v.home.counts.renewals.Add(1)
	x.Send(gateway.Errand{Cluster: gateway.ClusterRef{Index: x.Route.ClusterIndex}, Head: &h, Retry: x.Route.Retry,
		Answers: &renewal{v: n, old: e, wall: x.Wall().Unix()}})
}

// AnswerHead is for engine.Answers.
func (r *renewal) AnswerHead(h *message.Head) {
	v := r.v
	now := max(v.f.store.clock(), v.began)
	at := arrival{now, r.wall + policy.Unix(now.Sub(v.began)/time.Second), &v.asked}
	switch {
	case v.asking && h.Status == 304:
		v.f.confirm(v, h, at)
	case policy.IsError(h.Status): // the entry stays, and stands in as long as it may
		r.fail()
	default:
		v.f.keep(v, h, at)
	}
}

// AnswerData is for engine.Answers.
func (r *renewal) AnswerData(src *buf.Chain, n int, p *buf.Pool) {
	v := r.v
	for n > 0 {
		front := src.Front()
		front = front[:min(len(front), n)]
		if v.mode == filling && v.grow(len(front)) {
			v.text = append(v.text, front...)
		}
		n -= len(front)
		src.Skip(p, len(front))
	}
}

// AnswerEnd is for engine.Answers.
func (r *renewal) AnswerEnd(*message.Fields) {
	if r.v.mode == filling {
		r.v.complete()
	}
	r.end()
}

// AnswerFailed is for engine.Answers.
func (r *renewal) AnswerFailed(error) {
	r.fail()
	r.end()
}

func (r *renewal) fail() { r.old.renewable.Store(int64(r.v.f.store.clock().Add(renewalPause))) }

func (r *renewal) end() {
	v := r.v
	v.abandon(lost)
	v.f.land(v, lost) // if it has not landed yet
	v.release()
}

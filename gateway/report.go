package gateway

import (
	"net/netip"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/telemetry/log"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Vocabulary fills in, behind those of filters that it finds there, the words that the data plane's metrics may use: those of the failures, the refusals, the outcomes.
// A word's place in its list is the number by which it is counted.
func Vocabulary(c metrics.Config) metrics.Config {
	c.Reasons = append(c.Reasons, reasonRespond, reasonRedirect, reasonOptions, reasonChallenge, reasonTranslation)
	for _, f := range failures {
		c.Reasons = append(c.Reasons, f.Reason)
	}
	for _, r := range refusals() {
		c.Reasons = append(c.Reasons, r.Reason)
		c.Refusals = append(c.Refusals, r.Reason)
	}
	c.CloseReasons = engine.CloseReasons()
	c.RejectLimits = []string{rejectedConnections: "connections"}
	for o := health.OK; o <= health.WrongStatus; o++ {
		c.Outcomes = append(c.Outcomes, o.String())
	}
	for r := retry.AfterConnectFailure; r <= retry.NoBudget; r++ {
		c.Verdicts = append(c.Verdicts, r.String())
	}
	return c
}

// rejectedConnections is the number of the limit on connections among those that turn one away.
const rejectedConnections = 0

func refusals() []*message.Refusal {
	list := append([]*message.Refusal{brokenBody}, engine.Refusals()...)
	return append(list, message.PathRefusals()...)
}

// words numbers the words of Vocabulary. It is made once, for the gateway.
type words struct{ reasons, refusals map[string]int }

func newWords(filters []string) *words {
	c := Vocabulary(metrics.Config{Reasons: filters})
	w := &words{map[string]int{}, map[string]int{}}
	for i, r := range c.Reasons {
		w.reasons[r] = i
	}
	for i, r := range c.Refusals {
		w.refusals[r] = i
	}
	return w
}

// countAnswer and countRefusal look a word up: answers of our own are rare enough for a map.
func (w *Worker) countAnswer(reason string) {
	if i, ok := w.gateway.words.reasons[reason]; ok {
		w.shard.Answered(i)
	}
}

func (w *Worker) countRefusal(r *message.Refusal) {
	if i, ok := w.gateway.words.refusals[r.Reason]; ok {
		w.shard.Refused(i)
	}
}

// report counts a finished exchange and writes it to the access log.
func (x *Exchange) report() {
	w := x.w
	if x.errand {
		return
	}
	index := metrics.NoRoute
	if x.Route != nil {
		index = x.Route.Index
	}
	took := w.now().Sub(x.began)
	in, out := x.bodyIn, x.bodyOut
	if !x.raw { // else its head is of our making
		in += int64(x.Request.RawLen())
	}
	if x.attempt.response != nil {
		out += int64(x.attempt.response.RawLen())
	}
	waited := took
	if x.tunnel { // may stand for days: what its client waited for was the 101
		waited = x.attempt.headAt.Sub(x.began)
	}
	w.shard.RequestDone(x.snapshot.View.Route(w.index, index), x.status, waited, in, out)
	if w.ring == nil {
		return
	}
	r := &w.record
	h := x.Request
	*r = log.Record{
		Start: x.began, Duration: took, BytesIn: in, BytesOut: out,
		Revision: x.snapshot.Revision, Attempts: x.attempts, Status: x.status,
		Client: netip.AddrPortFrom(x.ClientAddr, x.peer.Port()), Listener: x.listener.Name, Protocol: protocol(h.Proto),
		Reason:    x.reason,
		RequestID: x.requestID, Method: x.clientMethod(), Host: h.AuthorityBytes(),
		Path: h.Bytes(x.path), Query: h.Bytes(x.query),
	}
	r.UserAgent, _ = h.Get(message.UserAgent)
	r.Referer, _ = h.Get(message.Referer)
	for i, name := range w.logHeaders {
		r.Headers[i], _ = h.Field(name)
	}
	if x.raw {
		r.Protocol = "TCP"
	}
	if x.guard != nil {
		r.Guard = x.guard.Name
	}
	if x.shadowed != nil {
		r.Shadow = x.shadowed.Name
	}
	if x.Route != nil {
		r.Route = x.Route.Name
		if a := x.attempt; a.endpoint != nil {
			r.Cluster, r.Endpoint = x.cluster.Name, a.endpoint.Addr()
			if a.headAt > 0 {
				r.FirstByte = a.headAt.Sub(a.began)
			}
		}
	}
	w.ring.Add(r)
}

func protocol(p message.Proto) string {
	switch p {
	case message.HTTP10:
		return "HTTP/1.0"
	case message.HTTP11:
		return "HTTP/1.1"
	}
	return "HTTP/" + p.String()
}

// reportRefusal writes bytes that were no request to the access log.
func (w *Worker) reportRefusal(l *Listener, peer netip.AddrPort, refused *message.Refusal, id []byte) {
	if w.ring == nil {
		return
	}
	w.record = log.Record{
		Start: w.now(), Status: refused.Status, Reason: refused.Reason, Listener: l.Name,
		Client: peer, RequestID: id, Revision: w.snapshot.Revision,
	}
	w.ring.Add(&w.record)
}

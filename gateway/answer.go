package gateway

import (
	"bytes"
	"net/netip"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/route"
)

// reasonField names the field that says why the gateway answered by itself.
const reasonField = "X-Yumen-Reason"

// fail answers with a failure, or breaks off an answer that began.
func (x *Exchange) fail(f *Failure) {
	x.failure = f
	if x.errand && !x.answered {
		x.failErrand(f)
		return
	}
	if x.answered || x.raw {
		x.status = f.Status
		x.cut(f)
		return
	}
	x.second.end()
	if f == bodyTooLarge {
		x.client.Last()
	}
	if x.reached > 0 && x.hasFailed(x.reached) && x.client != nil && x.takenOver(x.reached, f) {
		return
	}
	x.say(f.Status, f.Reason, f.Text)
}

// refuse answers a request that is against the protocol or a limit.
func (x *Exchange) refuse(err error) {
	r, ok := err.(*message.Refusal)
	if !ok {
		r = &message.Refusal{Status: 400, Reason: "malformed", Text: err.Error()}
	}
	x.w.countRefusal(r)
	if x.client != nil {
		x.client.Last()
	}
	if x.answered {
		x.reason = r.Reason
		x.cut(&Failure{Side: Client, Status: r.Status, Reason: r.Reason, Text: r.Text})
		return
	}
	x.say(r.Status, r.Reason, r.Text)
}

// failWithAllow answers that the method is not one of those the path has (RFC 9110 15.5.6).
func (x *Exchange) failWithAllow(found route.Result) {
	x.failure = badMethod
	h := x.w.newAnswer(badMethod.Status, badMethod.Reason, x.requestID)
	h.AddString("Content-Type", plainText)
	b := x.snapshot.Table.AppendAllow(x.w.scratch[:0], found.Allow)
	h.Add([]byte("Allow"), b)
	x.w.scratch = b
	x.reason = badMethod.Reason
	x.send(h, x.w.explanation(badMethod.Reason, badMethod.Text, x.requestID))
}

// say answers with a sentence and the reason's word.
func (x *Exchange) say(status int, reason, text string) {
	x.reason = reason
	if x.explain(Explanation{Status: status, Code: callStatus(status, reason), Reason: reason, Text: text}) {
		return
	}
	h := x.w.newAnswer(status, reason, x.requestID)
	h.AddString("Content-Type", plainText)
	x.send(h, x.w.explanation(reason, text, x.requestID))
}

// answerOptions answers OPTIONS *, which is about the server and not about a resource (RFC 9110 9.3.7), so that no route is
// meant by it: the server the client sees is the gateway.
func (x *Exchange) answerOptions() {
	x.reason = reasonOptions
	x.send(x.w.newAnswer(200, reasonOptions, x.requestID), nil)
}

// answerChallenge answers a certificate authority's question, if the request is one.
func (x *Exchange) answerChallenge(answers map[string]string) bool {
	token, ok := bytes.CutPrefix(x.Request.PathBytes(), []byte(challengePrefix))
	if !ok || !x.Request.IsMethod("GET") {
		return false
	}
	answer, ok := answers[string(token)]
	if !ok {
		return false
	}
	x.reason = reasonChallenge
	h := x.w.newAnswer(200, reasonChallenge, x.requestID)
	h.AddString("Content-Type", plainText)
	x.send(h, []byte(answer))
	return true
}

// respond gives the answer the configuration has.
func (x *Exchange) respond(r *Respond) {
	x.reason = reasonRespond
	h := x.w.newAnswer(r.Status, reasonRespond, x.requestID)
	typed := false
	for _, f := range r.Fields {
		h.AddString(f.Name, f.Value)
	}
	for _, f := range h.All() {
		typed = typed || f.ID == message.ContentType
	}
	if !typed && len(r.Body) > 0 {
		h.AddString("Content-Type", plainText)
	}
	x.send(h, r.Body)
}

// redirect sends the client elsewhere.
func (x *Exchange) redirect(r *Redirect) {
	x.reason = reasonRedirect
	h := x.w.newAnswer(r.Status, reasonRedirect, x.requestID)
	b := r.To.appendTo(x.w.scratch[:0], x)
	h.AddKnown(message.Location, b)
	x.w.scratch = b
	x.send(h, nil)
}

// send answers the client and ends the exchange.
func (x *Exchange) send(h *message.Head, body []byte) {
	x.w.countAnswer(x.reason)
	x.takeOffer()
	x.endWait()
	x.answered = true
	h.Length = int64(len(body)) // as far as filters are concerned
	x.filterResponse(h)
	x.status = h.Status
	if x.client == nil {
		x.finish()
		return
	}
	headOnly := string(x.clientMethod()) == "HEAD"
	if x.answerStages.any() || x.slowed() || len(body) > answerPart && !headOnly {
		x.sendStep(h, body, headOnly)
		return
	}
	s := x.client
	x.client = nil
	x.bodyOut = sendAnswer(x.w.engine.Bufs, s, h, body, headOnly)
	x.whole = true
	x.finish()
}

// answerPart is how much of a body of our own is sent at a time: a client that reads slowly has no more of it in our memory
// than of an upstream's.
const answerPart = 64 << 10

// sendStep sends an answer of our own whose body passes stages, or is large, as its client takes it.
func (x *Exchange) sendStep(h *message.Head, body []byte, headOnly bool) {
	if !x.answerStages.any() {
		h.Length = int64(len(body))
	}
	if len(body) == 0 || headOnly || h.Status == 204 || h.Status == 304 {
		x.endOwn(x.sendHeadAlone(h))
		return
	}
	if err := x.client.SendHead(h, false); err != nil {
		x.cut(badStage)
		return
	}
	x.rest = body
	x.feed()
}

// feed goes on sending a body of our own.
func (x *Exchange) feed() {
	for len(x.rest) > 0 && !x.full() {
		n := min(len(x.rest), answerPart)
		var part buf.Chain
		part.Append(x.w.engine.Bufs, x.rest[:n])
		x.rest = x.rest[n:]
		err := x.sendData(&part, n)
		part.Release(x.w.engine.Bufs)
		if err != nil {
			x.cut(badStage)
			return
		}
	}
	if len(x.rest) > 0 {
		return
	}
	x.endOwn(x.sendEnd(nil))
}

// endOwn ends the exchange with an answer of our own, unless some of it has yet to leave.
func (x *Exchange) endOwn(over bool, err error) {
	switch {
	case err != nil:
		x.cut(badStage)
	case over:
		x.client = nil
		x.finish()
	}
}

// sendAnswer sends a whole answer and returns the size of its body.
func sendAnswer(p *buf.Pool, s *engine.Stream, h *message.Head, body []byte, headOnly bool) int64 {
	h.Length = int64(len(body))
	if len(body) == 0 || headOnly || h.Status == 204 || h.Status == 304 {
		if err := s.SendHead(h, true); err != nil {
			s.Abort(err)
		}
		return 0
	}
	var chain buf.Chain
	chain.Append(p, body)
	err := s.SendHead(h, false)
	if err == nil {
		err = s.SendData(&chain, len(body))
	}
	if err == nil {
		err = s.SendEnd(nil)
	}
	chain.Release(p)
	if err != nil { // a head of ours that its own body does not fit
		s.Abort(err)
	}
	return int64(len(body))
}

// newAnswer begins an answer of our own. The head is the worker's: it must be sent before the next one is begun.
func (w *Worker) newAnswer(status int, reason string, requestID []byte) *message.Head {
	h := &w.answer
	h.Reset()
	h.Status = status
	h.AddString(reasonField, reason)
	if len(requestID) > 0 {
		h.AddKnown(message.XRequestID, requestID)
	}
	if status == 503 && reason != reasonRespond {
		h.AddString("Retry-After", "1")
	}
	h.AddString("Date", w.date())
	return h
}

// plainText is the type of what the gateway says by itself.
const plainText = "text/plain; charset=utf-8"

// date returns the present time in the form of RFC 9110 5.6.7, made anew once a second.
func (w *Worker) date() string {
	if now := w.gateway.wall(); now.Unix() != w.dateAt {
		w.dateAt, w.dateText = now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return w.dateText
}

// explanation returns the body of a failure's answer: a line for people, and the two words to look it up by. It is in memory
// of its own, since filters use the scratch when they get the answer's head; the next explanation takes it over.
func (w *Worker) explanation(reason, text string, requestID []byte) []byte {
	b := append(w.sentence[:0], text...)
	b = append(b, "\nreason: "...)
	b = append(b, reason...)
	b = append(b, "\nrequest: "...)
	b = append(b, requestID...)
	w.sentence = append(b, '\n')
	return w.sentence
}

// refuseConn answers on a connection whose bytes are no request: there is no exchange.
func (w *Worker) refuseConn(l *Listener, s *engine.Stream, peer netip.AddrPort, r *message.Refusal) {
	w.countRefusal(r)
	w.countAnswer(r.Reason)
	var space [32]byte
	id := w.appendRequestID(space[:0])
	h := w.newAnswer(r.Status, r.Reason, id)
	h.AddString("Content-Type", plainText)
	body := w.explanation(r.Reason, r.Text, id)
	sendAnswer(w.engine.Bufs, s, h, body, false)
	w.reportRefusal(l, peer, r, id)
}

// pickFailure says what it means that no endpoint could be chosen.
func pickFailure(why balance.Reason) *Failure {
	switch why {
	case balance.NoEndpoints:
		return noEndpoint
	case balance.AllDrained:
		return allDrained
	}
	return noHealthy
}

// Template is text with parts of the request in it.
type Template []Piece

// Piece is a part of a Template: literal text, or what Of names.
type Piece struct {
	Literal string
	Of      PieceOf
	Name    string // of a path parameter
}

// PieceOf is what of the request stands in a piece's place.
type PieceOf uint8

// Kinds of piece.
const (
	Literal PieceOf = iota
	OfHost
	OfPath
	OfQuery // with its '?', nothing if there is none
	OfScheme
	OfParam
)

func (t Template) appendTo(b []byte, x *Exchange) []byte {
	for _, p := range t {
		switch p.Of {
		case Literal:
			b = append(b, p.Literal...)
		case OfHost:
			b = append(b, x.host...)
		case OfPath:
			b = append(b, x.Request.PathBytes()...)
		case OfQuery:
			if x.Request.HasQuery {
				b = append(b, '?')
				b = append(b, x.Request.QueryBytes()...)
			}
		case OfScheme:
			b = append(b, x.listener.Scheme...)
		case OfParam:
			v, _ := x.Params.Get(p.Name)
			b = append(b, v...)
		}
	}
	return b
}

// Render returns the template with the request's parts in it, in memory that the next use of the worker's scratch takes
// over.
func (x *Exchange) Render(t Template) []byte {
	b := t.appendTo(x.w.scratch[:0], x)
	x.w.scratch = b
	return b
}

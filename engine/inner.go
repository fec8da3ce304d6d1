package engine

import (
	"errors"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// Answers takes what is answered to a request that no client sent: the gateway asks for itself. All calls come on the loop.
// After AnswerEnd or AnswerFailed nothing follows.
type Answers interface {
	// AnswerHead offers the final head, which is the caller's: what is kept of it is copied.
	AnswerHead(h *message.Head)
	// AnswerData takes the next n bytes of src, all of them.
	AnswerData(src *buf.Chain, n int, p *buf.Pool)
	// AnswerEnd tells that the answer is complete. Trailers may be nil; they are valid during the call.
	AnswerEnd(trailers *message.Fields)
	// AnswerFailed tells that the answer was broken off.
	AnswerFailed(err error)
}

// NewInner returns a stream as from a client, for a request whose answer goes to a. The request is complete: nothing is received
// on the stream.
func NewInner(p *buf.Pool, a Answers) *Stream {
	return &Stream{conn: &innerConn{p, a}, received: true}
}

// Ignore has nobody told of the rest of the answer, on a stream that NewInner made. It may be called in the middle of a call
// that tells of it.
func (s *Stream) Ignore() { s.conn.(*innerConn).a = nobody{} }

// nobody does not care for an answer.
type nobody struct{}

func (nobody) AnswerHead(*message.Head)                      {}
func (nobody) AnswerData(src *buf.Chain, n int, p *buf.Pool) { src.Skip(p, n) }
func (nobody) AnswerEnd(*message.Fields)                     {}
func (nobody) AnswerFailed(error)                            {}

// innerConn is the connection under such a stream: there is none.
type innerConn struct {
	p *buf.Pool
	a Answers
}

// errInnerComplete is a mistake of whoever answers: the answer has ended.
var errInnerComplete = errors.New("the answer is complete already")

func (c *innerConn) sendInterim(*Stream, *message.Head) {}

func (c *innerConn) sendHead(s *Stream, h *message.Head, end bool) error {
	c.a.AnswerHead(h)
	if end {
		return c.appendEnd(s, nil)
	}
	return nil
}

func (c *innerConn) appendData(s *Stream, src *buf.Chain, n int) error {
	if s.complete {
		return errInnerComplete
	}
	c.a.AnswerData(src, n, c.p)
	return nil
}

func (c *innerConn) appendEnd(s *Stream, trailers *message.Fields) error {
	if s.complete {
		return errInnerComplete
	}
	s.complete = true
	c.a.AnswerEnd(trailers)
	return nil
}

func (c *innerConn) abort(s *Stream, err error) {
	if !s.complete {
		s.complete = true
		c.a.AnswerFailed(err)
	}
}

// Whoever asks takes everything at once.
func (c *innerConn) outFull(*Stream) bool { return false }
func (c *innerConn) pausing(*Stream)      {}
func (c *innerConn) resumed(*Stream)      {}
func (c *innerConn) lastOf(*Stream)       {}
func (c *innerConn) lastAnswer()          {}

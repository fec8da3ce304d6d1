package h2

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// GOAWAY (RFC 9113 6.8): the last stream that is or was served, the error code, and bytes for people.

const goAwayLen = 8 // without those

func parseGoAway(b []byte) (last, code uint32) {
	return binary.BigEndian.Uint32(b) & idMax, binary.BigEndian.Uint32(b[4:])
}

func (c *conn) appendGoAway(out *buf.Chain, p *buf.Pool, last, code uint32, debug string) {
	b := c.appendFrame(out, p, frame{length: goAwayLen + len(debug), kind: typeGoAway})
	binary.BigEndian.PutUint32(b, last)
	binary.BigEndian.PutUint32(b[4:], code)
	out.Fill(goAwayLen + copy(b[goAwayLen:], debug))
}

// gotGoAway takes the fixed part; whatever else the peer has to say is skipped.
func (c *conn) gotGoAway(b []byte) *fault {
	last, code := parseGoAway(b)
	if c.peer.leaving {
		if f := c.spend(useless, 1); f != nil {
			return f
		}
	}
	c.peer.leaving = true
	c.peer.lastServed = min(c.peer.lastServed, last)
	c.peer.code = code
	c.losing = true
	return nil
}

// lose tells of a GOAWAY: first of our streams that the peer will not serve, in their order and one a call, then of itself.
func (c *conn) lose(p *buf.Pool) message.Event {
	var first *stream
	for _, s := range c.streams.slots {
		if !c.server && s != nil && s.id > c.peer.lastServed && (first == nil || s.id < first.id) {
			first = s
		}
	}
	if first == nil {
		c.losing = false
		return message.Event{Kind: message.GotGoAway, N: int(c.peer.code)}
	}
	e := message.Event{Kind: message.GotReset, End: true, Stream: first.id, N: RefusedStream}
	c.told = nil
	c.close(p, first, byPeer)
	return e
}

// GoAway tells the peer to open no further streams on this connection. A server does it in two steps (RFC 9113 6.8): first
// not final, which promises to serve what is under way; a round trip later final, with the number of the last request that
// came, behind which none is served. Repeated steps send nothing.
func (c *conn) GoAway(out *buf.Chain, p *buf.Pool, final bool) {
	if c.broken() || c.left || c.leaving && !final {
		return
	}
	last := uint32(idMax)
	if final {
		last = c.lastServed
	}
	c.leaving, c.left = true, final
	c.appendGoAway(out, p, last, NoError, "")
}

// fail ends the connection because of what the peer did.
func (c *conn) fail(out *buf.Chain, p *buf.Pool, f *fault) error {
	c.appendGoAway(out, p, c.lastServed, f.code, f.Reason)
	c.fatal = f.Refusal
	c.last = lastFrame{}
	return f.Refusal
}

func (c *conn) broken() bool { return c.fatal != nil }

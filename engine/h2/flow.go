package h2

import "github.com/yumen-io/yumen/engine/buf"

// Windows (RFC 9113 5.2). What the peer sent is given back to it when the receiver has consumed it, in steps of half a
// window: smaller ones would be a frame for each DATA frame, larger ones would let the road run empty.

// Took tells that n bytes of a stream's body have been consumed, each byte of GotData once. The windows are given back; of a
// stream that is gone, or that the peer has ended, only the connection's.
func (c *conn) Took(out *buf.Chain, p *buf.Pool, stream uint32, n int) {
	if s := c.streams.get(stream); s != nil {
		c.giveStream(out, p, s, n)
	}
	c.give(out, p, n)
}

// Kept is for bytes of GotData that are taken off the connection and held for a while, which must not hold up other streams:
// the connection's window is given back now. What is kept for a stream, its own window bounds until TookKept.
func (c *conn) Kept(out *buf.Chain, p *buf.Pool, n int) { c.give(out, p, n) }

// TookKept tells that n bytes that were Kept have been consumed.
func (c *conn) TookKept(out *buf.Chain, p *buf.Pool, stream uint32, n int) {
	if s := c.streams.get(stream); s != nil {
		c.giveStream(out, p, s, n)
	}
}

// give opens the connection's window.
func (c *conn) give(out *buf.Chain, p *buf.Pool, n int) {
	c.owed += int32(n)
	if int(c.owed) >= c.limits.ConnWindow/2 && !c.broken() {
		c.append32(out, p, typeWindowUpdate, 0, uint32(c.owed))
		c.recvWindow += c.owed
		c.owed = 0
	}
}

func (c *conn) giveStream(out *buf.Chain, p *buf.Pool, s *stream, n int) {
	if s.peerEnded || s.deaf {
		return
	}
	s.owed += int32(n)
	if int(s.owed) >= c.limits.StreamWindow/2 && !c.broken() {
		c.append32(out, p, typeWindowUpdate, s.id, uint32(s.owed))
		s.recvWindow += s.owed
		s.owed = 0
	}
}

// setStreamWindow changes the window that the peer gives every stream, those that are open too (RFC 9113 6.9.2).
func (c *conn) setStreamWindow(n uint32) *fault {
	delta := int64(n) - int64(c.peer.streamWindow)
	c.peer.streamWindow = n
	for _, s := range c.streams.slots {
		if s == nil {
			continue
		}
		if s.sendWindow += delta; s.sendWindow > windowMax {
			return largeWindow
		}
		if s.sendWindow <= 0 && s.ready {
			c.schedule.remove(s)
		}
		c.wake(s)
	}
	return nil
}

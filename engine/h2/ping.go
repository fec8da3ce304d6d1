package h2

import "github.com/yumen-io/yumen/engine/buf"

// PING (RFC 9113 6.7): eight bytes that come back as they are.

const pingLen = 8

func (c *conn) gotPing(out *buf.Chain, p *buf.Pool, b []byte) *fault {
	if c.frame.has(flagAck) {
		return c.spend(useless, 1) // we send none
	}
	if f := c.spend(pings, 1); f != nil {
		return f
	}
	if f := c.owe(out, frameHeadLen+pingLen); f != nil {
		return f
	}
	c.appendPing(out, p, flagAck, b)
	return nil
}

func (c *conn) appendPing(out *buf.Chain, p *buf.Pool, flags uint8, b []byte) {
	out.Fill(copy(c.appendFrame(out, p, frame{length: pingLen, kind: typePing, flags: flags}), b[:pingLen]))
}

package grpcweb

import (
	"bytes"
	"encoding/base64"

	"github.com/yumen-io/yumen/engine/buf"
)

// decoder reads base64 that comes cut at any place. A client may encode its body in parts, so padded groups may stand anywhere
// (PROTOCOL-WEB, "base64-encoded ... with padding"). The zero value is at the beginning.
type decoder struct {
	held  [4]byte // of a group that is not complete
	count int
}

// decode reads the first n bytes of in, all of them, and appends what they mean to out. false: they are no base64.
func (d *decoder) decode(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) bool {
	for n > 0 {
		b := in.Front()
		if len(b) > n {
			b = b[:n]
		}
		ok := d.run(b, out, p)
		in.Skip(p, len(b))
		n -= len(b)
		if !ok {
			in.Skip(p, n)
			return false
		}
	}
	return true
}

func (d *decoder) run(b []byte, out *buf.Chain, p *buf.Pool) bool {
	if d.count > 0 {
		n := copy(d.held[d.count:], b)
		d.count += n
		b = b[n:]
		if d.count < 4 {
			return true
		}
		d.count = 0
		if !groups(d.held[:], out, p) {
			return false
		}
	}
	whole := len(b) &^ 3
	d.count = copy(d.held[:], b[whole:])
	return groups(b[:whole], out, p)
}

// ended tells whether the body may end here.
func (d *decoder) ended() bool { return d.count == 0 }

// groups decodes whole groups, each of which may be padded.
func groups(b []byte, out *buf.Chain, p *buf.Pool) bool {
	if bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 { // the library passes over them, which none may count on
		return false
	}
	for len(b) > 0 {
		run := b
		for i := 3; i < len(b); i += 4 { // padding ends a run, as the library knows it
			if b[i] == '=' {
				run = b[:i+1]
				break
			}
		}
		room := out.Room(p, base64.StdEncoding.DecodedLen(len(run)))
		n, err := base64.StdEncoding.Decode(room, run)
		if err != nil {
			return false
		}
		out.Fill(n)
		b = b[len(run):]
	}
	return true
}

// encode takes the first n bytes of in and appends them to out in base64, padded, so that a client can decode what it has.
func encode(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) {
	var held [3]byte
	count := 0
	for n > 0 {
		b := in.Front()
		if len(b) > n {
			b = b[:n]
		}
		taken := len(b)
		if count > 0 {
			k := copy(held[count:], b)
			count += k
			b = b[k:]
			if count == 3 {
				encodeRun(held[:], out, p)
				count = 0
			}
		}
		if count == 0 {
			whole := len(b)
			if taken < n { // more follows, and would be cut by padding
				whole -= len(b) % 3
			}
			encodeRun(b[:whole], out, p)
			count = copy(held[:], b[whole:])
		}
		in.Skip(p, taken)
		n -= taken
	}
	encodeRun(held[:count], out, p)
}

func encodeRun(b []byte, out *buf.Chain, p *buf.Pool) {
	for len(b) > 0 {
		run := b[:min(len(b), encodedRun)]
		size := base64.StdEncoding.EncodedLen(len(run))
		base64.StdEncoding.Encode(out.Room(p, size), run)
		out.Fill(size)
		b = b[len(run):]
	}
}

// encodedRun is how much is encoded at once: a multiple of three, of which the base64 fits a large chunk.
const encodedRun = 48 << 10

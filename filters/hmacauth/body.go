package hmacauth

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/gateway"
)

// body is the stage that a request's body passes: it holds all of it until the digest is known. In shadow mode it lets everything
// through and only looks.
type body struct {
	f      *Filter
	x      *gateway.Exchange
	loop   *loopMemory
	sums   [2]hash.Hash // of sha-256 and sha-512, made when they are first needed
	sum    hash.Hash
	digest digest
	shadow bool

	held    buf.Chain
	bytes   int64
	settled verdict
	wake    gateway.Wake
	waiting bool
}

// verdict is what is known of a body.
type verdict uint8

const (
	unsettled verdict = iota
	right
	wrong
	tooLarge
)

// digest is a Content-Digest that is known (RFC 9530).
type digest struct {
	want [sha512.Size]byte
	len  int // of the sum: which algorithm
}

var (
	sha256Key = []byte("sha-256")
	sha512Key = []byte("sha-512")
)

// parseDigest reads a Content-Digest field. Of two algorithms that are known the stronger counts; those that are not are passed over, and
// a field with none that is known is no digest.
func parseDigest(field []byte) (d digest, ok bool) {
	for _, of := range []struct {
		key []byte
		len int
	}{{sha512Key, sha512.Size}, {sha256Key, sha256.Size}} {
		var space [(digestBytesMax + 2) / 3 * 3]byte
		n, readable := byteSequence(field, of.key, space[:])
		if !readable || n >= 0 && n != of.len {
			return d, false
		}
		if n == of.len {
			copy(d.want[:], space[:n])
			d.len = n
			return d, true
		}
	}
	return d, false
}

// ofNothing tells whether it is the digest of an empty body.
func (d *digest) ofNothing() bool {
	if d.len == sha256.Size {
		sum := sha256.Sum256(nil)
		return bytes.Equal(sum[:], d.want[:d.len])
	}
	sum := sha512.Sum512(nil)
	return bytes.Equal(sum[:], d.want[:d.len])
}

// newBody takes a stage from the loop's free list.
func (f *Filter) newBody(x *gateway.Exchange, l *loopMemory, d digest) *body {
	b := &body{}
	if n := len(l.free); n > 0 {
		b, l.free = l.free[n-1], l.free[:n-1]
	}
	at, begin := 0, sha256.New
	if d.len == sha512.Size {
		at, begin = 1, sha512.New
	}
	if b.sums[at] == nil {
		b.sums[at] = begin()
	}
	*b = body{f: f, x: x, loop: l, sums: b.sums, sum: b.sums[at], digest: d, shadow: f.guard.Mode == gateway.Shadow}
	b.sum.Reset()
	return b
}

// freeMax bounds the stages that a loop keeps for the next request.
const freeMax = 64

// Data is for gateway.Stage.
func (b *body) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	if b.settled != unsettled && !b.shadow {
		in.Skip(p, n)
		return nil
	}
	if b.bytes += int64(n); b.bytes > b.f.spec.BodyBytesMax && b.settled == unsettled {
		b.settle(tooLarge)
		if !b.shadow {
			b.held.Release(p)
			in.Skip(p, n)
			return nil
		}
	}
	to := &b.held
	if b.shadow {
		to = out
	}
	for n > 0 {
		piece := in.Front()
		piece = piece[:min(len(piece), n)]
		b.sum.Write(piece)
		n -= len(piece)
		to.Take(p, in, len(piece))
	}
	return nil
}

// Flush is for gateway.Stage: nothing is let out before it is known to be right.
func (b *body) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End is for gateway.Stage.
func (b *body) End(out *buf.Chain, p *buf.Pool) error {
	if b.settled != unsettled {
		return nil
	}
	var space [sha512.Size]byte
	if subtle.ConstantTimeCompare(b.sum.Sum(space[:0]), b.digest.want[:b.digest.len]) != 1 {
		b.held.Release(p)
		b.settle(wrong)
		return nil
	}
	b.held.MoveTo(out)
	b.settle(right)
	return nil
}

// settle notes the verdict and tells whoever waits for it.
func (b *body) settle(v verdict) {
	b.settled = v
	switch {
	case b.shadow: // what is only recorded can be recorded here
		b.f.conclude(b.x, b)
	case b.waiting:
		b.waiting = false
		f := b.f
		b.wake.Soon(func(x *gateway.Exchange) gateway.Verdict { return f.conclude(x, b) })
	}
}

// Release is for gateway.Stage.
func (b *body) Release(p *buf.Pool, _ bool) {
	b.held.Release(p)
	l := b.loop
	b.f, b.x, b.loop, b.wake = nil, nil, nil, gateway.Wake{}
	if len(l.free) < freeMax {
		l.free = append(l.free, b)
	}
}

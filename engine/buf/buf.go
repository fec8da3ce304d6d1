// Package buf is the memory that bytes travel in: pooled chunks, and chains of them.
//
// A Buf has exactly one holder at any time. It is taken from a Pool, filled, handed on whole from chain to chain (a body
// passes from the upstream's socket to the client's without being copied), and given back by whoever holds it last. A
// connection with nothing to say holds none.
//
// Pools and everything taken from them belong to one loop: nothing here is safe for concurrent use, and nothing locks.
// The package knows neither sockets nor protocols.
package buf

import (
	"github.com/yumen-io/yumen/internal/invariant"
)

// Two sizes of chunk. Small holds a message head with a short body, which is what most requests are: sixty-four
// of them fit in 256 kB of cache. Large is what a receive reads into: big enough that a body costs few system calls,
// small enough that two of them on each side of a slow reader stay below 256 kB.
const (
	Small = 4 << 10
	Large = 64 << 10
)

// Buf is a chunk of memory with a window of unread bytes in it.
type Buf struct {
	next *Buf // in the holder's chain, or in the pool's free list
	data []byte
	r, w int // data[r:w] is unread
}

// Bytes returns the unread bytes. They are valid until the Buf is read from, handed on or released.
func (b *Buf) Bytes() []byte { return b.data[b.r:b.w] }

// Room returns the free space behind the unread bytes; what was put there is made readable by Fill.
func (b *Buf) Room() []byte { return b.data[b.w:] }

// Fill makes the first n bytes of Room readable.
func (b *Buf) Fill(n int) { b.w += n }

// Pool keeps free chunks for one loop.
type Pool struct {
	small, large freeList
	inUse        int // bytes in chunks that are out
	limit        int
}

type freeList struct {
	head *Buf
	n    int
}

// What a pool keeps of free chunks; beyond it they go to the garbage collector, so that one burst of large bodies is
// not paid for ever after.
const (
	smallKept = 1024 // 4 MB
	largeKept = 64   // 4 MB
)

// NewPool returns a pool that reports pressure once limit bytes are out. Zero means no limit.
func NewPool(limit int) *Pool { return &Pool{limit: limit} }

// InUse returns the bytes in chunks that are out.
func (p *Pool) InUse() int { return p.inUse }

// Pressed tells that as much is out as the limit allows. A pool never refuses: whoever is about to begin something new
// (accept a connection, read a further part of a body) asks first and waits instead, while what has begun can end.
func (p *Pool) Pressed() bool { return p.limit > 0 && p.inUse >= p.limit }

// Get returns an empty Buf with room for at least n bytes: a Small, a Large, or, above that, one made to measure
// which is not kept afterwards.
func (p *Pool) Get(n int) *Buf {
	var b *Buf
	switch {
	case n <= Small:
		b = p.small.take(Small)
	case n <= Large:
		b = p.large.take(Large)
	default:
		b = &Buf{data: make([]byte, n)}
	}
	p.inUse += len(b.data)
	return b
}

// Put takes back a Buf from its last holder.
func (p *Pool) Put(b *Buf) {
	p.inUse -= len(b.data)
	invariant.Poison(b.data)
	b.r, b.w, b.next = 0, 0, nil
	switch len(b.data) {
	case Small:
		p.small.keep(b, smallKept)
	case Large:
		p.large.keep(b, largeKept)
	}
}

// slab is how many Small chunks are made at once, side by side, so that a busy turn touches few pages.
const slab = 16

func (f *freeList) take(size int) *Buf {
	if f.head == nil {
		f.grow(size)
	}
	b := f.head
	f.head, b.next = b.next, nil
	f.n--
	return b
}

func (f *freeList) grow(size int) {
	count := 1
	if size == Small {
		count = slab
	}
	bufs, data := make([]Buf, count), make([]byte, count*size)
	for i := range bufs {
		bufs[i].data = data[i*size : (i+1)*size : (i+1)*size]
		bufs[i].next = f.head
		f.head = &bufs[i]
	}
	f.n += count
}

func (f *freeList) keep(b *Buf, most int) {
	if f.n >= most {
		return
	}
	b.next = f.head
	f.head = b
	f.n++
}

package buf

// Chain is a queue of bytes in chunks: bytes are added at the back and taken from the front. The zero value is empty and
// holds no memory; a chain that becomes empty gives its chunks back at once.
type Chain struct {
	first, last *Buf
	n           int
}

// Len returns the number of bytes in the chain.
func (c *Chain) Len() int { return c.n }

// Front returns the first run of bytes that lie side by side, nil if the chain is empty. Valid until the chain changes.
func (c *Chain) Front() []byte {
	b := c.first
	for b != nil && b.r == b.w {
		b = b.next // a chunk that Room asked for, nobody filled, and others were put behind
	}
	if b == nil {
		return nil
	}
	return b.Bytes()
}

// Room returns at least n bytes of free space at the back, in one piece; Fill makes what was written there part of the
// chain. The Room must be filled before anything else is done to the chain.
func (c *Chain) Room(p *Pool, n int) []byte {
	if c.last == nil || len(c.last.data)-c.last.w < n {
		c.push(p.Get(n))
	}
	return c.last.Room()
}

// Fill adds the first n bytes of the Room that was asked for last.
func (c *Chain) Fill(n int) {
	c.last.Fill(n)
	c.n += n
}

// Append copies b to the back.
func (c *Chain) Append(p *Pool, b []byte) {
	for len(b) > 0 {
		if c.last == nil || c.last.w == len(c.last.data) {
			c.push(p.Get(min(len(b), Large)))
		}
		n := copy(c.last.Room(), b)
		c.Fill(n)
		b = b[n:]
	}
}

// AppendString copies s to the back.
func (c *Chain) AppendString(p *Pool, s string) {
	for len(s) > 0 {
		if c.last == nil || c.last.w == len(c.last.data) {
			c.push(p.Get(min(len(s), Large)))
		}
		n := copy(c.last.Room(), s)
		c.Fill(n)
		s = s[n:]
	}
}

// Take moves the first n bytes of src, which must hold them, to the back of c. Chunks that are at least half full change
// hands without being copied. The others are copied, which packs them: a chain of nearly empty chunks would hold many times
// the memory that its length says, and a slow reader would be paid for with it.
func (c *Chain) Take(p *Pool, src *Chain, n int) {
	for n > 0 {
		b := src.first
		have := b.w - b.r
		if have <= n && have >= len(b.data)/2 {
			src.first, b.next = b.next, nil
			if src.first == nil {
				src.last = nil
			}
			src.n -= have
			c.push(b)
			c.n += have
			n -= have
			continue
		}
		part := b.data[b.r : b.r+min(have, n)]
		c.Append(p, part)
		src.Skip(p, len(part))
		n -= len(part)
	}
}

// Skip drops the first n bytes, which must be there.
func (c *Chain) Skip(p *Pool, n int) {
	c.n -= n
	for n > 0 {
		b := c.first
		have := b.w - b.r
		if n < have {
			b.r += n
			return
		}
		n -= have
		c.pop(p)
	}
	// A chunk may be left that Room asked for and nobody filled.
	for c.first != nil && c.first.r == c.first.w {
		c.pop(p)
	}
}

// Pull makes at least the first n bytes (which must be there) lie side by side and returns the front. A parser that
// wants a whole line asks for it; most of the time they lie so already.
func (c *Chain) Pull(p *Pool, n int) []byte {
	if c.first == nil || c.first.w-c.first.r >= n {
		return c.Front()
	}
	whole := p.Get(n)
	for n > 0 {
		b := c.first
		part := b.data[b.r:min(b.w, b.r+n)]
		whole.Fill(copy(whole.Room(), part))
		n -= len(part)
		c.Skip(p, len(part))
		c.n += len(part)
	}
	whole.next = c.first
	c.first = whole
	if c.last == nil {
		c.last = whole
	}
	return whole.Bytes()
}

// Pieces appends the chain's runs of bytes to v, at most as many as v has capacity for, for a gathering write.
func (c *Chain) Pieces(v [][]byte) [][]byte {
	for b := c.first; b != nil && len(v) < cap(v); b = b.next {
		if b.w > b.r {
			v = append(v, b.Bytes())
		}
	}
	return v
}

// MoveTo appends everything in c to the back of dst without copying and leaves c empty.
func (c *Chain) MoveTo(dst *Chain) {
	if c.first == nil {
		return
	}
	if dst.last == nil {
		*dst = *c
	} else {
		dst.last.next = c.first
		dst.last = c.last
		dst.n += c.n
	}
	*c = Chain{}
}

// Release gives everything back.
func (c *Chain) Release(p *Pool) {
	for c.first != nil {
		c.pop(p)
	}
	c.n = 0
}

// Push adds a filled Buf to the back and becomes its holder.
func (c *Chain) Push(b *Buf) {
	c.n += b.w - b.r
	c.push(b)
}

func (c *Chain) push(b *Buf) {
	if c.last == nil {
		c.first = b
	} else {
		c.last.next = b
	}
	c.last = b
}

func (c *Chain) pop(p *Pool) {
	b := c.first
	c.first = b.next
	if c.first == nil {
		c.last = nil
	}
	p.Put(b)
}

// CopyFrom copies the first n bytes of src, which must hold them, to the back of c and leaves them in src.
func (c *Chain) CopyFrom(p *Pool, src *Chain, n int) {
	for b := src.first; n > 0; b = b.next {
		part := b.data[b.r:min(b.w, b.r+n)]
		c.Append(p, part)
		n -= len(part)
	}
}

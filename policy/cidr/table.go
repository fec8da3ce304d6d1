package cidr

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Entry is a network and what is said of it.
type Entry struct {
	Prefix netip.Prefix
	Value  uint32
}

// Found is the longest network of an address.
type Found struct {
	Value uint32
	Bits  uint8 // length of the network; of an IPv4-mapped one, its length as IPv4
	OK    bool  // false: no network has the address
}

// Table is a set of networks. It is immutable, and may be asked from any goroutine. The zero value has no networks.
type Table struct {
	nodes  []node
	leaves []Found
	roots  [2]uint32 // of IPv4 and IPv6, plus one; 0: there is no network of the kind
	len    int
}

// node is a step of six bits. It takes one line of the cache.
type node struct {
	hi, lo    uint64 // the bits that everything below has in common, depth of them
	children  uint64 // slots that lead to a node, nodes[firstChild+n]
	runs      uint64 // slots with which a run of leaves begins, leaves[firstLeaf+n]; slot 0 always does
	otherwise Found  // of addresses that do not have these bits
	only      Found  // where there is one run and no child, as in most nodes: its value, so that no leaf is read

	firstChild, firstLeaf uint32
	depth                 uint8
	plain                 bool // only is the answer
}

// stride is how many bits a node decides by: 64 slots are one word.
const stride = 6

// Compile makes a table. A network that is there twice has the value of its last entry. Bits of an entry outside of its
// mask are ignored; entries that are not valid too.
func Compile(entries []Entry) *Table {
	var of [2][]item
	for _, e := range entries {
		if i, family, ok := itemOf(e); ok {
			of[family] = append(of[family], i)
		}
	}
	t := &Table{}
	for family := range of {
		list := of[family]
		slices.SortStableFunc(list, compare)
		list = lastOfEach(list)
		t.len += len(list)
		if len(list) > 0 {
			at := t.reserve(1)
			t.roots[family] = at + 1
			t.build(at, list, Found{})
		}
	}
	return t
}

// Len is the number of different networks.
func (t *Table) Len() int { return t.len }

// Lookup returns the longest network that has the address. Its zone does not matter.
func (t *Table) Lookup(a netip.Addr) Found {
	hi, lo, family, ok := key(a)
	if !ok || t.roots[family] == 0 {
		return Found{}
	}
	n := &t.nodes[t.roots[family]-1]
	for {
		if (hi^n.hi)&maskHi(n.depth) != 0 || n.depth > 64 && (lo^n.lo)&maskLo(n.depth) != 0 {
			return n.otherwise
		}
		if n.plain {
			return n.only
		}
		slot := slotAt(hi, lo, n.depth)
		below := uint64(1)<<slot - 1
		if n.children&(below+1) != 0 {
			n = &t.nodes[n.firstChild+uint32(bits.OnesCount64(n.children&below))]
			continue
		}
		return t.leaves[n.firstLeaf+uint32(bits.OnesCount64(n.runs&(below<<1|1)))-1]
	}
}

// key is an address as the tries have it: an IPv4 address is the upper half of hi.
func key(a netip.Addr) (hi, lo uint64, family int, ok bool) {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:])) << 32, 0, 0, true
	}
	b := a.As16() // of no address at all too, which is found out below: it is rare
	hi, lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if hi == 0 {
		switch {
		case lo>>32 == 0xffff:
			return lo << 32, 0, 0, true
		case !a.IsValid():
			return 0, 0, 0, false
		}
	}
	return hi, lo, 1, true
}

// maskHi and maskLo are the first depth bits of a key. A shift by 64 and more leaves nothing.
func maskHi(depth uint8) uint64 { return ^(^uint64(0) >> depth) }

func maskLo(depth uint8) uint64 {
	if depth <= 64 {
		return 0
	}
	return ^(^uint64(0) >> (depth - 64))
}

// slotAt is the six bits after depth; beyond the end of a key there are zeros.
func slotAt(hi, lo uint64, depth uint8) uint {
	if depth >= 64 {
		return uint(lo << (depth - 64) >> (64 - stride))
	}
	return uint((hi<<depth | lo>>(64-depth)) >> (64 - stride))
}

// item is an entry while a table is made of it.
type item struct {
	hi, lo uint64
	found  Found
}

func itemOf(e Entry) (i item, family int, ok bool) {
	if !e.Prefix.IsValid() {
		return i, 0, false
	}
	length := e.Prefix.Bits()
	if e.Prefix.Addr().Is4In6() {
		if length < 96 { // it holds more than IPv4, whatever its own address is
			b := e.Prefix.Masked().Addr().As16()
			i.hi, i.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
			i.found = Found{e.Value, uint8(length), true}
			return i, 1, true
		}
		length -= 96
	}
	i.hi, i.lo, family, ok = key(e.Prefix.Addr())
	i.hi &= maskHi(uint8(length))
	i.lo &= maskLo(uint8(length))
	i.found = Found{e.Value, uint8(length), true}
	return i, family, ok
}

// compare sorts by address, and networks before those inside them.
func compare(a, b item) int {
	switch {
	case a.hi != b.hi:
		return order(a.hi < b.hi)
	case a.lo != b.lo:
		return order(a.lo < b.lo)
	}
	return int(a.found.Bits) - int(b.found.Bits)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// lastOfEach keeps the last of equal networks.
func lastOfEach(list []item) []item {
	out := list[:0]
	for i := range list {
		if n := len(out); n > 0 && compare(out[n-1], list[i]) == 0 {
			out[n-1] = list[i]
			continue
		}
		out = append(out, list[i])
	}
	return out
}

// reserve makes room for n nodes beside each other and returns the number of the first.
func (t *Table) reserve(n int) uint32 {
	at := uint32(len(t.nodes))
	t.nodes = append(t.nodes, make([]node, n)...)
	return at
}

// build fills a node. list is sorted and not empty; outer is the longest network around all of it.
func (t *Table) build(at uint32, list []item, outer Found) {
	n := node{hi: list[0].hi, lo: list[0].lo, otherwise: outer, depth: common(list)}
	n.hi &= maskHi(n.depth)
	n.lo &= maskLo(n.depth)
	var slots [1 << stride]Found
	for i := range slots {
		slots[i] = outer
	}
	// Sorted as the list is, a longer network comes after those around it and overwrites them.
	for i := range list {
		e := &list[i]
		if e.found.Bits > n.depth+stride {
			continue
		}
		first := slotAt(e.hi, e.lo, n.depth)
		for s := first; s < first+1<<(n.depth+stride-e.found.Bits); s++ {
			slots[s] = e.found
		}
	}
	n.firstLeaf = uint32(len(t.leaves))
	for s, f := range slots {
		if s == 0 || f != slots[s-1] {
			n.runs |= 1 << s
			t.leaves = append(t.leaves, f)
		}
	}
	// What is longer goes on below its slot.
	var parts [][]item
	var where []uint
	for i := 0; i < len(list); {
		slot := slotAt(list[i].hi, list[i].lo, n.depth)
		from := i
		for i < len(list) && slotAt(list[i].hi, list[i].lo, n.depth) == slot {
			i++
		}
		// Networks that end here come first; those sharing a slot with longer ones begin at its start.
		for from < i && list[from].found.Bits <= n.depth+stride {
			from++
		}
		if from < i {
			parts, where = append(parts, list[from:i]), append(where, slot)
			n.children |= 1 << slot
		}
	}
	if n.plain = n.children == 0 && n.runs == 1; n.plain {
		n.only = slots[0]
		t.leaves = t.leaves[:n.firstLeaf]
	}
	n.firstChild = t.reserve(len(parts))
	t.nodes[at] = n
	for i, part := range parts {
		t.build(n.firstChild+uint32(i), part, slots[where[i]])
	}
}

// common is how many bits all networks of a sorted list have in common, none of which ends before.
func common(list []item) uint8 {
	first, last := &list[0], &list[len(list)-1]
	shared := bits.LeadingZeros64(first.hi ^ last.hi)
	if shared == 64 {
		shared += bits.LeadingZeros64(first.lo ^ last.lo)
	}
	for i := range list {
		shared = min(shared, int(list[i].found.Bits))
	}
	return uint8(shared)
}

package route

import (
	"encoding/binary"
	"hash/maphash"
)

// index is a flat hash table from (owner, bytes) to a number: linear probing, nothing ever removed. One index holds what
// would otherwise be thousands of small maps, one per owner. The seed has no effect on what is found, only on where it
// lies.
//
// At 100,000 routes a lookup costs what it misses in the caches. A slot is therefore eight bytes, so that the slots of a
// large index still fit a second-level cache, and only a slot whose hash agrees leads to the record with owner, value and
// key, side by side. Slots of 32 bytes that held short keys themselves were tried first: they missed at every probe, those
// of absent keys included.
type index struct {
	seed    maphash.Seed
	slots   []slot // a power of two, at most half full
	records []byte // owner, value, size of the key, key
	n       int
}

// slot is one entry.
type slot struct {
	hash   uint32
	record uint32 // where the record begins, plus one; 0 marks an empty slot
}

const indexSlotsMin = 16

// Offsets in a record.
const (
	recordValue = 4
	recordSize  = 8
	recordKey   = 10
)

func newIndex(seed maphash.Seed) index { return index{seed: seed, slots: make([]slot, indexSlotsMin)} }

func (x *index) hash(owner uint32, key []byte) uint32 {
	h := maphash.Bytes(x.seed, key) ^ uint64(owner)*0x9e3779b97f4a7c15
	return uint32((h * 0xff51afd7ed558ccd) >> 32)
}

// find returns the number stored for key.
func (x *index) find(owner uint32, key []byte) (value uint32, ok bool) {
	h := x.hash(owner, key)
	mask := uint32(len(x.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s.record == 0 {
			return 0, false
		}
		if s.hash != h {
			continue
		}
		r := x.records[s.record-1:]
		if binary.LittleEndian.Uint32(r) != owner {
			continue
		}
		if size := int(binary.LittleEndian.Uint16(r[recordSize:])); size == len(key) && string(r[recordKey:recordKey+size]) == string(key) {
			return binary.LittleEndian.Uint32(r[recordValue:]), true
		}
	}
}

// add stores a key that is not there yet, of less than 64 kB: patterns and values compared with are far shorter.
func (x *index) add(owner uint32, key []byte, value uint32) {
	if 2*(x.n+1) > len(x.slots) {
		old := x.slots
		x.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.record != 0 {
				x.put(s)
			}
		}
	}
	x.put(slot{x.hash(owner, key), uint32(len(x.records)) + 1})
	x.n++
	x.records = binary.LittleEndian.AppendUint32(x.records, owner)
	x.records = binary.LittleEndian.AppendUint32(x.records, value)
	x.records = binary.LittleEndian.AppendUint16(x.records, uint16(len(key)))
	x.records = append(x.records, key...)
}

func (x *index) put(s slot) {
	mask := uint32(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].record != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// renumber replaces every value by what f makes of it.
func (x *index) renumber(f func(value uint32) uint32) {
	for _, s := range x.slots {
		if s.record != 0 {
			v := x.records[s.record-1+recordValue:]
			binary.LittleEndian.PutUint32(v, f(binary.LittleEndian.Uint32(v)))
		}
	}
}

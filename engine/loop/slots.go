package loop

// word is what the kernel hands back with an event: a slot in its low half, the slot's generation in the high one. A
// descriptor would not do: the batch of events being worked off may hold one for a descriptor that was closed, and
// opened again for another connection, a few events earlier.
type word uint64

func makeWord(slot, generation uint32) word { return word(slot) | word(generation)<<32 }

func (w word) slot() uint32       { return uint32(w) }
func (w word) generation() uint32 { return uint32(w >> 32) }

// wakeSlot is the slot of the poller's own wake-up event. No socket ever gets it.
const wakeSlot = 0

// slots is the table from an event's word to its socket. A slot keeps its number for as long as the socket is
// registered; giving it back raises the generation, and so every word handed out before is stale.
// The table grows with the largest number of sockets ever open (16 bytes each) and does not shrink.
type slots struct {
	entries []slot
	free    uint32 // first free slot, a list through slot.next; wakeSlot ends it
}

type slot struct {
	socket     *Socket // nil while free
	generation uint32
	next       uint32 // next free slot while free
}

func makeSlots() slots { return slots{entries: make([]slot, 1, 64)} }

// take gives the socket a slot: the one freed last, for its cache line is warm.
func (t *slots) take(s *Socket) uint32 {
	i := t.free
	if i == wakeSlot {
		i = uint32(len(t.entries))
		t.entries = append(t.entries, slot{})
	}
	e := &t.entries[i]
	t.free = e.next
	e.socket, e.next = s, wakeSlot
	return i
}

func (t *slots) release(i uint32) {
	e := &t.entries[i]
	e.socket = nil
	e.generation++ // wraps after 2^32 uses of one slot; a word does not live that long
	e.next, t.free = t.free, i
}

func (t *slots) word(i uint32) word { return makeWord(i, t.entries[i].generation) }

// lookup returns the socket the word was made for, or nil if the word is stale.
func (t *slots) lookup(w word) *Socket {
	i := w.slot()
	if int(i) >= len(t.entries) || t.entries[i].generation != w.generation() {
		return nil
	}
	return t.entries[i].socket
}

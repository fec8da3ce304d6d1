package shard

import (
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Slot is the slot of a number among slots, which is a power of two: the low bits of XXH64 with seed 0 over its decimal
// form. Rows lie where this says, so it never changes; a test holds it to values from outside.
func Slot(key int64, slots int) int {
	var b [20]byte
	return hashSlot(strconv.AppendInt(b[:0], key, 10), slots)
}

// SlotOfString is Slot for keys that are text, by its bytes. A number and its decimal form have the same slot. Upper and
// lower case differ, whatever the collation of a column thinks.
func SlotOfString(key string, slots int) int { return int(xxhash.Sum64String(key) & uint64(slots-1)) }

func hashSlot(key []byte, slots int) int { return int(xxhash.Sum64(key) & uint64(slots-1)) }

// IDBits says where an id has its slot: in the Width bits above its Below lowest ones. For a layout l of kit/id these are
//
//	shard.IDBits{Below: l.WorkerBits + l.SequenceBits, Width: l.ShardBits + l.TableBits}
//
// and the id for a slot is made with shard number slot >> l.TableBits and table number slot & (l.Tables() - 1). A map
// for such ids has 2 to the power of Width slots. The bits name the slot for ever, and the map says where that is.
type IDBits struct {
	Below uint8 // 0 to 62
	Width uint8 // 0: ids have no slot
}

func (b IDBits) slot(id int64) (int, error) {
	if b.Width == 0 {
		return 0, fmt.Errorf("shard: Config.IDBits is not set, and ids have no slot of their own: %w", ErrNoSlot)
	}
	if id < 0 {
		return 0, fmt.Errorf("shard: %d is negative and no id: %w", id, ErrNoSlot)
	}
	return int(uint64(id) >> b.Below & (1<<b.Width - 1)), nil
}

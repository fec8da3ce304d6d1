package id

import (
	"errors"
	"fmt"
	"time"
)

// Layout says which bits of an id hold what. From the highest bit down an id is
//
//	0 | time | shard | table | worker | sequence
//
// so that ids sort by time first, and a run of ids of one millisecond, table and worker is a run of numbers. The bit
// above the time is 0 always (the sign of an int64); where the widths add up to less than 63, so are the bits below it.
//
// All programs that make or read ids of one kind must have the same layout, epoch included. The zero Layout stands for
// Seed().
type Layout struct {
	// Epoch is the moment from which the time is counted, in whole milliseconds. Zero: 2025-01-01 00:00 UTC.
	Epoch time.Time
	// TimeBits counts milliseconds since Epoch: 38 (8.7 years) to 46 bits; 41 last 69.7 years.
	TimeBits uint8
	// ShardBits number the database: 0 to 16, and ShardBits + TableBits at most 16.
	ShardBits uint8
	// TableBits number the table in a database: 0 to 16.
	TableBits uint8
	// WorkerBits number the process that made the id: 0 to 10. With 0 there is one generator in the world.
	WorkerBits uint8
	// SequenceBits number the ids of one millisecond, table and worker: 1 to 20.
	SequenceBits uint8
}

// Seed is the layout 41/2/4/4/12: 41 bits of milliseconds, 4 databases of 16 tables, 16 workers, and 4096 ids a
// millisecond for each table and worker. The worker stands in the four bits that time, shard, table and sequence leave
// free below the sign.
func Seed() Layout {
	return Layout{TimeBits: 41, ShardBits: 2, TableBits: 4, WorkerBits: 4, SequenceBits: 12}
}

// DB32 is the layout 41/5/3/6/8: 41 bits of milliseconds, 32 databases of 8 tables, 64 workers, and 256 ids a
// millisecond for each table and worker.
func DB32() Layout {
	return Layout{TimeBits: 41, ShardBits: 5, TableBits: 3, WorkerBits: 6, SequenceBits: 8}
}

// Bounds of a layout, each with its reason.
const (
	timeBitsMin     = 38 // fewer than 8.7 years is a mistake, not a wish
	timeBitsMax     = 46 // 2231 years; the bits are worth more elsewhere
	placeBitsMax    = 16 // shard and table: a generator keeps 64 bytes for each table, so 4 MiB at most
	workerBitsMax   = 10 // each number is two keys in etcd, and all of them are read at a claim
	sequenceBitsMax = 20 // a thousand ids a microsecond
	idBits          = 63
)

// epochDefault is 2025-01-01 00:00 UTC in Unix milliseconds.
const epochDefault = 1_735_689_600_000

// Validate checks all of the layout and names each field that is wrong. The zero Layout is valid.
func (l Layout) Validate() error {
	l = l.orDefault()
	var errs []error
	within := func(name string, bits uint8, low, high int) {
		if int(bits) < low || int(bits) > high {
			errs = append(errs, fmt.Errorf("%s is %d and must be %d to %d", name, bits, low, high))
		}
	}
	within("TimeBits", l.TimeBits, timeBitsMin, timeBitsMax)
	within("ShardBits", l.ShardBits, 0, placeBitsMax)
	within("TableBits", l.TableBits, 0, placeBitsMax)
	within("WorkerBits", l.WorkerBits, 0, workerBitsMax)
	within("SequenceBits", l.SequenceBits, 1, sequenceBitsMax)
	if n := int(l.ShardBits) + int(l.TableBits); n > placeBitsMax {
		errs = append(errs, fmt.Errorf("ShardBits + TableBits is %d and must be at most %d", n, placeBitsMax))
	}
	if n := l.sum(); n > idBits {
		errs = append(errs, fmt.Errorf("the widths add up to %d bits and must be at most %d", n, idBits))
	}
	if l.Epoch.Nanosecond()%int(time.Millisecond) != 0 {
		errs = append(errs, fmt.Errorf("the Epoch is %s and must be a whole millisecond", l.Epoch.Format(time.RFC3339Nano)))
	}
	if y := l.Epoch.Year(); y < 1970 || y > 2200 {
		errs = append(errs, fmt.Errorf("the Epoch is in the year %d and must be in 1970 to 2200", y))
	}
	if len(errs) > 0 {
		return fmt.Errorf("id: layout: %w", errors.Join(errs...))
	}
	return nil
}

// String writes the widths and the epoch: "41/2/4/4/12 since 2025-01-01T00:00:00Z". Equal layouts have equal texts.
func (l Layout) String() string {
	l = l.orDefault()
	return fmt.Sprintf("%d/%d/%d/%d/%d since %s", l.TimeBits, l.ShardBits, l.TableBits, l.WorkerBits, l.SequenceBits,
		l.Epoch.UTC().Format("2006-01-02T15:04:05.999Z07:00"))
}

// Shards is how many databases the layout has; a number is 0 to one less, here and below.
func (l Layout) Shards() int { return 1 << l.orDefault().ShardBits }

// Tables is how many tables the layout has in each shard.
func (l Layout) Tables() int { return 1 << l.orDefault().TableBits }

// Workers is how many worker numbers the layout has.
func (l Layout) Workers() int { return 1 << l.orDefault().WorkerBits }

// Sequences is how many ids one worker can make for one table in one millisecond.
func (l Layout) Sequences() int { return 1 << l.orDefault().SequenceBits }

// Last is the last millisecond that the layout can name.
func (l Layout) Last() time.Time {
	l = l.orDefault()
	return time.UnixMilli(l.epochMS() + 1<<l.TimeBits - 1).UTC()
}

// Parts is an id taken apart.
type Parts struct {
	Time     time.Time // of the millisecond in which the id was made, UTC
	Shard    int
	Table    int
	Worker   int
	Sequence int
}

// Parse takes an id apart. It fails with ErrOutOfRange where the id is negative or has bits above the layout's.
// That the id was ever given out it cannot know.
func (l Layout) Parse(v ID) (Parts, error) {
	l = l.orDefault()
	if v < 0 || uint64(v)>>l.sum() != 0 {
		return Parts{}, fmt.Errorf("id: %d is not of the layout %s: %w", int64(v), l, ErrOutOfRange)
	}
	u := uint64(v)
	take := func(bits uint8) uint64 {
		part := u & (1<<bits - 1)
		u >>= bits
		return part
	}
	var p Parts
	p.Sequence = int(take(l.SequenceBits))
	p.Worker = int(take(l.WorkerBits))
	p.Table = int(take(l.TableBits))
	p.Shard = int(take(l.ShardBits))
	p.Time = time.UnixMilli(l.epochMS() + int64(u)).UTC()
	return p, nil
}

// Make is the inverse of Parse; the time is cut to its millisecond. It fails with ErrOutOfRange where a part does not
// fit. Use it for bounds of queries and in tests: an id that nobody's generator made is nobody's promise.
func (l Layout) Make(p Parts) (ID, error) {
	l = l.orDefault()
	tick := p.Time.UnixMilli() - l.epochMS()
	if tick < 0 || tick>>l.TimeBits != 0 {
		return 0, fmt.Errorf("id: time %s is not in the layout's %s to %s: %w", p.Time.UTC().Format(time.RFC3339Nano),
			l.Epoch.UTC().Format(time.RFC3339), l.Last().Format(time.RFC3339), ErrOutOfRange)
	}
	v := uint64(tick)
	for _, part := range []struct {
		name string
		n    int
		bits uint8
	}{
		{"shard", p.Shard, l.ShardBits}, {"table", p.Table, l.TableBits},
		{"worker", p.Worker, l.WorkerBits}, {"sequence", p.Sequence, l.SequenceBits},
	} {
		if part.n < 0 || part.n>>part.bits != 0 {
			return 0, rangeError(part.name, part.n, part.bits)
		}
		v = v<<part.bits | uint64(part.n)
	}
	return ID(v), nil
}

// First is the lowest id that can have been made in the millisecond of t or later, clamped to what the layout can name: the bound of a
// query by time, `WHERE id >= First(from) AND id < First(to)`.
func (l Layout) First(t time.Time) ID {
	l = l.orDefault()
	tick := min(max(t.UnixMilli()-l.epochMS(), 0), 1<<l.TimeBits-1)
	return ID(uint64(tick) << (l.sum() - int(l.TimeBits)))
}

func rangeError(name string, n int, bits uint8) error {
	return fmt.Errorf("id: %s is %d and must be 0 to %d: %w", name, n, 1<<bits-1, ErrOutOfRange)
}

// orDefault fills in what is left out; only a layout without any width is taken for Seed.
func (l Layout) orDefault() Layout {
	if l.sum() == 0 {
		epoch := l.Epoch
		l = Seed()
		l.Epoch = epoch
	}
	if l.Epoch.IsZero() {
		l.Epoch = time.UnixMilli(epochDefault).UTC()
	}
	return l
}

func (l Layout) sum() int {
	return int(l.TimeBits) + int(l.ShardBits) + int(l.TableBits) + int(l.WorkerBits) + int(l.SequenceBits)
}

func (l Layout) epochMS() int64 { return l.Epoch.UnixMilli() }

package shard

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Bounds of a map, each with its reason.
const (
	// SlotsDefault is how many slots keys are hashed to.
	SlotsDefault = 1024
	slotsMax     = 65536 // the 16 bits that an id of kit/id can spare for its place
	databasesMax = 1024  // each is a pool of connections in each process
	tablesMax    = 1000  // of one name in one database; more is a matter for partitions
)

// Place is a table of each name in one database: number 7 of `orders` is the table orders_07.
type Place struct {
	Database int `json:"database"` // index in Config.Databases
	Table    int `json:"table"`    // 0 to Tables-1
}

// String writes a place as "3/07".
func (p Place) String() string { return fmt.Sprintf("%d/%02d", p.Database, p.Table) }

// Phase is how far a move is, as Map.Moves tells it.
type Phase string

// The phases in order. When a move has ended, the map does not have it any more.
const (
	// Copying: each write goes to both places, and the rows that were there before are being copied.
	Copying Phase = "copying"
	// Verifying: all was copied. Both places are compared as a whole while nobody writes to the slot, and then switched.
	Verifying Phase = "verifying"
	// Cleaning: the slot is at its new place; the rows at the old one go once nobody can read them.
	Cleaning Phase = "cleaning"
	// Aborting: the slot stays where it was, and the rows at the new place go.
	Aborting Phase = "aborting"
)

// Move is a slot on its way.
type Move struct {
	Slot  int    `json:"slot"`
	From  Place  `json:"from"`
	To    Place  `json:"to"`
	Phase Phase  `json:"phase"`
	Epoch uint64 `json:"epoch"` // the version of the map that began it; no two moves share one
}

// Map says where each slot is. It never changes: a move makes another one with the next version. The zero Map is not
// valid; Even makes the first one, ParseMap and UnmarshalJSON read one and check all of it.
type Map struct {
	version   uint64
	databases int
	tables    int
	places    []Place
	moves     []Move
}

// Even spreads slots (0 means 1,024) over databases with tables of each name, in runs: slot 0 is in the first table of
// the first database, the last one in the last table of the last. The number of slots is a power of two and at least
// databases times tables, and can never change, nor can the number of tables.
func Even(databases, tables, slots int) (*Map, error) {
	if slots == 0 {
		slots = SlotsDefault
	}
	m := &Map{version: 1, databases: databases, tables: tables}
	if err := m.validateSize(slots); err != nil {
		return nil, err
	}
	if n := databases * tables; n > slots {
		return nil, fmt.Errorf("shard: %d databases of %d tables are %d places and must be at most the %d slots: %w", databases, tables, n, slots, ErrMap)
	}
	m.places = make([]Place, slots)
	for slot := range m.places {
		n := slot * databases * tables / slots
		m.places[slot] = Place{Database: n / tables, Table: n % tables}
	}
	return m, nil
}

// Version counts the changes, from 1.
func (m *Map) Version() uint64 { return m.version }

// Databases is how many databases the map knows. Some may have no slot.
func (m *Map) Databases() int { return m.databases }

// Tables is how many tables of each name a database has.
func (m *Map) Tables() int { return m.tables }

// Slots is how many slots there are.
func (m *Map) Slots() int { return len(m.places) }

// Place is where a slot is read. It panics for a slot that is not 0 to Slots()-1.
func (m *Map) Place(slot int) Place { return m.places[slot] }

// Moves are the slots on their way, by slot.
func (m *Map) Moves() []Move { return slices.Clone(m.moves) }

// Move is the move of a slot, if it is on its way.
func (m *Map) Move(slot int) (Move, bool) {
	i := slices.IndexFunc(m.moves, func(v Move) bool { return v.Slot == slot })
	if i < 0 {
		return Move{}, false
	}
	return m.moves[i], true
}

// mapJSON is a map on paper. Slots are numbered places, database times tables plus table, which keeps 1,024 of them in a few kB.
type mapJSON struct {
	Version   uint64 `json:"version"`
	Databases int    `json:"databases"`
	Tables    int    `json:"tables"`
	Slots     []int  `json:"slots"`
	Moves     []Move `json:"moves,omitempty"`
}

// MarshalJSON writes {"version":1,"databases":2,"tables":4,"slots":[0,0,1,...],"moves":[...]}; a number in slots is the
// database times tables plus the table.
func (m *Map) MarshalJSON() ([]byte, error) {
	j := mapJSON{Version: m.version, Databases: m.databases, Tables: m.tables, Moves: m.moves, Slots: make([]int, len(m.places))}
	for i, p := range m.places {
		j.Slots[i] = p.Database*m.tables + p.Table
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes and checks all of it. Errors are ErrMap.
func (m *Map) UnmarshalJSON(b []byte) error {
	var j mapJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("shard: reading a map: %w: %w", ErrMap, err)
	}
	n := Map{version: j.Version, databases: j.Databases, tables: j.Tables, moves: j.Moves}
	if err := n.validateSize(len(j.Slots)); err != nil {
		return err
	}
	n.places = make([]Place, len(j.Slots))
	for i, s := range j.Slots {
		if s < 0 || s >= n.databases*n.tables {
			return fmt.Errorf("shard: slot %d is in place %d and must be in 0 to %d: %w", i, s, n.databases*n.tables-1, ErrMap)
		}
		n.places[i] = Place{Database: s / n.tables, Table: s % n.tables}
	}
	if err := n.validateMoves(); err != nil {
		return err
	}
	*m = n
	return nil
}

// ParseMap is UnmarshalJSON for those who have no Map yet.
func ParseMap(b []byte) (*Map, error) {
	m := new(Map)
	if err := m.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Map) validateSize(slots int) error {
	var errs []error
	within := func(name string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("%s is %d and must be %d to %d", name, n, low, high))
		}
	}
	within("the number of databases", m.databases, 1, databasesMax)
	within("the number of tables", m.tables, 1, tablesMax)
	within("the number of slots", slots, 1, slotsMax)
	if bits.OnesCount(uint(slots)) != 1 {
		errs = append(errs, fmt.Errorf("the number of slots is %d and must be a power of two", slots))
	}
	if m.version == 0 {
		errs = append(errs, errors.New("the version is 0 and must be at least 1"))
	}
	if len(errs) > 0 {
		return fmt.Errorf("shard: %w: %w", ErrMap, errors.Join(errs...))
	}
	return nil
}

func (m *Map) validateMoves() error {
	within := func(p Place) bool {
		return p.Database >= 0 && p.Database < m.databases && p.Table >= 0 && p.Table < m.tables
	}
	for i, v := range m.moves {
		at := v.From
		if v.Phase == Cleaning {
			at = v.To
		}
		switch {
		case v.Slot < 0 || v.Slot >= len(m.places), i > 0 && m.moves[i-1].Slot >= v.Slot:
			return fmt.Errorf("shard: move %d is of slot %d, which must exist and come after the one before: %w", i, v.Slot, ErrMap)
		case !within(v.From) || !within(v.To) || v.From == v.To:
			return fmt.Errorf("shard: slot %d moves from %s to %s, which must be two places of the map: %w", v.Slot, v.From, v.To, ErrMap)
		case !slices.Contains([]Phase{Copying, Verifying, Cleaning, Aborting}, v.Phase):
			return fmt.Errorf("shard: slot %d moves in phase %q, which does not exist: %w", v.Slot, v.Phase, ErrMap)
		case m.places[v.Slot] != at:
			return fmt.Errorf("shard: slot %d is at %s and must be at %s while it is %s: %w", v.Slot, m.places[v.Slot], at, v.Phase, ErrMap)
		case v.Epoch == 0 || v.Epoch > m.version:
			return fmt.Errorf("shard: the move of slot %d has epoch %d and must have one of 1 to %d: %w", v.Slot, v.Epoch, m.version, ErrMap)
		}
	}
	return nil
}

// next is a copy with the next version.
func (m *Map) next() *Map {
	return &Map{version: m.version + 1, databases: m.databases, tables: m.tables, places: slices.Clone(m.places), moves: slices.Clone(m.moves)}
}

// withMove is the next map, in which v is how its slot moves. A move that is cleaning has its slot at the new place.
func (m *Map) withMove(v Move) *Map {
	n := m.withoutMove(v.Slot)
	n.moves = append(n.moves, v)
	slices.SortFunc(n.moves, func(a, b Move) int { return a.Slot - b.Slot })
	if v.Phase == Cleaning {
		n.places[v.Slot] = v.To
	}
	return n
}

func (m *Map) withoutMove(slot int) *Map {
	n := m.next()
	n.moves = slices.DeleteFunc(n.moves, func(v Move) bool { return v.Slot == slot })
	return n
}

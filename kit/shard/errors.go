package shard

import "errors"

// What a caller may have to tell apart, with errors.Is.
var (
	// ErrCrossShard: keys that are wanted together are in different places, or a transaction of one shard reached for another.
	ErrCrossShard = errors.New("this crosses shards")
	// ErrNested: a shard was used directly inside a transaction of its own, where the transaction has to be used.
	ErrNested = errors.New("inside a transaction, use the transaction")
	// ErrStatement: a statement names no {table}, or one that is not in Config.Tables, or writes where only reading is possible.
	ErrStatement = errors.New("statement refused")
	// ErrNoSlot: what should carry a slot does not.
	ErrNoSlot = errors.New("no slot")
	// ErrNotHere: no place that is known has the slot, or it is being handed over. Nothing was written; trying again is safe.
	ErrNotHere = errors.New("slot is not here")
	// ErrWrongDatabase: a database is not the one that its index in Config.Databases says.
	ErrWrongDatabase = errors.New("wrong database")
	// ErrMap: a map is not valid, or needs databases that the program was not given.
	ErrMap = errors.New("invalid map")
	// ErrNoMap: the store has no map yet.
	ErrNoMap = errors.New("no map")
	// ErrStaleMap: somebody else changed the map in the store first.
	ErrStaleMap = errors.New("the map has changed")
	// ErrDiffers: what was copied is not what was there, and the slot was not switched.
	ErrDiffers = errors.New("the copy differs")
	// ErrSwitched: it is too late to abort a move.
	ErrSwitched = errors.New("the slot is already switched")
	// ErrMoving: the slot is on its way elsewhere.
	ErrMoving = errors.New("the slot is moving")
	// ErrUnknown: a commit got no answer, and may have happened.
	ErrUnknown = errors.New("outcome unknown")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("closed")
)

package limit

import (
	"context"
	"time"
)

// Store counts for all processes that share it. The package kit/limit/redis has one.
type Store interface {
	// Attach begins to judge by a limit, and refuses one that it cannot count exactly. Processes that give the same
	// Name share the limit.
	Attach(Shared) (Source, error)
}

// Source is one limit in a Store. Its methods may be called from any goroutine.
type Source interface {
	// Judge judges a request. It may wait for the store, no longer than ctx or the store's own timeout allow; the error is the
	// context's.
	Judge(ctx context.Context, key string, cost int64) (Verdict, error)
	// Change has other settings hold from now on; name and algorithm stay.
	Change(Shared) error
	// Detach gives back what this process has in hand. Judge must not be called after it.
	Detach()
}

// Shared are the settings of a limit that processes share.
type Shared struct {
	Name string
	// Exact has each request of the last Per remembered and asked for; else processes take tokens in advance.
	Exact         bool
	Count         int64
	Per           time.Duration
	Burst         int64 // at least 1; not of an exact one
	OnUnreachable OnUnreachable
	Nodes         int // 0 means 1
	KeysMax       int // at least 1
}

// Verdict is what a Source says of a request. The fields are those of Decision.
type Verdict struct {
	Allowed                bool
	By                     By
	Quota, Used, Remaining int64
	RetryAfter, Reset      time.Duration
}

// OnUnreachable is what becomes of requests while the store cannot be reached.
type OnUnreachable uint8

// What can become of them.
const (
	LocalShare OnUnreachable = iota // each process admits its part of the limit
	AllowAll                        // all are admitted
	RefuseAll                       // none is
)

var onUnreachableWords = [...]string{"local_share", "allow_all", "refuse_all"}

// String returns the word of logs.
func (u OnUnreachable) String() string { return onUnreachableWords[u] }

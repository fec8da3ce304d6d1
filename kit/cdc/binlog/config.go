package binlog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
)

// Defaults of Config.
const (
	BatchEventsDefault = 1024
	BatchBytesDefault  = 4 << 20
	SilenceDefault     = 10 * time.Second
	BackoffMinDefault  = 100 * time.Millisecond
	BackoffMaxDefault  = 15 * time.Second
)

// Config is how a Source is made. The zero value of an optional field is its default.
type Config struct {
	// Name is Event.Source. Default: Addr.
	Name string
	// Addr is host:port of the server; behind it may be another server tomorrow. Required.
	Addr string
	// User and Password; see the package for the rights. User is required.
	User, Password string
	// TLS is nil for a connection without.
	TLS *tls.Config
	// ServerID is the number of this replica, which no other replica or server may have: the server cuts off the older of two
	// with the same. Default: random from 2^31 on.
	ServerID uint32

	// Tables that are followed: "database.table", where * stands for any characters. Required. The server's own databases
	// (mysql, sys, information_schema, performance_schema) are never followed. Letter case does not matter.
	Tables []string
	// Checkpoints keeps the position. Required.
	Checkpoints cdc.Store
	// CheckpointEvery is the shortest time between two saves; 0 saves after each batch. What was handled since the last save
	// is told again after a crash.
	CheckpointEvery time.Duration

	// BatchEvents is the most events in one call of the Handler. Default 1024: enough that a call to Kafka or a commit pays.
	BatchEvents int
	// BatchBytes is after how many bytes of binlog a batch is closed. Default 4 MiB. A single row may have more.
	BatchBytes int

	// Silence is how long the server may send nothing until it is taken for dead; it is asked for a sign of life three times in
	// that time. 1 s to 10 min, default 10 s.
	Silence time.Duration
	// BackoffMin and BackoffMax bound the pauses before another try, of the server and of the Handler. Defaults 100 ms and 15 s.
	BackoffMin, BackoffMax time.Duration

	// Logger is for transitions. Default slog.Default().
	Logger *slog.Logger
	// Clock is the time. Default time.Now.
	Clock func() time.Time
}

// withDefaults checks everything at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("binlog: "+format, args...)) }
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		wrong("Addr: want host:port, have %q", c.Addr)
	}
	if c.User == "" {
		wrong("User: want a name")
	}
	if c.Checkpoints == nil {
		wrong("Checkpoints: want a store")
	}
	if len(c.Tables) == 0 {
		wrong(`Tables: want at least one pattern, "*.*" for all`)
	}
	if _, err := newFilter(c.Tables); err != nil {
		errs = append(errs, err)
	}
	fill(&c.Name, c.Addr)
	fill(&c.ServerID, 1<<31|rand.Uint32())
	fill(&c.BatchEvents, BatchEventsDefault)
	fill(&c.BatchBytes, BatchBytesDefault)
	fill(&c.Silence, SilenceDefault)
	fill(&c.BackoffMin, BackoffMinDefault)
	fill(&c.BackoffMax, max(BackoffMaxDefault, c.BackoffMin))
	if c.BatchEvents < 1 || c.BatchEvents > 1<<20 {
		wrong("BatchEvents: want 1 to 1048576, have %d", c.BatchEvents)
	}
	if c.BatchBytes < 1 || c.BatchBytes > 1<<30 {
		wrong("BatchBytes: want 1 to 1 GiB, have %d", c.BatchBytes)
	}
	if c.Silence < time.Second || c.Silence > 10*time.Minute {
		wrong("Silence: want 1s to 10m, have %v", c.Silence)
	}
	if c.BackoffMin < time.Millisecond || c.BackoffMax < c.BackoffMin {
		wrong("BackoffMin and BackoffMax: want 1ms or more, the second not below the first, have %v and %v", c.BackoffMin, c.BackoffMax)
	}
	if c.CheckpointEvery < 0 {
		wrong("CheckpointEvery: want 0 or more, have %v", c.CheckpointEvery)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c, errors.Join(errs...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

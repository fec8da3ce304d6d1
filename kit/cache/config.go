package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Config says what a Cache holds and where. Only Name and Load are required.
type Config[K comparable, V any] struct {
	// Name is that of the cache in Redis and in the log: 1 to 64 of a-z, 0-9, '-', '_', '.', ':'. Nodes with the same name share what is in
	// Redis, so a program that writes other values or keys needs another one.
	Name string

	// Load is the third level: it reads the value of a key, and its version, from where it is kept. It is called from several goroutines. Versions of one key
	// grow with each change, also over a deletion (a column that each UPDATE raises, a commit number; not a time that two changes can share); 0
	// means that there are none: then a load is kept from filling by its lease alone, and a source that lags behind (a replica) can bring back an old value. If there is
	// nothing, it returns an error that is ErrNotFound. A panic is an error as well.
	Load func(ctx context.Context, key K) (value V, version uint64, err error)
	// LoadTimeout ends a load; 1 ms to 1 min, 0 means 2 s. As long waits a node for another that is loading.
	LoadTimeout time.Duration
	// LoadsMax is how many loads this node makes at once, also counting those that do not heed their context; 1 to 1,000,000, 0 means 256.
	LoadsMax int

	// Redis is the second level. Without addresses there is none, and each node is alone.
	Redis Redis

	// TTL is how old a value can become in Redis, 10 ms to 30 days; 0 means 10 minutes. It is the bound on staleness when no
	// event comes at all. Each record gets up to a tenth less, so that not all end at once.
	TTL time.Duration
	// LocalTTL is how long a copy is used in this process before Redis is asked again, 1 ms to TTL; 0 means 10 s, or TTL if that is less. It is
	// the bound on staleness when an event reached Redis and the news of it did not reach this node. Each copy gets up to a fifth less.
	LocalTTL time.Duration
	// NegativeTTL is how long it is remembered that there is nothing; 1 ms to TTL; 0 means 5 s, or TTL if that is less; below 0 it is not.
	NegativeTTL time.Duration
	// StaleFor is how long beyond TTL a value may be given, marked Stale, when it can be had nowhere; 0 means never. A caller who sets it looks at
	// Value.Source.
	StaleFor time.Duration
	// Stub makes an answer, marked Stub, when everything else has failed; nil means none. cause is what Get would return.
	Stub func(ctx context.Context, key K, cause error) (value V, ok bool)
	// NoEarlyRefresh turns off that values in use are loaded again shortly before their end.
	NoEarlyRefresh bool

	// LocalBytesMax bounds the memory of the first level, by encoded sizes and 200 bytes an entry; 0 means 64 MiB.
	LocalBytesMax int64
	// ValueBytesMax is the longest encoded value that is put into Redis, up to 64 MiB; 0 means 1 MiB. Longer ones are kept in this process alone.
	ValueBytesMax int

	// Codec encodes values; the zero value means JSON.
	Codec Codec[V]
	// KeyName and ParseKey write a key for Redis, up to 512 bytes, and read it. Strings and integers need none.
	KeyName  func(K) string
	ParseKey func(string) (K, error)

	// Logger is told when Redis can no longer be used and when it can again, and of gaps; nil means slog.Default().
	Logger *slog.Logger
}

// Redis says how Redis is reached.
type Redis struct {
	Addresses          []string // host:port; of a cluster, some of its nodes
	Username, Password string
	Database           int // 0 in a cluster
	TLS                *tls.Config
	// Timeout is for one round trip and for connecting, 1 ms to 10 s; 0 means 100 ms. After a trip that failed Redis is left alone until it answers
	// again.
	Timeout time.Duration
	// FollowEvery is how often the feed of changes is read when nothing announces one; 1 ms to LocalTTL; 0 means 100 ms, or a half of LocalTTL if that is
	// less.
	FollowEvery time.Duration
	// FeedLength is for how many events a node may be away without giving up its first level; 100 to 10,000,000; 0 means 65,536.
	FeedLength int
	// NoTracking leaves out client-side tracking, which announces changes at once. It is left out as well if the server has none.
	NoTracking bool
}

const (
	timeoutDefault = 100 * time.Millisecond // many times what Redis takes in a data centre
	ttlMax         = 30 * 24 * time.Hour
	entryBytes     = 200 // of an entry in the first level beside key and value: measured
)

// withDefaults returns a copy with defaults, or everything that is wrong.
func (cfg Config[K, V]) withDefaults() (Config[K, V], error) {
	var wrong []error
	say := func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("cache: %s: %s", field, fmt.Sprintf(format, args...)))
	}
	between := func(field string, d *time.Duration, low, high, byDefault time.Duration) {
		if *d == 0 {
			*d = byDefault
		}
		if *d < low || *d > high {
			say(field, "%v is not between %v and %v", *d, low, high)
		}
	}
	count := func(field string, n *int, low, high, byDefault int) {
		if *n == 0 {
			*n = byDefault
		}
		if *n < low || *n > high {
			say(field, "%d is not between %d and %d", *n, low, high)
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_.:"
	if cfg.Name == "" || len(cfg.Name) > 64 || strings.ContainsFunc(cfg.Name, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		say("Name", "%q is not 1 to 64 of a-z, 0-9, '-', '_', '.', ':'", cfg.Name)
	}
	if cfg.Load == nil {
		say("Load", "write a function that reads a value")
	}
	between("LoadTimeout", &cfg.LoadTimeout, time.Millisecond, time.Minute, 2*time.Second)
	count("LoadsMax", &cfg.LoadsMax, 1, 1_000_000, 256)
	between("TTL", &cfg.TTL, 10*time.Millisecond, ttlMax, 10*time.Minute)
	between("LocalTTL", &cfg.LocalTTL, time.Millisecond, cfg.TTL, min(10*time.Second, cfg.TTL))
	if cfg.NegativeTTL >= 0 {
		between("NegativeTTL", &cfg.NegativeTTL, time.Millisecond, cfg.TTL, min(5*time.Second, cfg.TTL))
	}
	between("StaleFor", &cfg.StaleFor, 0, ttlMax, 0)
	if cfg.LocalBytesMax == 0 {
		cfg.LocalBytesMax = 64 << 20
	}
	if cfg.LocalBytesMax < 1<<10 {
		say("LocalBytesMax", "%d is below 1024", cfg.LocalBytesMax)
	}
	count("ValueBytesMax", &cfg.ValueBytesMax, 1, 64<<20, 1<<20)
	between("Redis.Timeout", &cfg.Redis.Timeout, time.Millisecond, 10*time.Second, timeoutDefault)
	between("Redis.FollowEvery", &cfg.Redis.FollowEvery, time.Millisecond, max(cfg.LocalTTL, time.Millisecond),
		max(time.Millisecond, min(100*time.Millisecond, cfg.LocalTTL/2)))
	count("Redis.FeedLength", &cfg.Redis.FeedLength, 100, 10_000_000, 65_536)
	if cfg.Redis.Database < 0 {
		say("Redis.Database", "%d is below 0", cfg.Redis.Database)
	}
	for _, a := range cfg.Redis.Addresses {
		if a == "" {
			say("Redis.Addresses", "one is empty; write host:port")
		}
	}
	if (cfg.Codec.Encode == nil) != (cfg.Codec.Decode == nil) {
		say("Codec", "write both functions or none")
	} else if cfg.Codec.Encode == nil {
		cfg.Codec = JSON[V]()
	}
	if (cfg.KeyName == nil) != (cfg.ParseKey == nil) {
		say("KeyName", "write both KeyName and ParseKey or none")
	} else if cfg.KeyName == nil {
		if cfg.KeyName, cfg.ParseKey = keyNames[K](); cfg.KeyName == nil {
			say("KeyName", "keys that are neither strings nor integers need KeyName and ParseKey")
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg, errors.Join(wrong...)
}

package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/quotas"
)

// Config says which Redis, and how to reach it.
type Config struct {
	Address  string // host:port; of a cluster, any of its nodes
	Username string
	Password string
	Database int
	TLS      *tls.Config // nil means none
	// Timeout is for one round trip, and for connecting, from 1 ms to 1 s (an answer that comes later is worth nothing); 0
	// means 100 ms, which is many times what Redis takes in a data centre. No request waits longer than two of them.
	Timeout time.Duration
	// Logger is told when Redis can no longer be used, and when it can again; nil means slog.Default().
	Logger *slog.Logger
}

// Store is one Redis. It is safe for concurrent use.
type Store struct {
	link *quotas.Link
	cfg  Config

	mu struct {
		sync.Mutex
		tables map[string]*table // by the key that package quotas gives them
		closed bool
	}
}

// table is the keys of a name, and by how many limits they are counted. Limits of one name have one table, as those of two processes have
// one bucket in Redis.
type table struct {
	*quotas.Table
	holders int
}

// Open makes a Store and begins to connect in the background. The error names what is wrong with cfg; that Redis cannot be reached is
// none.
func Open(cfg Config) (*Store, error) {
	var wrong []error
	if cfg.Address == "" {
		wrong = append(wrong, errors.New("limit/redis: Address: write host:port"))
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = quotas.TimeoutDefault
	}
	if cfg.Timeout < time.Millisecond || cfg.Timeout > quotas.TimeoutMax {
		wrong = append(wrong, fmt.Errorf("limit/redis: Timeout: %v is not between %v and %v", cfg.Timeout, time.Millisecond, quotas.TimeoutMax))
	}
	if cfg.Database < 0 {
		wrong = append(wrong, fmt.Errorf("limit/redis: Database: %d is below 0", cfg.Database))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	s := &Store{cfg: cfg, link: quotas.NewLink(cfg.settings(), cfg.Logger)}
	s.mu.tables = map[string]*table{}
	s.link.Start()
	return s, nil
}

func (cfg *Config) settings() quotas.Settings {
	return quotas.Settings{Address: cfg.Address, Username: cfg.Username, Password: cfg.Password, Database: cfg.Database,
		TLS: cfg.TLS, Timeout: cfg.Timeout, ClientName: "yumen-kit"}
}

// Close gives back what is in hand, if Redis can be reached, and ends the goroutine. It takes two timeouts at most. Limits that
// are asked after it are judged as if Redis could not be reached.
func (s *Store) Close() {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.link.Close()
	<-s.link.Ended()
}

// Stats are numbers of a Store since it was opened.
type Stats struct {
	Reachable bool
	Trouble   error         // why the last round trip failed that did; nil if none has
	Trips     uint64        // round trips
	Failures  uint64        // those that failed, and connections that could not be made
	Took      time.Duration // the last round trip
	Waiting   int           // requests that wait for an answer now
	Limits    []LimitStats  // those that are attached, in the order of their names
}

// LimitStats are numbers of the limits of one name, in this process.
type LimitStats struct {
	Name  string
	Exact bool
	Keys  int // of which something is in hand
	Held  int // tokens in hand, of all keys
	Nodes int // processes that have the limit, as Redis said last
	// ExcessBound is what this process may add at most, for one key in one Per, to what the limit admits, as things have been in the
	// last Per: 0 in the ordinary way. Added up over the processes it is that of all. Infinite while Redis cannot be reached and
	// OnUnreachable is AllowAll.
	ExcessBound float64
	Reports     uint64 // to Redis, on a key
	Waits       uint64 // requests that waited for an answer
	Alone       uint64 // requests judged here because Redis could not be reached
	Crowded     uint64 // and because there were too many keys, or too many waited
	Lost        uint64 // keys that Redis should have known and did not: it has lost its memory
	Errors      uint64 // of single keys
}

// Stats returns the numbers. It goes through all keys that are in hand, so ask it as often as metrics are read, not for each request.
func (s *Store) Stats() Stats {
	now := mono.Now()
	l := s.link.View(now)
	stats := Stats{Reachable: l.Reachable, Trouble: l.Trouble, Trips: l.Trips, Failures: l.Failures, Took: l.Took, Waiting: int(l.Waiting)}
	for _, t := range s.attached() {
		v := t.View(now)
		stats.Limits = append(stats.Limits, LimitStats{
			Name: v.Name, Exact: v.Exact, Keys: int(v.Keys), Held: int(v.Held), Nodes: int(v.Nodes), ExcessBound: v.Excess,
			Reports: v.Reports, Waits: v.Waits, Alone: v.Alone, Crowded: v.Crowded, Lost: v.Lost, Errors: v.Errors,
		})
	}
	slices.SortFunc(stats.Limits, func(a, b LimitStats) int { return strings.Compare(a.Name, b.Name) })
	return stats
}

func (s *Store) attached() []*table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.mu.tables))
}

// Attach is for limit.New.
func (s *Store) Attach(shared limit.Shared) (limit.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, errors.New("limit/redis: the store is closed")
	}
	of := &source{store: s, name: shared.Name, exact: shared.Exact}
	core, err := s.compile(shared, func(key string, make func() *quotas.Table) *quotas.Table {
		of.table = key
		t := s.mu.tables[key]
		if t == nil {
			t = &table{Table: make()}
			s.mu.tables[key] = t
			t.Start()
		}
		t.holders++
		return t.Table
	})
	if err != nil {
		return nil, err
	}
	of.core.Store(core)
	return of, nil
}

// detach is called once for each source.
func (s *Store) detach(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.tables[key]
	if t.holders--; t.holders == 0 {
		delete(s.mu.tables, key)
		t.Close()
	}
}

// compile has the settings checked, and finds the table if they are right.
func (s *Store) compile(c limit.Shared, find func(key string, make func() *quotas.Table) *quotas.Table) (*quotas.Source, error) {
	spec := quotas.Spec{
		Redis: s.cfg.settings(), Name: c.Name, Rule: quota.Rule{Count: c.Count, Per: c.Per, Burst: c.Burst},
		Unreachable: unreachable[c.OnUnreachable], Nodes: c.Nodes, KeysMax: c.KeysMax,
	}
	if c.Exact {
		spec.Mode = quotas.Exact
	}
	core, problems := quotas.Compile(spec, quotas.Memory{
		Link:  func(string, func() *quotas.Link) *quotas.Link { return s.link },
		Table: find,
	})
	var wrong []error
	for _, p := range problems {
		wrong = append(wrong, fmt.Errorf("limit/redis: %s: %s", fields[p.Field], p.Cause))
	}
	return core, errors.Join(wrong...)
}

// unreachable and fields are words of package quotas in those of limit.Config.
var (
	unreachable = [...]quotas.Unreachable{limit.LocalShare: quotas.LocalShare, limit.AllowAll: quotas.Open, limit.RefuseAll: quotas.Closed}
	fields      = map[string]string{"rate": "Count", "burst": "Burst", "nodes": "Nodes", "redis.timeout": "Timeout"}
)

var _ limit.Store = (*Store)(nil)

package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ReadLease is how long after a load of the map reads trust it. So long a read may still be answered by the old place
	// of a slot that was switched, and so long a move waits before it removes anything there. It is a constant because
	// all processes must agree on it.
	ReadLease = 10 * time.Second

	// hopsMax is how many times a write follows a slot that has gone. A slot moves once in ReadLease at most.
	hopsMax = 8
	// refreshTimeout bounds a load of the map, so that a store that hangs does not hang its readers.
	refreshTimeout = 2 * time.Second
	// echoPause is how long a router leaves a target alone that failed to take a write. The mover repairs what it misses.
	echoPause = 5 * time.Second
)

// Table describes the tables of one name.
type Table struct {
	// Name is what stands in braces in statements, and the tables' names begin with: {orders} is orders_00, orders_01,
	// and so on. Lower-case letters, digits and _, beginning with a letter, at most 48.
	Name string
	// ID is the column with the primary key, an integer of at most 64 bits with a sign. Default: "id".
	ID string
	// Key is the column whose value is hashed to the slot, an integer or text. It must never change in a row. Empty: the
	// slot is in the bits of ID (Config.IDBits).
	Key string
}

// Config is what a Router needs. Databases, Dialect, Tables, and one of Map and Store are required.
type Config struct {
	// Databases are the databases by the number that a map has for them. There may be more than the map knows. They stay
	// the caller's to close.
	Databases []*sql.DB
	// Dialect is the kind of SQL of all of them.
	Dialect Dialect
	// Tables are all the names that statements may have in braces.
	Tables []Table
	// Map is a map that never changes. It takes no tables in the databases and no round trip to look at a fence. Not
	// together with a Store, and not for databases that another program moves slots of.
	Map *Map
	// Store has the map where slots can be moved. It must have one (SQLStore.Setup) before the first use of the Router.
	Store Store
	// IDBits is where ids carry their slot, for ForID and for tables without Key. Zero: they do not.
	IDBits IDBits
	// AllMax is how many places All works on at a time: 1 to 256. Default: 8.
	AllMax int
	// EchoTimeout is how long a write may take at the new place of a slot that is moving, before it goes on without:
	// up to a minute. Default: 1 s.
	EchoTimeout time.Duration
	// Clock is the time. Default: time.Now.
	Clock func() time.Time
	// Logger is told when the map cannot be loaded, and when it can again. Default: slog.Default().
	Logger *slog.Logger
}

// Stats are counts since the Router was made.
type Stats struct {
	MapVersion   uint64 // 0 before the first load
	Moves        int    // slots on their way, by the last map
	Writes       uint64 // transactions that were begun for a key
	Redirected   uint64 // times that a write found its slot gone and followed it
	Echoes       uint64 // transactions that were repeated at a new place
	EchoFailures uint64 // of those that a new place should have had, how many it has not
	LoadFailures uint64 // loads of the map
}

// Router knows where rows are. All methods may be called by any goroutine.
type Router struct {
	databases []*sql.DB
	dialect   Dialect
	tables    map[string]Table
	order     []Table // of Config, for the mover
	suffixes  []string
	idBits    IDBits
	allMax    int
	echoMax   time.Duration
	store     Store
	now       func() time.Time
	logger    *slog.Logger

	checked []atomic.Bool // by database: it said its number

	view    atomic.Pointer[view]
	loading chan struct{} // a token: one load at a time
	bad     atomic.Bool   // the last load failed
	pause   sync.Map      // slot -> time.Time until which its target is left alone

	background struct {
		sync.WaitGroup
		mu      sync.Mutex
		running bool
		closed  bool
		stop    context.Context
		cancel  context.CancelFunc
	}

	writes, redirected, echoes, echoFailures, loadFailures atomic.Uint64
}

// view is a map and what writes have learnt since from fences.
type view struct {
	m      *Map // nil before the first load
	at     time.Time
	learnt map[int]Place // slots that had gone from where m has them
}

func (v *view) place(slot int) Place {
	if p, ok := v.learnt[slot]; ok {
		return p
	}
	return v.m.places[slot]
}

var tableName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)
var columnName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// New makes a Router, and does not talk to any database. The error names each field of cfg that is wrong.
func New(cfg Config) (*Router, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if cfg.AllMax == 0 {
		cfg.AllMax = 8
	}
	if cfg.EchoTimeout == 0 {
		cfg.EchoTimeout = time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if len(cfg.Databases) == 0 {
		wrong("Databases is empty and must have at least one")
	}
	for i, db := range cfg.Databases {
		if db == nil {
			wrong("Databases[%d] is nil", i)
		} else if j := slices.Index(cfg.Databases, db); j < i {
			wrong("Databases[%d] is Databases[%d] once more", i, j)
		}
	}
	if !cfg.Dialect.valid() {
		wrong("Dialect is %d and must be SQLite or MySQL", cfg.Dialect)
	}
	if (cfg.Map == nil) == (cfg.Store == nil) {
		wrong("one of Map and Store must be set")
	}
	if cfg.Map != nil && cfg.Map.databases > len(cfg.Databases) {
		wrong("Databases has %d and must have the Map's %d", len(cfg.Databases), cfg.Map.databases)
	}
	if cfg.Map != nil && len(cfg.Map.moves) > 0 {
		wrong("Map has slots on their way, for which a Store must be set")
	}
	if cfg.IDBits.Width > 16 || cfg.IDBits.Below > 62 || cfg.IDBits.Below+cfg.IDBits.Width > 63 {
		wrong("IDBits is %+v and must be within 63 bits, with a Width of at most 16", cfg.IDBits)
	}
	if cfg.Map != nil && cfg.IDBits.Width > 0 && 1<<cfg.IDBits.Width != cfg.Map.Slots() {
		wrong("IDBits.Width is %d, which makes %d slots, and the Map has %d", cfg.IDBits.Width, 1<<cfg.IDBits.Width, cfg.Map.Slots())
	}
	if cfg.AllMax < 1 || cfg.AllMax > 256 {
		wrong("AllMax is %d and must be 1 to 256", cfg.AllMax)
	}
	if cfg.EchoTimeout < 0 || cfg.EchoTimeout > time.Minute {
		wrong("EchoTimeout is %s and must be up to 1m", cfg.EchoTimeout)
	}
	if len(cfg.Tables) == 0 {
		wrong("Tables is empty and must have at least one")
	}
	r := &Router{
		databases: slices.Clone(cfg.Databases), dialect: cfg.Dialect, tables: map[string]Table{}, idBits: cfg.IDBits, allMax: cfg.AllMax,
		echoMax: cfg.EchoTimeout, store: cfg.Store, now: cfg.Clock, logger: cfg.Logger,
		checked: make([]atomic.Bool, len(cfg.Databases)), loading: make(chan struct{}, 1),
	}
	for i, t := range cfg.Tables {
		if t.ID == "" {
			t.ID = "id"
		}
		if !tableName.MatchString(t.Name) {
			wrong("Tables[%d].Name is %q and must be lower-case letters, digits and _, at most 48", i, t.Name)
		}
		if _, ok := r.tables[t.Name]; ok {
			wrong("Tables[%d].Name is %q once more", i, t.Name)
		}
		if !columnName.MatchString(t.ID) || t.Key != "" && !columnName.MatchString(t.Key) {
			wrong("Tables[%d] has columns %q and %q, which must be letters, digits and _", i, t.ID, t.Key)
		}
		if t.Key == "" && cfg.IDBits.Width == 0 {
			wrong("Tables[%d] has neither a Key nor Config.IDBits", i)
		}
		r.tables[t.Name] = t
		r.order = append(r.order, t)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("shard: config: %w", errors.Join(errs...))
	}
	r.suffixes = make([]string, tablesMax)
	for i := range r.suffixes {
		r.suffixes[i] = fmt.Sprintf("_%02d", i)
	}
	r.view.Store(&view{m: cfg.Map})
	r.background.stop, r.background.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends a load of the map that may be under way and waits for it. It does not close the databases.
func (r *Router) Close() {
	r.background.cancel()
	r.background.mu.Lock()
	r.background.closed = true
	r.background.mu.Unlock()
	r.background.Wait()
}

// Map is the last map that was loaded, or nil before the first load.
func (r *Router) Map() *Map { return r.view.Load().m }

// Stats are for metrics. They cost a few loads.
func (r *Router) Stats() Stats {
	s := Stats{
		Writes: r.writes.Load(), Redirected: r.redirected.Load(), Echoes: r.echoes.Load(), EchoFailures: r.echoFailures.Load(),
		LoadFailures: r.loadFailures.Load(),
	}
	if m := r.Map(); m != nil {
		s.MapVersion, s.Moves = m.version, len(m.moves)
	}
	return s
}

// Refresh loads the map from the store. Nobody has to call it: reads do, once the map is as old as half of ReadLease,
// and writes do when they find their slot gone.
func (r *Router) Refresh(ctx context.Context) error {
	if r.store == nil {
		return nil
	}
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	at := r.now() // before the load: what is read may be older than its end
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	m, err := r.store.Load(ctx)
	if err == nil {
		err = r.fits(m)
	}
	if err != nil {
		r.loadFailures.Add(1)
		if r.bad.CompareAndSwap(false, true) {
			r.logger.Warn("shard: the map cannot be loaded", "error", err)
		}
		return err
	}
	if r.bad.CompareAndSwap(true, false) {
		r.logger.Info("shard: the map can be loaded again", "version", m.version)
	}
	for {
		old := r.view.Load()
		if old.m != nil && m.version < old.m.version {
			return nil // the mover of this process was faster
		}
		n := &view{m: m, at: at}
		for slot, p := range old.learnt {
			// What a fence said stays until the store says it too, or another move of the slot has begun.
			if v, ok := m.Move(slot); ok && v.Phase == Verifying && v.To == p {
				n.learn(slot, p)
			}
		}
		if r.view.CompareAndSwap(old, n) {
			return nil
		}
	}
}

func (v *view) learn(slot int, p Place) {
	if v.learnt == nil {
		v.learnt = map[int]Place{}
	}
	v.learnt[slot] = p
}

// fits checks a map against what never changes, and against what the program was given.
func (r *Router) fits(m *Map) error {
	switch old := r.Map(); {
	case m.databases > len(r.databases):
		return fmt.Errorf("shard: the map has %d databases and the program was given %d: %w", m.databases, len(r.databases), ErrMap)
	case old != nil && (m.Slots() != old.Slots() || m.tables != old.tables):
		return fmt.Errorf("shard: the map has %d slots and %d tables instead of %d and %d: %w", m.Slots(), m.tables, old.Slots(), old.tables, ErrMap)
	case r.idBits.Width > 0 && 1<<r.idBits.Width != m.Slots():
		return fmt.Errorf("shard: IDBits.Width is %d and the map has %d slots: %w", r.idBits.Width, m.Slots(), ErrMap)
	}
	return nil
}

// loaded is the view, loaded if there is none yet.
func (r *Router) loaded(ctx context.Context) (*view, error) {
	if v := r.view.Load(); v.m != nil {
		return v, nil
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	return r.view.Load(), nil
}

// readable is a view whose map was loaded within ReadLease, or an old one and false where the store does not answer.
func (r *Router) readable(ctx context.Context) (*view, bool, error) {
	v, err := r.loaded(ctx)
	if err != nil || r.store == nil {
		return v, true, err
	}
	switch age := r.now().Sub(v.at); {
	case age < ReadLease/2:
		return v, true, nil
	case age < ReadLease:
		r.refreshSoon()
		return v, true, nil
	}
	if err := r.Refresh(ctx); err != nil {
		return v, false, ctx.Err()
	}
	return r.view.Load(), true, nil
}

// refreshSoon loads the map on a goroutine of the Router's, unless one is at it.
func (r *Router) refreshSoon() {
	b := &r.background
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running || b.closed {
		return
	}
	b.running = true
	b.Add(1)
	go func() {
		defer b.Done()
		_ = r.Refresh(b.stop) // counted and logged there; the next reader tries again
		b.mu.Lock()
		defer b.mu.Unlock()
		b.running = false
	}()
}

// follow notes where a fence says that a slot went, and asks the store too, if it answers.
func (r *Router) follow(ctx context.Context, slot int, f fence) error {
	if f.to.Database < 0 || f.to.Database >= len(r.databases) || f.to.Table < 0 || f.to.Table >= r.Map().tables {
		return fmt.Errorf("shard: slot %d went to %s, which the program was not given: %w", slot, f.to, ErrNotHere)
	}
	r.redirected.Add(1)
	for {
		old := r.view.Load()
		n := &view{m: old.m, at: old.at}
		for s, p := range old.learnt {
			n.learn(s, p)
		}
		n.learn(slot, f.to)
		if r.view.CompareAndSwap(old, n) {
			break
		}
	}
	// The map may know better: the fence of a slot that moved on from there has gone, too.
	r.refreshSoon()
	return ctx.Err()
}

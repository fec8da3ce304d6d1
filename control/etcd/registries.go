package etcd

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/yumen-io/yumen/kit/registry"
)

// Registries is every etcd that is in use. Its methods are safe for concurrent use.
type Registries struct {
	// Frozen.
	snapshots string // folder; empty: none are kept
	logger    *slog.Logger

	closing sync.WaitGroup // of registries that nobody uses any more
	mu      struct {
		sync.Mutex
		open map[string]*shared // by Server.Name
	}
}

// shared is one etcd and how many followers it has.
type shared struct {
	name     string
	registry *registry.Registry
	users    int
}

// NewRegistries returns none. snapshots is the folder in which the last good endpoints of each service are kept; empty for none.
func NewRegistries(snapshots string, logger *slog.Logger) *Registries {
	r := &Registries{snapshots: snapshots, logger: logger}
	r.mu.open = map[string]*shared{}
	return r
}

// acquire returns the registry of an etcd, which begins to connect if it is a new one.
func (r *Registries) acquire(server *Server) (*shared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := server.Name()
	s := r.mu.open[name]
	if s == nil {
		cfg := registry.Config{
			Endpoints: server.Addresses, Username: server.Username, Password: server.Password, TLS: server.TLS, Prefix: server.Prefix,
			RequestTimeout: server.Timeout, Grace: server.Grace, Logger: r.logger,
		}
		if r.snapshots != "" {
			// Two data sets may have services of one name.
			cfg.SnapshotDir = filepath.Join(r.snapshots, server.Place())
		}
		reg, err := registry.New(cfg)
		if err != nil {
			return nil, fmt.Errorf("etcd at %v: %w", server.Addresses, err)
		}
		s = &shared{name: name, registry: reg}
		r.mu.open[name] = s
	}
	s.users++
	return s, nil
}

// release ends the registry if nobody else uses it, without waiting for that.
func (r *Registries) release(s *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(r.mu.open, s.name)
		r.closing.Go(func() { _ = s.registry.Close() }) // nothing was registered, so that nothing can be left there
	}
}

// Wait waits for those that are ending. It is called when every Follower has been stopped.
func (r *Registries) Wait() { r.closing.Wait() }

// Open is how many there are.
func (r *Registries) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.open)
}

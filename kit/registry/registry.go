package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// servicesPart stands between the prefix of all keys and the name of a service.
const servicesPart = "/services/"

// servicesMax are watched by one Registry at most: each is a watch in etcd and a goroutine here.
const servicesMax = 1000

// Errors that callers may want to tell apart; ErrInvalid is another.
var (
	// ErrClosed: the Registry was closed, or the Registration deregistered.
	ErrClosed = errors.New("registry is closed")
	// ErrDuplicate: this Registry has a Registration of the same service and ID.
	ErrDuplicate = errors.New("instance is registered already")
	// ErrReplaced is in the State of a Registration whose key a later process has taken.
	ErrReplaced = errors.New("a later process has registered the same instance")
	// ErrFull: a Registry takes 1000 registrations and watches 1000 services.
	ErrFull = errors.New("registry is full")
)

// Registry is the connection of a process with etcd. Its methods are safe for concurrent use.
type Registry struct {
	cfg       Config
	stats     counters
	link      *link
	registrar *registrar
	archive   *archive

	// Each part has a context of its own, because they end one after the other.
	ctx                                    context.Context // of the feeds
	stopFeeds, stopRegistrar, stopArchive  context.CancelFunc
	stopLink                               context.CancelFunc
	feeds, registrarTask, archiveTask, net sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		feeds  map[string]*feed
	}
	shutdown sync.Once
	shutErr  error
}

// New begins to connect and returns at once, whether or not etcd answers: what needs it waits for it. The error joins one
// for each field of cfg that is wrong.
func New(cfg Config) (*Registry, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg}
	r.mu.feeds = map[string]*feed{}
	r.link = newLink(&r.cfg, &r.stats)
	r.registrar = newRegistrar(&r.cfg, r.link, &r.stats)
	r.archive = newArchive(&r.cfg, &r.stats)

	begin := func(tasks *sync.WaitGroup, run func(context.Context)) context.CancelFunc {
		ctx, cancel := context.WithCancel(context.Background())
		tasks.Go(func() { run(ctx) })
		return cancel
	}
	r.ctx, r.stopFeeds = context.WithCancel(context.Background())
	r.stopLink = begin(&r.net, r.link.run)
	r.stopRegistrar = begin(&r.registrarTask, r.registrar.run)
	r.stopArchive = begin(&r.archiveTask, r.archive.run)
	return r, nil
}

// Register has the instance kept in etcd from now on, through whatever happens, until Deregister or the Registry's end.
// It returns at once; Registration.Wait waits until callers can find it. ctx does not outlive the call. The error wraps
// ErrInvalid, or is ErrDuplicate, ErrFull, ErrClosed or that of ctx.
func (r *Registry) Register(ctx context.Context, i Instance) (*Registration, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i = i.clone()
	i.fill()
	if i.Started.IsZero() {
		i.Started = time.Now().UTC().Truncate(time.Millisecond)
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	text, err := encode(&i)
	if err != nil {
		return nil, err
	}
	g := &Registration{registrar: r.registrar, key: r.cfg.Prefix + servicesPart + i.Service + "/" + i.ID, gone: make(chan struct{})}
	g.mu.instance, g.mu.value = i, text
	g.mu.state = State{Status: Registering, Since: time.Now()}
	g.mu.changed = make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return nil, ErrClosed
	}
	if err := r.registrar.add(g); err != nil {
		return nil, fmt.Errorf("registry: %s/%s: %w", i.Service, i.ID, err)
	}
	return g, nil
}

// Watch begins to follow a service and returns at once. With a snapshot its Set is there already. Several watchers of a
// service share one watch in etcd. The error wraps ErrInvalid, or is ErrFull or ErrClosed.
func (r *Registry) Watch(service string) (*Watcher, error) {
	if err := checkService(service); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return nil, ErrClosed
	}
	f := r.mu.feeds[service]
	if f == nil {
		if len(r.mu.feeds) >= servicesMax {
			return nil, fmt.Errorf("registry: watch %s: %w", service, ErrFull)
		}
		f = newFeed(r, service)
		f.begin(r.ctx) // reads a small file under the lock: nobody else waits for it but who begins a watch, too
		ctx, cancel := context.WithCancel(r.ctx)
		f.stop = cancel
		r.mu.feeds[service] = f
		r.feeds.Go(func() { f.run(ctx) })
	}
	w := &Watcher{registry: r, feed: f, changed: make(chan struct{}, 1), closed: make(chan struct{})}
	f.add(w)
	return w, nil
}

func (r *Registry) unwatch(w *Watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.feed.remove(w) == 0 && r.mu.feeds[w.feed.service] == w.feed {
		delete(r.mu.feeds, w.feed.service)
		w.feed.stop()
	}
}

// Close is Shutdown within two request timeouts.
func (r *Registry) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*r.cfg.RequestTimeout)
	defer cancel()
	return r.Shutdown(ctx)
}

// Shutdown takes everything that this process has registered out of etcd, writes the last snapshots and ends. Watchers
// keep their last Set. When ctx ends before etcd has answered, its error is returned, the rest is done all the same, and
// what was registered is gone after its TTL. A second call returns what the first did.
func (r *Registry) Shutdown(ctx context.Context) error {
	r.shutdown.Do(func() { r.shutErr = r.end(ctx) })
	return r.shutErr
}

func (r *Registry) end(ctx context.Context) error {
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	// Callers elsewhere should learn first that we are going; the link goes last, because that needs it.
	r.stopRegistrar()
	r.registrarTask.Wait()
	err := r.registrar.end(ctx)
	r.stopFeeds()
	r.feeds.Wait()
	r.stopArchive()
	r.archiveTask.Wait()
	r.stopLink()
	r.net.Wait()
	if err != nil {
		return fmt.Errorf("registry: deregister: %w", err)
	}
	return nil
}

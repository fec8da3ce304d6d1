package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// instancesMax of a service are read; more are counted as dropped. It bounds memory and what a caller has to connect to.
	instancesMax = 10_000
	// blamedMax keys with malformed values are named in the log, each once; the others are only counted.
	blamedMax = 100
)

// feed follows one service in etcd for all its watchers: it lists, watches from there, and does so again after whatever
// ends a watch, for ever. What callers see is the guard's decision.
type feed struct {
	service string
	prefix  string // of its keys, with a slash at the end
	cfg     *Config
	link    *link
	archive *archive
	stats   *counters
	logger  *slog.Logger

	set   atomic.Pointer[Set]
	known chan struct{} // closed when set is no longer Unknown

	mu struct {
		sync.Mutex
		watchers []*Watcher
	}
	stop context.CancelFunc
	done chan struct{} // closed when run has ended

	// listed is called between listing and watching, if a test wants to do something there.
	listed func()

	// Owned by run, after begin.
	guard    *guard
	cluster  uint64 // that said so, 0 if nobody did
	revision int64  // of the last answer
	saved    uint64 // the version that was given to the archive, and
	savedBy  uint64 // its cluster
	blamed   map[string]bool
}

func newFeed(r *Registry, service string) *feed {
	f := &feed{service: service, prefix: r.cfg.Prefix + servicesPart + service + "/", cfg: &r.cfg, link: r.link, archive: r.archive,
		stats: &r.stats, logger: r.cfg.Logger, known: make(chan struct{}), done: make(chan struct{}),
		guard: newGuard(r.cfg.Grace), blamed: map[string]bool{}, listed: r.cfg.listed}
	f.set.Store(&Set{Service: service})
	return f
}

// begin shows the snapshot, if there is one, before anybody can ask.
func (f *feed) begin(ctx context.Context) {
	instances, s, ok := f.archive.load(ctx, f.service)
	if ok && len(instances) > 0 { // an empty one says no more than none
		f.guard.restore(instances, s.Saved)
		f.cluster = s.Cluster
		f.publish()
	}
}

func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	wait := backoff{min: f.cfg.BackoffMin, max: f.cfg.BackoffMax}
	failing := false // and the log has a line of it
	for {
		s, err := f.link.session(ctx)
		if err != nil {
			return
		}
		listed := false
		err = f.follow(ctx, s, &listed)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, rpctypes.ErrCompacted) && listed {
			f.stats.compactions.Add(1)
			continue // etcd is well and has only forgotten how it came here
		}
		f.guard.disconnect(time.Now())
		f.publish()
		if endsSession(err) {
			s.fail(err)
			continue
		}
		if listed {
			wait.reset()
		}
		if listed || !failing {
			failing = true
			f.logger.LogAttrs(ctx, slog.LevelWarn, "a service cannot be followed", slog.String("service", f.service), slog.Any("error", err))
		}
		pause(ctx, wait.next(rand.Int64N))
	}
}

// errOtherCluster ends a watch that was moved to an etcd that knows nothing of the revisions that we have seen.
var errOtherCluster = errors.New("etcd is another one than before, or lost its data")

// follow lists and watches until something ends it, and says what.
func (f *feed) follow(feedCtx context.Context, s *session, listed *bool) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(s.ctx))
	defer cancel()
	defer context.AfterFunc(feedCtx, cancel)()

	revision, err := f.list(ctx, s)
	if err != nil {
		return err
	}
	*listed = true
	if f.listed != nil {
		f.listed()
	}
	s.watchers.Add(1)
	defer s.watchers.Add(-1)
	silent := func() { f.stats.silences.Add(1); s.fail(errSilent) }
	late := time.AfterFunc(silenceMax(s.patience()), silent) // Watch returns when the member has confirmed it, and a frozen one never does
	responses := s.client.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1), clientv3.WithProgressNotify())
	late.Stop()

	ticker := time.NewTicker(silenceMax(s.usual) / 3)
	defer ticker.Stop()
	heard := time.Now()
	ticked := heard
	for {
		var graceOver <-chan time.Time
		var timer *time.Timer
		if at, ok := f.guard.deadline(); ok {
			timer = time.NewTimer(time.Until(at))
			graceOver = timer.C
		}
		var err error
		select {
		case r, ok := <-responses:
			heard = time.Now()
			err = f.hear(&r, ok)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
		case now := <-ticker.C:
			silence := silenceMax(s.patience())
			if now.Sub(ticked) > silence {
				heard = now // it was we who did not run
			}
			ticked = now
			if now.Sub(heard) > silence {
				silent()
				err = errSilent
			}
		case <-graceOver:
			f.guard.wake(time.Now())
			f.publish()
		}
		if timer != nil {
			timer.Stop()
		}
		if err != nil {
			return err
		}
	}
}

// list reads all instances and returns the revision of etcd that it shows.
func (f *feed) list(ctx context.Context, s *session) (int64, error) {
	rctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	r, err := s.client.Get(rctx, f.prefix, clientv3.WithPrefix(), clientv3.WithLimit(instancesMax))
	if err != nil {
		return 0, err
	}
	f.stats.lists.Add(1)
	if r.Count > int64(len(r.Kvs)) {
		f.stats.dropped.Add(uint64(r.Count) - uint64(len(r.Kvs)))
	}
	all := make(map[string]Instance, len(r.Kvs))
	for _, kv := range r.Kvs {
		if i, ok := f.decode(kv); ok {
			all[i.ID] = i
		} else if i, ok := f.guard.live[strings.TrimPrefix(string(kv.Key), f.prefix)]; ok {
			all[i.ID] = i // whose value was good before somebody spoilt it
		}
	}
	wiped := f.cluster != 0 && (r.Header.ClusterId != f.cluster || r.Header.Revision < f.revision)
	if wiped {
		f.stats.wipes.Add(1)
	}
	f.cluster, f.revision = r.Header.ClusterId, r.Header.Revision
	f.guard.list(time.Now(), all, wiped)
	f.publish()
	return r.Header.Revision, nil
}

// hear takes in an answer of the watch, which may be news, progress, or the end.
func (f *feed) hear(r *clientv3.WatchResponse, ok bool) error {
	if !ok {
		return errDisconnected
	}
	if err := r.Err(); err != nil {
		return err
	}
	if r.Header.ClusterId != f.cluster || r.IsProgressNotify() && r.Header.Revision < f.revision {
		// The client resumed the watch by itself at a revision that this etcd will reach in a year, silent until then.
		return errOtherCluster
	}
	f.revision = max(f.revision, r.Header.Revision)
	if len(r.Events) == 0 {
		return nil
	}
	var put []Instance
	var gone []string
	for _, e := range r.Events {
		id := strings.TrimPrefix(string(e.Kv.Key), f.prefix)
		same := func(i Instance) bool { return i.ID == id }
		if e.Type == mvccpb.DELETE {
			put = slices.DeleteFunc(put, same)
			gone = append(gone, id)
			continue
		}
		i, ok := f.decode(e.Kv)
		if !ok {
			continue
		}
		if _, known := f.guard.live[id]; !known && len(f.guard.live)+len(put) >= instancesMax {
			f.stats.dropped.Add(1)
			continue
		}
		gone = slices.DeleteFunc(gone, func(g string) bool { return g == id })
		put = append(slices.DeleteFunc(put, same), i)
	}
	f.guard.change(time.Now(), put, gone)
	f.publish()
	return nil
}

// decode reads a value. One that is malformed is counted, and named once.
func (f *feed) decode(kv *mvccpb.KeyValue) (Instance, bool) {
	id := strings.TrimPrefix(string(kv.Key), f.prefix)
	i, err := decode(f.service, id, kv.Value)
	if err == nil {
		return i, true
	}
	f.stats.malformed.Add(1)
	if !f.blamed[id] && len(f.blamed) < blamedMax {
		f.blamed[id] = true
		f.logger.LogAttrs(context.Background(), slog.LevelWarn, "a malformed instance is skipped",
			slog.String("service", f.service), slog.String("id", clip(id)), slog.Any("error", err))
	}
	return Instance{}, false
}

// publish shows the guard's decision, if it differs from what is shown.
func (f *feed) publish() {
	if f.guard.freshness == Unknown {
		return // lost before it was ever heard
	}
	old := f.set.Load()
	next := &Set{Service: f.service, Instances: f.guard.shown(), Version: old.Version, Freshness: f.guard.freshness,
		Since: f.guard.since, Missing: f.guard.missing()}
	same := old.Version > 0 && slices.EqualFunc(old.Instances, next.Instances, func(a, b Instance) bool { return a.equal(&b) })
	if same {
		next.Instances = old.Instances
	} else {
		next.Version++
	}
	if next.Missing > 0 && old.Missing == 0 {
		f.stats.holds.Add(1)
		f.logger.LogAttrs(context.Background(), slog.LevelWarn, "vanished instances are kept for the grace period",
			slog.String("service", f.service), slog.Int("missing", next.Missing), slog.Int("instances", len(next.Instances)))
	}
	if next.Freshness == Fresh && (f.saved != next.Version || f.savedBy != f.cluster) {
		f.archive.save(f.service, next.Instances, f.cluster)
		f.saved, f.savedBy = next.Version, f.cluster
	}
	if same && next.Freshness == old.Freshness && next.Missing == old.Missing {
		return
	}
	f.set.Store(next)
	if old.Freshness == Unknown {
		close(f.known)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.mu.watchers {
		w.notify()
	}
}

package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// registrationsMax of one Registry; a process has a handful, a side-car perhaps hundreds.
	registrationsMax = 1000
	// readsPerRequest is below the 128 operations that etcd takes in a transaction.
	readsPerRequest = 100
	// leasesMax of our past are known: one is lost when etcd loses its data, and hardly twice in a TTL.
	leasesMax = 8
)

// registrar keeps the registrations of a process in etcd under one lease. Its goroutine makes rounds: heartbeat, look
// whether all keys are there, write what is missing or changed, delete what was deregistered. A round is made five times
// in a TTL, at once with each new session, and when something was asked for. There is no state in which it has given up.
type registrar struct {
	cfg    *Config
	link   *link
	logger *slog.Logger
	stats  *counters
	wake   chan struct{} // capacity one
	done   chan struct{} // closed when run has ended

	mu struct {
		sync.Mutex
		all     map[string]*Registration // by key
		leaving []*Registration          // to be deleted
	}

	// Owned by run.
	lease  clientv3.LeaseID
	until  time.Time          // the lease is good until then, by our clock
	leases []clientv3.LeaseID // ours, the last few: a key under one of them is ours, too
}

func newRegistrar(cfg *Config, l *link, stats *counters) *registrar {
	r := &registrar{cfg: cfg, link: l, logger: cfg.Logger, stats: stats, wake: make(chan struct{}, 1), done: make(chan struct{})}
	r.mu.all = map[string]*Registration{}
	return r
}

func (r *registrar) add(g *Registration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.mu.all[g.key]; ok {
		return ErrDuplicate
	}
	if len(r.mu.all) >= registrationsMax {
		return ErrFull
	}
	g.dirty = true
	r.mu.all[g.key] = g
	r.hurry()
	return nil
}

// soil has g written again.
func (r *registrar) soil(g *Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.dirty = true
	r.hurry()
}

func (r *registrar) remove(g *Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.all[g.key] == g {
		delete(r.mu.all, g.key)
		r.mu.leaving = append(r.mu.leaving, g)
		r.hurry()
	}
}

func (r *registrar) hurry() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *registrar) gauges() (wanted, registered int) {
	for _, g := range r.list() {
		wanted++
		if g.State().Status == Registered {
			registered++
		}
	}
	return wanted, registered
}

func (r *registrar) list() (all []*Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.mu.all {
		all = append(all, g)
	}
	return all
}

// run makes rounds until ctx ends.
func (r *registrar) run(ctx context.Context) {
	defer close(r.done)
	wait := backoff{min: r.cfg.BackoffMin, max: r.cfg.BackoffMax}
	failing := false // and the log has a line of it
	for {
		s, err := r.link.session(ctx)
		if err != nil {
			return
		}
		rctx, cancel := context.WithCancel(s.ctx)
		stop := context.AfterFunc(ctx, cancel)
		err = r.round(rctx, s)
		stop()
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			wait.reset()
			failing = false
			r.rest(ctx, s)
			continue
		}
		r.stats.heartbeatFailures.Add(1)
		for _, g := range r.list() {
			g.trouble(err)
		}
		if endsSession(err) {
			s.fail(err)
			continue // the next session is waited for, and the link paces those
		}
		if !failing {
			failing = true
			r.logger.LogAttrs(ctx, slog.LevelWarn, "instances cannot be registered", slog.Any("error", err))
		}
		pause(ctx, wait.next(rand.Int64N))
	}
}

// rest waits for the next round.
func (r *registrar) rest(ctx context.Context, s *session) {
	beat := r.cfg.heartbeat()
	// A tenth more or less, so that those who were started together do not beat together for ever.
	timer := time.NewTimer(beat*9/10 + time.Duration(rand.Int64N(int64(beat/5)+1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.ctx.Done():
	case <-r.wake:
	case <-timer.C:
	}
}

// round makes etcd hold what it should.
func (r *registrar) round(ctx context.Context, s *session) error {
	r.mu.Lock()
	leaving := slices.Clone(r.mu.leaving)
	r.mu.Unlock()
	for _, g := range leaving {
		if err := r.erase(ctx, s, g); err != nil {
			return err
		}
		r.mu.Lock()
		r.mu.leaving = slices.DeleteFunc(r.mu.leaving, func(o *Registration) bool { return o == g })
		r.mu.Unlock()
		close(g.gone)
	}
	all := r.list()
	if len(all) == 0 {
		return nil // a lease that nobody needs runs out by itself
	}
	if err := r.beat(ctx, s, all); err != nil {
		return err
	}
	var refused error
	for chunk := range slices.Chunk(all, readsPerRequest) {
		keys, err := r.look(ctx, s, chunk)
		if err != nil {
			return err
		}
		for n, g := range chunk {
			err := r.keep(ctx, s, g, keys[n])
			if err != nil && endsSession(err) {
				return err
			}
			if err != nil {
				g.trouble(err) // and the others go on
				refused = err
			}
		}
	}
	return refused
}

// beat renews the lease, or takes a new one.
func (r *registrar) beat(ctx context.Context, s *session, all []*Registration) error {
	if r.lease != 0 {
		var err error
		if time.Now().After(r.until) {
			err = r.overdue(ctx, s)
		}
		if err == nil {
			err = r.renew(ctx, s)
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		r.lease = 0
		r.stats.leaseLosses.Add(1)
		for _, g := range all {
			if g.lose(err) {
				r.logger.LogAttrs(ctx, slog.LevelWarn, "etcd has lost the lease of an instance", slog.String("key", g.key))
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	sent := time.Now()
	a, err := s.client.Grant(ctx, int64(r.cfg.TTL/time.Second))
	if err != nil {
		return err
	}
	r.stats.leaseGrants.Add(1)
	r.lease, r.until = a.ID, sent.Add(time.Duration(a.TTL)*time.Second)
	// A key of an earlier lease is met when that was revoked under us and its keys not deleted yet.
	r.leases = append(r.leases, r.lease)
	if len(r.leases) > leasesMax {
		r.leases = r.leases[1:]
	}
	return nil
}

// overdue asks after a lease that by our clock has run out. etcd may have it still, for one that was restarted begins all
// times anew; it may have revoked it, which is ErrLeaseNotFound; and it may be about to. The renewal of a lease of the last
// kind is not answered before the revocation is done, and etcd gets round to that in seconds, or in many when thousands
// ran out together and some revocations have to be repeated. A new lease is to be had at once, and takes over the keys:
// when the old one goes, it takes nothing along. So a lease with nothing left is ErrLeaseNotFound, too.
func (r *registrar) overdue(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	a, err := s.client.TimeToLive(ctx, r.lease)
	if err == nil && a.TTL <= 0 {
		return rpctypes.ErrLeaseNotFound
	}
	return err
}

func (r *registrar) renew(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	r.stats.heartbeats.Add(1)
	sent := time.Now()
	a, err := s.client.KeepAliveOnce(ctx, r.lease)
	if err == nil {
		r.until = sent.Add(time.Duration(a.TTL) * time.Second)
	}
	return err
}

// found is the key of a registration as etcd has it.
type found struct {
	revision int64 // of its last change, 0 if there is no such key
	lease    clientv3.LeaseID
}

// look reads the keys of the registrations. The values come with them and are not looked at: without values, etcd 3.7
// leaves out the lease as well.
func (r *registrar) look(ctx context.Context, s *session, all []*Registration) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	ops := make([]clientv3.Op, len(all))
	for n, g := range all {
		ops[n] = clientv3.OpGet(g.key)
	}
	a, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, err
	}
	keys := make([]found, len(all))
	for n := range all {
		keys[n] = foundIn(a.Responses[n].GetResponseRange())
	}
	return keys, nil
}

func foundIn(a *pb.RangeResponse) (f found) {
	if a != nil && len(a.Kvs) > 0 {
		f.revision, f.lease = a.Kvs[0].ModRevision, clientv3.LeaseID(a.Kvs[0].Lease)
	}
	return f
}

// keep compares a key with what it should be, and writes it if it must.
//
// Whose it is, its lease says: each process has another. Create revisions would not tell, since writing over a key keeps
// its create revision. The first write of a Registration takes the key, whoever has it: the later process wins, because
// the earlier of two with one id is mostly one that is about to end. After that a key of somebody else is left alone, or
// two would take it from each other for ever; when it is gone, it is ours again.
func (r *registrar) keep(ctx context.Context, s *session, g *Registration, key found) error {
	r.mu.Lock()
	dirty := g.dirty
	g.dirty = false
	r.mu.Unlock()
	// A key without a lease was written by hand, and no process stands behind it.
	first, mine := !g.written, key.lease == 0 || slices.Contains(r.leases, key.lease)
	if key.revision != 0 && !mine && !first {
		if g.lose(ErrReplaced) {
			r.stats.replaced.Add(1)
			r.logger.LogAttrs(ctx, slog.LevelWarn, "a later process has registered the same instance", slog.String("key", g.key))
		}
		r.again(g, dirty)
		return nil
	}
	if key.lease == r.lease && !dirty {
		r.kept(ctx, g)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	unchanged := clientv3.Compare(clientv3.ModRevision(g.key), "=", key.revision) // 0 for a key that is not there
	a, err := s.client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(g.key, g.text(), clientv3.WithLease(r.lease))).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		// Between our heartbeat and now etcd has lost its data once more.
		r.again(g, true)
		r.hurry()
		return nil
	}
	if err != nil {
		r.again(g, true)
		return err
	}
	if !a.Succeeded {
		r.again(g, true)
		r.hurry() // somebody was between; look again
		return nil
	}
	if !first && key.revision == 0 {
		r.stats.restored.Add(1)
	}
	g.written = true
	r.kept(ctx, g)
	return nil
}

// again keeps in mind that g is to be written.
func (r *registrar) again(g *Registration, dirty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.dirty = g.dirty || dirty
}

func (r *registrar) kept(ctx context.Context, g *Registration) {
	if g.set(Registered, nil, r.until) {
		r.logger.LogAttrs(ctx, slog.LevelInfo, "an instance is registered", slog.String("key", g.key))
	}
}

// erase deletes the key of a deregistered instance, if it is still ours.
func (r *registrar) erase(ctx context.Context, s *session, g *Registration) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	for _, lease := range r.leases {
		ours := clientv3.Compare(clientv3.LeaseValue(g.key), "=", lease)
		a, err := s.client.Txn(ctx).If(ours).Then(clientv3.OpDelete(g.key)).Commit()
		if err != nil {
			return err
		}
		if a.Succeeded {
			return nil
		}
	}
	return nil
}

// end deletes everything that is ours by giving up the lease, within ctx. It is called after run.
func (r *registrar) end(ctx context.Context) error {
	for _, g := range r.list() {
		g.set(Deregistered, nil, time.Time{})
	}
	if r.lease == 0 {
		return nil
	}
	s, err := r.link.session(ctx)
	if err != nil {
		return err
	}
	_, err = s.client.Revoke(ctx, r.lease)
	if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

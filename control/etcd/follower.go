package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/kit/registry"
)

// endpointsMax bounds the instances of one service that become endpoints (too_many_endpoints). Each has connections, a place in every
// loop's tables and perhaps a check; what anybody can write into etcd must not cost more than that.
const endpointsMax = 4096

// weightMax is the greatest weight that balancing knows.
const weightMax = 1000

// Config is what a Follower is made of.
type Config struct {
	Services []*Service // of a cluster, at least one
	// Before is the one whose place this one takes; nil: none. What was known to it is known to this one.
	Before *Follower
	// Changed is called, on a goroutine of the Follower, whenever Targets may be others than before. It must not call Stop, nor wait for
	// somebody who does.
	Changed func()
}

// Follower is the services of one cluster. Its methods may be called from any goroutine, Start and Stop once each, in this order.
type Follower struct {
	// Frozen.
	registries *Registries
	cfg        Config
	services   []*service
	ctx        context.Context
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
}

// service is one of them.
type service struct {
	plan    *Service
	shared  *shared
	watcher *registry.Watcher

	mu struct {
		sync.Mutex
		seen     *registry.Set // what instances is made of
		list     []instance    // the last that was not empty
		kept     bool          // the set is empty, and list stays
		unusable int           // instances without an address that could be used
	}
}

// instance is an endpoint and what else its registration says.
type instance struct {
	target                    upstream.Target
	id, zone, colour, version string
}

// Follow begins to follow the services of a cluster, of which there is at least one. It does not wait for etcd. Stop must be called,
// whether or not Start was.
func (r *Registries) Follow(cfg Config) (*Follower, error) {
	f := &Follower{registries: r, cfg: cfg}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for _, plan := range cfg.Services {
		s := &service{plan: plan}
		var err error
		if s.shared, err = r.acquire(&plan.Server); err == nil {
			if s.watcher, err = s.shared.registry.Watch(plan.Service); err != nil {
				r.release(s.shared)
			}
		}
		if err != nil {
			f.Stop()
			return nil, fmt.Errorf("%s: %w", plan, err)
		}
		s.recall(cfg.Before)
		f.services = append(f.services, s)
	}
	return f, nil
}

// recall takes over what another follower knows of the same service.
func (s *service) recall(before *Follower) {
	if before == nil {
		return
	}
	for _, old := range before.services {
		if old.plan.Name() == s.plan.Name() {
			old.mu.Lock()
			s.mu.list = old.mu.list
			old.mu.Unlock()
		}
	}
}

// firstMax is how long First waits: an etcd that answers does so at once, and one that is frozen is left after two timeouts of 2 s.
const firstMax = 5 * time.Second

// ErrUnknown: etcd has not answered yet, and no file tells what it said before.
var ErrUnknown = errors.New("etcd has not answered")

// First waits until something is known of every service, be it from a file, but not for ever. The error names those of which nothing is
// known; the others are in use all the same.
func (f *Follower) First(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstMax)
	defer cancel()
	var missing []error
	for _, s := range f.services {
		if _, err := s.watcher.Wait(ctx); err == nil || len(s.instances()) > 0 {
			continue
		}
		why := ErrUnknown
		if last := s.shared.registry.Stats().LastError; last != nil {
			why = fmt.Errorf("%w: %w", ErrUnknown, last)
		}
		missing = append(missing, fmt.Errorf("%s: %w", s.plan, why))
	}
	return errors.Join(missing...)
}

// Start lets Changed be called, for the first time at once if anything is known.
func (f *Follower) Start() {
	for _, s := range f.services {
		f.tasks.Go(func() {
			for range s.watcher.Sets(f.ctx) {
				f.cfg.Changed()
			}
		})
	}
}

// Stop ends it and waits until it is no longer at work: Changed is not called afterwards. Targets and Statuses are what they were.
func (f *Follower) Stop() {
	f.cancel()
	f.tasks.Wait()
	for _, s := range f.services {
		s.watcher.Close()
		f.registries.release(s.shared)
	}
}

// instances brings the list up to the present set and returns it.
func (s *service) instances() []instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.watcher.Set()
	if set == s.mu.seen || set.Freshness == registry.Unknown {
		return s.mu.list
	}
	s.mu.seen = set
	list, unusable := s.choose(set)
	s.mu.unusable = unusable
	if s.mu.kept = len(list) == 0; !s.mu.kept {
		s.mu.list = list
	}
	return s.mu.list
}

// choose returns those of a set that the cluster means, by address, and how many have none that can be used.
func (s *service) choose(set *registry.Set) (list []instance, unusable int) {
	matches := func(want, is string) bool { return want == "" || want == is }
	for i := range set.Instances {
		r := &set.Instances[i]
		if !matches(s.plan.Zone, r.Zone) || !matches(s.plan.Colour, r.Colour) || !matches(s.plan.Version, r.Version) {
			continue
		}
		addr, err := netip.ParseAddrPort(r.Address)
		if err != nil || !addr.IsValid() || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() || addr.Port() == 0 || len(list) == endpointsMax {
			unusable++ // a name would have to be resolved, again and again, and a port of 0 leads nowhere
			continue
		}
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		list = append(list, instance{
			target: upstream.Target{Addr: addr, Name: addr.String(), Weight: min(max(r.Weight, 1), weightMax), Priority: s.plan.Priority},
			id:     r.ID, zone: r.Zone, colour: r.Colour, version: r.Version,
		})
	}
	slices.SortFunc(list, func(a, b instance) int { return cmp.Or(a.target.Addr.Compare(b.target.Addr), cmp.Compare(a.id, b.id)) })
	// Of two registrations at one address the one with the smaller ID holds, on every gateway.
	list = slices.CompactFunc(list, func(a, b instance) bool { return a.target.Addr == b.target.Addr })
	return list, unusable
}

// Targets returns the endpoints of the services in the order of the document, those of one service in the order of addresses.
func (f *Follower) Targets() []upstream.Target {
	list := []upstream.Target{}
	for _, s := range f.services {
		for _, i := range s.instances() {
			list = append(list, i.target)
		}
	}
	return list
}

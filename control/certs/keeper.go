package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/file"
)

const (
	// settle is how long a change may look wrong before it counts as a fault: a certificate and its key are replaced one
	// after the other, by a person or by a script that copies them over a slow line.
	settle = 5 * time.Second
	// poll is how often everything is looked at although nobody said anything: for expiry, for what no watch can tell, and
	// for files that are not watched.
	poll = 20 * time.Second
	// watchesMax bounds the files that are watched. Each watch is an inotify instance, of which Linux gives a user 128 by
	// default, to be shared with everybody else; files beyond are found by the poll.
	watchesMax = 32
)

// Config is what a Keeper is made of.
type Config struct {
	// Pairs and Bundles are the files. A Set holds what was read in the same order.
	Pairs   []Pair
	Bundles []string
	// AllowExpired lets the keeper begin with certificates outside their time, which it says like any later fault: a gateway
	// that is restarted while one certificate has run out still has all others to serve. A change is better refused.
	AllowExpired bool
	// Before is a Keeper that is at work, if there is one, and will be closed soon. Of a pair or bundle that it has as well
	// the new one holds the same, as long as the files did not change; and if they are bad by now it goes on with what was
	// good: that a file is broken which is in use already must not keep anybody from changing something else.
	Before *Keeper
	// Changed is called with everything whenever something was replaced. It is called on the Keeper's goroutine: it must not
	// call Close, nor wait for somebody who does.
	Changed func(Set)
	Logger  *slog.Logger // nil tells nobody
	// Clock is where the time comes from; the zero Clock is the real one.
	Clock Clock
}

// Clock is the time as a Keeper needs it. Nil functions are those of package time.
type Clock struct {
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// Set is what the files hold: for each pair its certificate, for each bundle its pool. What did not change is the same
// pointer as before. It is frozen, but for the slices, which belong to whoever was given them.
type Set struct {
	Certificates []*tls.Certificate
	Pools        []*x509.CertPool
	Authorities  [][]*x509.Certificate // in Pools
}

// Status is how it stands with one pair or bundle.
type Status struct {
	Path   string // of the certificate or bundle
	Key    string // path of the key; empty for a bundle
	Bundle bool
	Client bool // a pair that is presented to upstreams
	// Names are the host names and addresses of the certificate in use, its subject if it has none; nil for a bundle.
	Names []string
	// NotBefore and NotAfter are those of the certificate in use; of a bundle, those of the authority that expires last.
	NotBefore, NotAfter time.Time
	// LastError is what is wrong now: with the files, while an earlier certificate stays in use, or with its time. nil: all
	// is well. Since is when it began to be so, or to be well.
	LastError error
	Since     time.Time
	// Outside says that what is in use is outside its time.
	Outside bool
}

// Keeper keeps the certificates of a fixed set of files fresh. Its methods may be called from any goroutine.
type Keeper struct {
	// Frozen.
	cfg      Config
	watchers []*file.Watcher
	look     chan struct{} // a file changed; one place, since more says no more
	stop     chan struct{}
	done     chan struct{}

	mu struct {
		sync.Mutex
		items []*item // the slice is frozen; Keeper.round changes what is in it
	}
}

// Open reads everything and begins to watch. Everything must be in order, or the error names each file that is not; what
// was begun for it is ended then.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock.Now == nil {
		cfg.Clock.Now = time.Now
	}
	if cfg.Clock.After == nil {
		cfg.Clock.After = time.After
	}
	k := &Keeper{cfg: cfg, look: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	for _, p := range cfg.Pairs {
		k.mu.items = append(k.mu.items, &item{source: pairSource(p)})
	}
	for _, path := range cfg.Bundles {
		k.mu.items = append(k.mu.items, &item{source: bundleSource(path)})
	}
	k.watch() // before the files are read: a change in between is seen
	now := cfg.Clock.Now()
	var faults []error
	for _, i := range k.mu.items {
		if err := i.open(now, cfg.Before.state(&i.source), cfg.AllowExpired, cfg.Logger); err != nil {
			faults = append(faults, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		k.unwatch()
		return nil, err
	}
	if cfg.Before != nil { // what was taken over may be different from the files
		k.again()
	}
	k.cfg.Before = nil
	go k.run()
	return k, nil
}

// state returns how it stands with an item of the same source; nil if there is none.
func (k *Keeper) state(of *source) *state {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range k.mu.items {
		if i.same(of) {
			now := i.state
			return &now
		}
	}
	return nil
}

// watch begins to watch as many files as it may.
func (k *Keeper) watch() {
	var paths []string
	for _, i := range k.mu.items {
		for _, path := range i.paths {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	for n, path := range paths {
		if n == watchesMax {
			k.cfg.Logger.Info("not every certificate file is watched, changes of the others are found by looking",
				"watched", watchesMax, "files", len(paths), "interval", poll)
			return
		}
		// The watch says that something happened; what to read together is known here. So its own log is not needed.
		w, err := file.Watch(file.Config{Path: path, After: k.cfg.Clock.After, Changed: func([]byte) { k.again() }})
		if err != nil {
			k.cfg.Logger.Info("the file is not watched, changes are found by looking", "file", path, "interval", poll, "error", err)
			continue
		}
		k.watchers = append(k.watchers, w)
	}
}

// again has everything looked at.
func (k *Keeper) again() {
	select {
	case k.look <- struct{}{}:
	default:
	}
}

func (k *Keeper) unwatch() {
	for _, w := range k.watchers {
		w.Close()
	}
}

// Close ends the watches and waits until the keeper is no longer at work: Changed is not called afterwards.
func (k *Keeper) Close() {
	close(k.stop)
	<-k.done
	k.unwatch()
}

// run is the keeper's goroutine.
func (k *Keeper) run() {
	defer close(k.done)
	polled := k.cfg.Clock.After(poll)
	var settled <-chan time.Time // running while something looks wrong that may be half a change
	for {
		select {
		case <-k.stop:
			return
		case <-k.look:
		case <-settled:
			settled = nil
		case <-polled:
			polled = k.cfg.Clock.After(poll)
		}
		changed, unsettled := k.round(k.cfg.Clock.Now())
		if unsettled && settled == nil {
			settled = k.cfg.Clock.After(settle)
		}
		if changed {
			k.cfg.Changed(k.Set())
		}
	}
}

// round looks at everything once.
func (k *Keeper) round(now time.Time) (changed, unsettled bool) {
	for _, i := range k.mu.items {
		texts, err := i.source.read() // outside the lock: a file may be on a slow disk
		k.mu.Lock()
		c, u := i.look(texts, err, now, k.cfg.Logger)
		k.mu.Unlock()
		changed, unsettled = changed || c, unsettled || u
	}
	return changed, unsettled
}

// Set returns what is in use.
func (k *Keeper) Set() Set {
	k.mu.Lock()
	defer k.mu.Unlock()
	var s Set
	for _, i := range k.mu.items {
		if i.bundle {
			s.Pools = append(s.Pools, i.held.pool)
			s.Authorities = append(s.Authorities, i.held.authorities)
		} else {
			s.Certificates = append(s.Certificates, i.held.cert)
		}
	}
	return s
}

// Statuses says how it stands with each pair, then with each bundle, in the order of the configuration.
func (k *Keeper) Statuses() []Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]Status, len(k.mu.items))
	for n, i := range k.mu.items {
		list[n] = i.status()
	}
	return list
}

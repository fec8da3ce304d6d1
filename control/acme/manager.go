package acme

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Manager keeps the certificates of its groups. Its methods may be called from any goroutine; Start and Stop once each, in
// this order.
type Manager struct {
	// Frozen.
	cfg     Config
	log     *slog.Logger
	store   *store
	lease   *lease
	pollMin time.Duration // of the transport; tests have no second to wait
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // nil until Start

	// groups is frozen; what is in them belongs to the goroutine, but for what is published.
	groups []*group

	mu struct {
		sync.Mutex
		statuses []Status
		certs    []*tls.Certificate
	}
}

// group is one certificate to have.
type group struct {
	index    int
	names    []string
	cert     *tls.Certificate // nil: none yet
	failures int              // orders in a row that failed
	next     time.Time        // when to order, or to look whether somebody else has
}

// State is what a group is about.
type State string

// The states of a group.
const (
	StateWaiting  State = "waiting"  // for its first order, or for another process that is ordering
	StateOrdering State = "ordering" // now; the certificate there is stays in use
	StateReady    State = "ready"    // NextAttempt is its renewal
	StateFailing  State = "failing"  // the last order failed: LastError; the certificate there is stays in use
)

// Status is how it stands with a group.
type Status struct {
	Names       []string
	State       State
	NotBefore   time.Time
	NotAfter    time.Time // of the certificate; zero, as NotBefore then is too: there is none
	NextAttempt time.Time
	LastError   error // of the last order; nil if it went well
	Failures    int   // orders in a row that failed
}

// New loads what the folder holds. It asks nobody: that the authority is out of reach shows in the statuses.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("certificates by ACME: %w", err)
	}
	s, err := openStore(cfg.Folder, cfg.Directory)
	if err != nil {
		return nil, fmt.Errorf("certificates by ACME: %w", err)
	}
	owner, err := newOwner()
	if err != nil {
		return nil, fmt.Errorf("certificates by ACME: %w", err)
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, store: s, pollMin: pollMin,
		lease: &lease{path: filepath.Join(s.path, "order.lock"), owner: owner},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.mu.statuses, m.mu.certs = make([]Status, len(cfg.Groups)), make([]*tls.Certificate, len(cfg.Groups))
	now := cfg.Clock.Now()
	for i, names := range cfg.Groups {
		g := &group{index: i, names: names, next: now}
		m.groups = append(m.groups, g)
		cert, err := s.certificate(names, now)
		if err != nil {
			m.log.Error("a stored certificate cannot be used, another will be ordered", "names", names, "error", err)
		}
		if cert != nil {
			g.cert, g.next = cert, renewAt(cert.Leaf, cfg.Clock.Random())
			m.publish(g, StateReady, nil)
			m.log.Info("a stored certificate is in use", "names", names, "not_after", cert.Leaf.NotAfter, "renewal", g.next)
		} else {
			m.publish(g, StateWaiting, err)
		}
	}
	return m, nil
}

// newOwner names this Manager for others that want its lease.
func newOwner() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is for people; the number is what counts
	}
	return fmt.Sprintf("%s, process %d, %s", host, os.Getpid(), hex.EncodeToString(b[:])), nil
}

// Start begins to order and renew.
func (m *Manager) Start() {
	m.done = make(chan struct{})
	go m.run()
}

// Stop gives up an order that is under way, removes its answers and waits for the goroutine: nothing is called back
// afterwards.
func (m *Manager) Stop() {
	m.cancel()
	if m.done != nil {
		<-m.done
	}
}

// Certificates returns the certificate of each group, nil where there is none yet.
func (m *Manager) Certificates() []*tls.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.certs)
}

// Statuses says how it stands with each group.
func (m *Manager) Statuses() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.statuses)
}

// publish makes a group's state visible. err is that of the last order.
func (m *Manager) publish(g *group, state State, err error) {
	s := Status{Names: g.names, State: state, NextAttempt: g.next, LastError: err, Failures: g.failures}
	if g.cert != nil {
		s.NotBefore, s.NotAfter = g.cert.Leaf.NotBefore, g.cert.Leaf.NotAfter
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.statuses[g.index], m.mu.certs[g.index] = s, g.cert
}

// lastError is what was published last.
func (m *Manager) lastError(g *group) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.statuses[g.index].LastError
}

// run is the Manager's goroutine.
func (m *Manager) run() {
	defer close(m.done)
	for m.ctx.Err() == nil {
		g := slices.MinFunc(m.groups, func(a, b *group) int { return a.next.Compare(b.next) })
		if wait := g.next.Sub(m.cfg.Clock.Now()); wait > 0 {
			select {
			case <-m.cfg.Clock.After(min(wait, lookMax)):
			case <-m.ctx.Done():
			}
			continue
		}
		m.attend(g)
	}
}

// attend does what is due for a group, and sets the next time.
func (m *Manager) attend(g *group) {
	now := m.cfg.Clock.Now()
	if err := m.lease.take(now); err != nil {
		m.leaseRefused(g, err, now)
		return
	}
	defer func() {
		if err := m.lease.release(); err != nil {
			m.log.Error("the lease to order certificates cannot be given back, it ends by itself",
				"folder", m.store.path, "error", err)
		}
	}()
	if m.adopt(g, now) {
		return
	}
	m.publish(g, StateOrdering, m.lastError(g))
	m.log.Info("a certificate is being ordered", "names", g.names, "directory", m.cfg.Directory, "challenge", m.cfg.Challenge)
	cert, text, err := m.order(m.ctx, g.names)
	now = m.cfg.Clock.Now()
	switch {
	case err == nil:
		m.ordered(g, cert, text, now)
	case m.ctx.Err() == nil: // otherwise it was given up by us
		m.failed(g, m.plain(err), now)
	}
}

// leaseRefused puts a group off because another is ordering, or because the folder is out of order.
func (m *Manager) leaseRefused(g *group, err error, now time.Time) {
	var leased *errLeased
	if !errors.As(err, &leased) {
		m.failed(g, fmt.Errorf("take the lease to order: %w", err), now)
		return
	}
	g.next = now.Add(leasePoll)
	m.publish(g, StateWaiting, m.lastError(g))
	m.log.Debug("a certificate is not ordered yet", "names", g.names, "reason", leased)
}

// adopt takes over what another process has ordered meanwhile.
func (m *Manager) adopt(g *group, now time.Time) bool {
	cert, err := m.store.certificate(g.names, now)
	if errors.Is(err, errDamaged) {
		if err := m.store.setAside(fileName(g.names), "damaged"); err != nil {
			m.log.Error("a damaged certificate cannot be set aside", "names", g.names, "error", err)
		}
	}
	// What is there may also be older than what is held, if that could not be stored.
	if cert == nil || g.cert != nil && (cert.Leaf.Equal(g.cert.Leaf) || cert.Leaf.NotAfter.Before(g.cert.Leaf.NotAfter)) {
		return false
	}
	g.cert, g.next, g.failures = cert, renewNewAt(cert.Leaf, now, m.cfg.Clock.Random()), 0
	m.publish(g, StateReady, nil)
	m.log.Info("a certificate that another process ordered is in use",
		"names", g.names, "not_after", cert.Leaf.NotAfter, "renewal", g.next)
	m.cfg.Changed(m.Certificates())
	return true
}

func (m *Manager) ordered(g *group, cert *tls.Certificate, text []byte, now time.Time) {
	g.cert, g.next, g.failures = cert, renewNewAt(cert.Leaf, now, m.cfg.Clock.Random()), 0
	if err := m.store.putCertificate(g.names, text); err != nil {
		m.log.Error("a new certificate is in use and cannot be stored, a restart will order another",
			"names", g.names, "error", err)
	}
	m.publish(g, StateReady, nil)
	m.log.Info("a certificate was issued and is in use", "names", g.names, "not_after", cert.Leaf.NotAfter, "renewal", g.next)
	m.cfg.Changed(m.Certificates())
}

func (m *Manager) failed(g *group, err error, now time.Time) {
	g.failures++
	g.next = now.Add(max(backoff(g.failures, m.cfg.Clock.Random()), askedToWait(err, now)))
	m.publish(g, StateFailing, err)
	m.log.Error("a certificate cannot be had, it will be tried again",
		"names", g.names, "next_attempt", g.next, "failures", g.failures, "error", err)
}

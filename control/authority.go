package control

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/acme"
	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway"
)

// authority is the certificates that an ACME authority gives us. It lives on over changes of the configuration that leave
// alone what it is about. Owned by the controller's goroutine.
type authority struct {
	said     config.ACME
	groups   [][]string
	manager  *acme.Manager
	standIns []*tls.Certificate // shown until there is a certificate; nil where there always was one
	started  bool
}

// group returns the number of a list of names.
func (a *authority) group(names []string) int {
	return slices.IndexFunc(a.groups, func(g []string) bool { return slices.Equal(g, names) })
}

// certificate returns the certificate of a list of names, or what stands in for it.
func (a *authority) certificate(names []string) *tls.Certificate {
	i := a.group(names)
	if cert := a.manager.Certificates()[i]; cert != nil {
		return cert
	}
	return a.standIns[i]
}

// groupsOf returns the lists of names that a plan wants certificates for.
func groupsOf(plan *compile.Plan) (groups [][]string) {
	for _, l := range plan.Listeners {
		if l.TLS == nil {
			continue
		}
		for i := range l.TLS.Certificates {
			names := l.TLS.Certificates[i].ACME
			if len(names) > 0 && !slices.ContainsFunc(groups, func(g []string) bool { return slices.Equal(g, names) }) {
				groups = append(groups, names)
			}
		}
	}
	return groups
}

// openAuthority finds or makes the authority of a plan; nil if it names none. Nothing is asked of anybody yet.
func (c *Controller) openAuthority(plan *compile.Plan) (*authority, error) {
	groups := groupsOf(plan)
	if len(groups) == 0 {
		return nil, nil
	}
	if plan.Document.ACME == nil {
		return nil, errors.New("the document names certificates of an authority, and no authority") // the parser asks for it
	}
	said := *plan.Document.ACME
	said.Pos = config.Pos{}
	if old := c.authority; old != nil && old.said == said && slices.EqualFunc(old.groups, groups, slices.Equal) {
		return old, nil
	}
	a := &authority{said: said, groups: groups}
	cfg := acme.Config{
		Directory: said.Directory, Email: said.Email, AcceptTerms: said.AcceptTerms, Folder: said.Storage, Groups: groups,
		Challenge: acme.Challenge(said.Challenge), Logger: c.logger, Answers: c.challenges.answers(),
		Changed: func([]*tls.Certificate) { c.mail.post(c.showCertificates) },
	}
	if cfg.Folder == "" {
		folder := c.history.Directory()
		if folder == "" {
			return nil, errors.New("certificates need a folder to be kept in, and there is none for revisions either: set acme.storage")
		}
		cfg.Folder = filepath.Join(folder, "acme")
	}
	if said.CA != "" {
		roots, err := certs.LoadBundle(said.CA, time.Now())
		if err != nil {
			return nil, err
		}
		cfg.Roots = roots
	}
	var err error
	if a.manager, err = acme.New(cfg); err != nil {
		return nil, err
	}
	for i, cert := range a.manager.Certificates() {
		a.standIns = append(a.standIns, nil)
		if cert != nil {
			continue
		}
		if a.standIns[i], err = acme.StandIn(groups[i], time.Now()); err != nil {
			return nil, fmt.Errorf("make a certificate to stand in for that of %v: %w", groups[i], err)
		}
		c.logger.Warn("a certificate that no client trusts is shown until the authority has given one", "names", groups[i])
	}
	return a, nil
}

// swapAuthority begins to order certificates, when the listeners serve that can answer for us.
func (c *Controller) swapAuthority(a *authority, s *secrets) {
	var stores []*tlsconn.Store
	for _, ls := range s.listeners {
		if ls != nil {
			stores = append(stores, ls.store)
		}
	}
	c.challenges.serve(c.plane.gateway, stores)
	old := c.authority
	c.authority = a
	if old != nil && old != a {
		c.endAuthority(old)
	}
	if a != nil && !a.started && c.accepting {
		a.started = true
		a.manager.Start()
	}
}

// endAuthority stops an authority, in the background: it may be waiting for us.
func (c *Controller) endAuthority(a *authority) {
	if a != nil {
		c.background.Go(a.manager.Stop)
	}
}

// showCertificates has listeners show what the authority gave.
func (c *Controller) showCertificates() {
	if c.secrets == nil || c.stopping.Load() {
		return
	}
	for i, l := range c.listeners {
		if ls := c.secrets.listeners[i]; ls != nil {
			ls.store.Set(c.certificatesOf(c.secrets, c.authority, l.plan.TLS))
		}
	}
}

// challenges are the answers by which an authority sees that names lead to this gateway. They are set from an authority's
// goroutine, and survive a change of listeners.
type challenges struct {
	mu struct {
		sync.Mutex
		gateway *gateway.Gateway
		stores  []*tlsconn.Store
		certs   map[string]*tls.Certificate
		tokens  map[string]string
	}
}

func (h *challenges) answers() acme.Answers {
	return acme.Answers{
		SetHTTP01:    func(token, answer string) { h.setToken(token, answer) },
		RemoveHTTP01: func(token string) { h.setToken(token, "") },
		SetTLSALPN01: func(name string, cert *tls.Certificate) { h.setCert(name, cert) },
		RemoveTLSALPN01: func(name string) {
			h.setCert(name, nil)
		},
	}
}

// serve names who answers from now on.
func (h *challenges) serve(g *gateway.Gateway, stores []*tlsconn.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.gateway, h.mu.stores = g, stores
	for name, cert := range h.mu.certs {
		for _, s := range stores {
			_ = s.SetChallenge(name, cert) // it fails for want of room only: the order fails then, and says so
		}
	}
}

func (h *challenges) setCert(name string, cert *tls.Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.certs == nil {
		h.mu.certs = map[string]*tls.Certificate{}
	}
	for _, s := range h.mu.stores {
		if cert == nil {
			s.RemoveChallenge(name)
		} else {
			_ = s.SetChallenge(name, cert)
		}
	}
	if cert == nil {
		delete(h.mu.certs, name)
	} else {
		h.mu.certs[name] = cert
	}
}

func (h *challenges) setToken(token, answer string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	tokens := maps.Clone(h.mu.tokens)
	if tokens == nil {
		tokens = map[string]string{}
	}
	if answer == "" {
		delete(tokens, token)
	} else {
		tokens[token] = answer
	}
	h.mu.tokens = tokens
	if h.mu.gateway != nil {
		h.mu.gateway.SetChallenges(tokens)
	}
}

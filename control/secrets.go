package control

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// secrets is the certificates and authorities that a configuration names, kept fresh as their files change, and what the data
// plane makes of them. Owned by the controller's goroutine; the Keeper calls back over its mailbox.
type secrets struct {
	keeper    *certs.Keeper // nil: no files are named
	pairs     []certs.Pair
	bundles   []string
	set       certs.Set
	listeners []*listenerSecrets // by place in the plan; nil: no TLS
	clusters  []*clusterSecrets  // likewise
}

// listenerSecrets is what a listener shows its clients.
type listenerSecrets struct {
	store *tlsconn.Store
	tls   *engine.TLS
}

// clusterSecrets is what a cluster's endpoints are met with. Connections and sessions belong to it: as long as none of it is
// another, it is the same.
type clusterSecrets struct {
	said config.ClusterTLS // without its place in the document
	alpn []string
	pool *x509.CertPool   // nil: the system's
	cert *tls.Certificate // nil: none
	tls  *tls.Config
}

// pair returns the number of a pair of files among those the keeper keeps.
func (s *secrets) pair(p certs.Pair) int {
	for i := range s.pairs {
		if s.pairs[i] == p {
			return i
		}
	}
	s.pairs = append(s.pairs, p)
	return len(s.pairs) - 1
}

func (s *secrets) bundle(path string) int {
	for i := range s.bundles {
		if s.bundles[i] == path {
			return i
		}
	}
	s.bundles = append(s.bundles, path)
	return len(s.bundles) - 1
}

// gather notes the files that a plan names.
func (s *secrets) gather(plan *compile.Plan) {
	for _, l := range plan.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, c := range l.TLS.Certificates {
			if c.Cert != "" {
				s.pair(certs.Pair{Cert: c.Cert, Key: c.Key})
			}
		}
		if cc := l.TLS.ClientCertificates; cc != nil {
			s.bundle(cc.CA)
		}
	}
	for _, cl := range plan.Clusters {
		if cl.TLS == nil {
			continue
		}
		if cl.TLS.CA != "" {
			s.bundle(cl.TLS.CA)
		}
		if cl.TLS.Cert != "" {
			s.pair(certs.Pair{Cert: cl.TLS.Cert, Key: cl.TLS.Key, Client: true})
		}
	}
}

// openSecrets reads every certificate of the plan. One that is missing, broken or expired fails the change; at a start one
// that has merely expired does not, for the others are better served than not.
func (c *Controller) openSecrets(w *work) error {
	s := &secrets{}
	w.secrets = s
	s.gather(w.plan)
	if len(s.pairs)+len(s.bundles) > 0 {
		var before *certs.Keeper
		if c.secrets != nil {
			before = c.secrets.keeper
		}
		var err error
		s.keeper, err = certs.Open(certs.Config{
			Pairs: s.pairs, Bundles: s.bundles, AllowExpired: c.current.Number == 0, Before: before, Logger: c.logger, Clock: c.clock,
			Changed: func(set certs.Set) { c.mail.post(func() { c.refresh(s, set) }) },
		})
		if err != nil {
			return err
		}
		w.undo(s.keeper.Close)
		s.set = s.keeper.Set()
	}
	var err error
	if w.authority, err = c.openAuthority(w.plan); err != nil {
		return err
	}
	for _, l := range w.plan.Listeners {
		ls, err := c.listenerSecrets(s, w.authority, l, new(tlsconn.Store))
		if err != nil {
			return fmt.Errorf("listener %q: %w", l.Name, err)
		}
		s.listeners = append(s.listeners, ls)
	}
	for _, cl := range w.plan.Clusters {
		cs, err := s.clusterSecrets(cl, c.secretsOf(cl.Name))
		if err != nil {
			return fmt.Errorf("cluster %q: %w", cl.Name, err)
		}
		s.clusters = append(s.clusters, cs)
	}
	return nil
}

// secretsOf returns those of a cluster in force; nil if there are none.
func (c *Controller) secretsOf(name string) *clusterSecrets {
	if i := slices.IndexFunc(c.clusters, func(cl *cluster) bool { return cl.plan.Name == name }); i >= 0 {
		return c.secrets.clusters[i]
	}
	return nil
}

func (c *Controller) listenerSecrets(s *secrets, a *authority, l *compile.ListenerPlan, store *tlsconn.Store) (*listenerSecrets, error) {
	if l.TLS == nil {
		return nil, nil
	}
	ls := &listenerSecrets{store: store}
	ls.store.Set(c.certificatesOf(s, a, l.TLS))
	o := tlsconn.ServerOptions{Parameters: parameters(l.TLS, l.ALPN), Store: ls.store}
	if l.TLS.Tickets {
		tickets, err := c.ticketsOf(l.TLS.TicketRotation)
		if err != nil {
			return nil, err
		}
		o.Tickets = tickets
	}
	if cc := l.TLS.ClientCertificates; cc != nil {
		o.ClientRoots, o.ClientAuth = s.set.Authorities[s.bundle(cc.CA)], tlsconn.ClientAuthRequire
		if cc.Mode == config.ClientCertificateOptional {
			o.ClientAuth = tlsconn.ClientAuthOptional
		}
	}
	cfg, err := tlsconn.ServerConfig(o)
	if err != nil {
		return nil, err
	}
	ls.tls = &engine.TLS{Config: cfg, Handshakes: c.plane.handshakes, Timeout: l.TLS.HandshakeTimeout}
	return ls, nil
}

// certificatesOf returns a listener's certificates in the order of the document.
func (c *Controller) certificatesOf(s *secrets, a *authority, said *config.ListenerTLS) []*tls.Certificate {
	var list []*tls.Certificate
	for i := range said.Certificates {
		if cert := &said.Certificates[i]; cert.Cert != "" {
			list = append(list, s.set.Certificates[s.pair(certs.Pair{Cert: cert.Cert, Key: cert.Key})])
		} else {
			list = append(list, a.certificate(cert.ACME))
		}
	}
	return list
}

func parameters(said *config.ListenerTLS, alpn []string) tlsconn.Parameters {
	p := tlsconn.Parameters{MinVersion: string(said.MinVersion), MaxVersion: string(said.MaxVersion), CipherSuites: said.CipherSuites, ALPN: alpn}
	for _, curve := range said.Curves {
		p.Curves = append(p.Curves, string(curve))
	}
	return p
}

// clusterSecrets returns those of a plan: before, if nothing about it is another.
func (s *secrets) clusterSecrets(cl *compile.ClusterPlan, before *clusterSecrets) (*clusterSecrets, error) {
	if cl.TLS == nil {
		return nil, nil
	}
	now := &clusterSecrets{said: *cl.TLS, alpn: cl.ALPN}
	now.said.Pos = config.Pos{}
	if said := cl.TLS; said.CA != "" {
		now.pool = s.set.Pools[s.bundle(said.CA)]
	}
	if said := cl.TLS; said.Cert != "" {
		now.cert = s.set.Certificates[s.pair(certs.Pair{Cert: said.Cert, Key: said.Key, Client: true})]
	}
	if before != nil && before.said == now.said && slices.Equal(before.alpn, now.alpn) && before.pool == now.pool && before.cert == now.cert {
		return before, nil
	}
	var err error
	now.tls, err = now.config()
	return now, err
}

func (cs *clusterSecrets) config() (*tls.Config, error) {
	said := &cs.said
	o := tlsconn.ClientOptions{
		Parameters: tlsconn.Parameters{MinVersion: string(said.MinVersion), ALPN: cs.alpn},
		ServerName: said.SNI, InsecureSkipVerify: !said.Verify, Roots: cs.pool, Certificate: cs.cert,
	}
	if o.ServerName != "" || o.InsecureSkipVerify {
		return tlsconn.ClientConfig(o)
	}
	// Each endpoint has a name of its own, which is put in its place where connections are made.
	o.ServerName = "endpoint.invalid"
	cfg, err := tlsconn.ClientConfig(o)
	if cfg != nil {
		cfg.ServerName = ""
	}
	return cfg, err
}

// refresh puts certificates into use whose files have changed. Connections stay as they are: what is new is for the next
// handshake.
func (c *Controller) refresh(s *secrets, set certs.Set) {
	if c.secrets != s || c.stopping.Load() {
		return
	}
	before := s.set
	s.set = set
	for i, l := range c.listeners {
		if ls := s.listeners[i]; ls != nil {
			ls.store.Set(c.certificatesOf(s, c.authority, l.plan.TLS))
			if cc := l.plan.TLS.ClientCertificates; cc != nil && before.Pools[s.bundle(cc.CA)] != set.Pools[s.bundle(cc.CA)] {
				c.renewListener(i)
			}
		}
	}
	for i := range c.clusters {
		c.renewCluster(i)
	}
}

// renewListener has clients judged by other authorities from the next handshake on.
func (c *Controller) renewListener(i int) {
	l := c.listeners[i]
	// The store stays: an authority's challenges are in it.
	ls, err := c.listenerSecrets(c.secrets, c.authority, l.plan, c.secrets.listeners[i].store)
	if err != nil {
		c.logger.Error("the authorities for client certificates stay what they were", "listener", l.plan.Name, "error", err)
		return
	}
	c.secrets.listeners[i] = ls
	if l.socket.served.Load() != nil {
		c.update(l)
	}
}

// renewCluster has new connections to a cluster made with other authorities, or another certificate of ours, if they are.
func (c *Controller) renewCluster(i int) {
	cl, before := c.clusters[i], c.secrets.clusters[i]
	now, err := c.secrets.clusterSecrets(cl.plan, before)
	if now == before && err == nil {
		return
	}
	if err == nil {
		c.secrets.clusters[i] = now
		var change *upstream.Prepared
		if change, err = cl.group.Prepare(c.specOf(c.secrets, i, cl.plan), nil, nil); err == nil {
			change.Commit()
			for loop, w := range c.plane.engines {
				w.Loop.Post(func() { change.Apply(loop) })
			}
			return
		}
		c.secrets.clusters[i] = before
	}
	c.logger.Error("the cluster's certificates stay what they were", "cluster", cl.plan.Name, "error", err)
}

// specOf returns what the data plane needs of a cluster, with what its TLS needs.
func (c *Controller) specOf(s *secrets, i int, plan *compile.ClusterPlan) *upstream.Spec {
	spec := plan.Spec(len(c.plane.engines))
	if cs := s.clusters[i]; cs != nil {
		spec.Dial.TLS = cs.tls
	}
	spec.Dial.Handshakes = c.plane.upstreamHandshakes
	return spec
}

// serverOf returns a listener's configuration with its TLS.
func (s *secrets) serverOf(i int, plan *compile.ListenerPlan) *engine.ServerConfig {
	if s.listeners[i] == nil {
		return plan.Server
	}
	server := *plan.Server
	server.TLS = s.listeners[i].tls
	return &server
}

// close ends the keeper, in the background: it may be waiting for us.
func (c *Controller) closeSecrets(s *secrets) {
	if s != nil && s.keeper != nil {
		c.background.Go(s.keeper.Close)
	}
}

// tickets are the keys of session tickets that change so often, and who changes them.
type tickets struct {
	keys *tlsconn.Tickets
	stop context.CancelFunc
}

// ticketsOf returns the keys of session tickets that change so often. They live as long as some configuration asks for that:
// a session outlasts a change of the document.
func (c *Controller) ticketsOf(period time.Duration) (*tlsconn.Tickets, error) {
	if t, ok := c.tickets[period]; ok {
		return t.keys, nil
	}
	keys, err := tlsconn.NewTickets(tlsconn.TicketOptions{Period: period}, time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(c.life)
	c.tickets[period] = tickets{keys, stop}
	c.background.Go(func() { c.turn(life, keys, period) })
	return keys, nil
}

// dropTickets ends those that the configuration in force does not ask for: a change took the last one away, or was given up.
func (c *Controller) dropTickets() {
	for period, t := range c.tickets {
		if !slices.ContainsFunc(c.listeners, func(l *listener) bool {
			return l.plan.TLS != nil && l.plan.TLS.Tickets && l.plan.TLS.TicketRotation == period
		}) {
			t.stop()
			delete(c.tickets, period)
		}
	}
}

// ticketLooks is how often in a period it is looked whether a key is due.
const ticketLooks = 16

// turn changes the keys in time, until nobody asks for them.
func (c *Controller) turn(life context.Context, t *tlsconn.Tickets, period time.Duration) {
	tick := time.NewTicker(max(period/ticketLooks, time.Second))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if _, err := t.Turn(now, rand.Reader); err != nil {
				c.logger.Error("the keys of session tickets stay what they were", "error", err)
			}
		case <-life.Done():
			return
		}
	}
}

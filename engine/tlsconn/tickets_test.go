package tlsconn

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// resumes connects twice, to one server and then to another, and tells whether the second connection went on with the session of
// the first.
func resumes(t *testing.T, client *tls.Config, first, second *tls.Config) (bool, error) {
	t.Helper()
	client = client.Clone()
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for i, server := range []*tls.Config{first, second} {
		h := NewHandshaker(HandshakerConfig{})
		e, p, err := tryConnect(t, h, Server(server, errAgain), asClient(client))
		if err != nil {
			return false, err
		}
		// The ticket of 1.3 comes with the first bytes.
		e.send([]byte("x"))
		if _, err := io.ReadFull(p, make([]byte, 1)); err != nil {
			return false, err
		}
		if i == 1 {
			if (h.Resumed() == 1) != e.State().Resumed || e.State().Resumed != p.ConnectionState().DidResume {
				t.Error("the two ends and the counter do not agree")
			}
			return e.State().Resumed, nil
		}
	}
	panic("not reached")
}

// Sessions survive a new configuration and a turn of the keys; they do not survive the last key, nor a missing one.
func TestSessionsAreResumedAcrossConfigurationsAndTurns(t *testing.T) {
	for _, v := range []string{"1.2", "1.3"} {
		s := newSite(t)
		client := s.client(t, func(o *ClientOptions) { o.Parameters = version(v) })
		one, other := s.server(t, nil), s.server(t, func(o *ServerOptions) { o.ALPN = []string{"h2"} })
		if ok, err := resumes(t, client, one, one); !ok || err != nil {
			t.Errorf("%s: not resumed on the same configuration (%v)", v, err)
		}
		if ok, err := resumes(t, client, one, other); !ok || err != nil {
			t.Errorf("%s: not resumed on the next configuration (%v)", v, err)
		}

		client = client.Clone()
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		again := func() bool {
			h := NewHandshaker(HandshakerConfig{})
			e, p, err := tryConnect(t, h, Server(one, errAgain), asClient(client))
			if err != nil {
				t.Fatal(err)
			}
			e.send([]byte("x"))
			io.ReadFull(p, make([]byte, 1))
			return e.State().Resumed
		}
		again()
		now := noon
		for i, want := range []bool{true, true, true, false, true} {
			turns := 1
			if i == 3 {
				turns = 3 // the key that sealed the ticket is the third last, and then gone
			}
			for range turns {
				now = now.Add(8 * time.Hour)
				if ok, err := s.tickets.Turn(now, rand.Reader); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
			if got := again(); got != want {
				t.Errorf("%s: step %d: resumed %v, want %v", v, i, got, want)
			}
		}
		if ok, err := s.tickets.Turn(now.Add(8*time.Hour-1), rand.Reader); ok || err != nil {
			t.Error("the key was turned before its time", err)
		}

		none := s.server(t, func(o *ServerOptions) { o.Tickets = nil })
		if ok, err := resumes(t, client, none, none); ok || err != nil {
			t.Errorf("%s: resumed without tickets (%v)", v, err)
		}
	}
}

// threats, class 11: a session is no way round a rule for client certificates.
//
// Two walls stand there. The keys differ with the rule, so that the ticket cannot be opened. And crypto/tls, should it be opened,
// looks at the rule of today: both are tried, the second with keys that are the same everywhere.
func TestASessionDoesNotGetRoundClientCertificates(t *testing.T) {
	for _, sameKeys := range []bool{false, true} {
		s := newSite(t)
		ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
		cert := ours.issue(t, nil, "client.test")
		server := func(rule string, roots ...*authority) *tls.Config {
			cfg := s.server(t, func(o *ServerOptions) {
				o.ClientAuth = rule
				for _, a := range roots {
					o.ClientRoots = append(o.ClientRoots, a.cert)
				}
			})
			if sameKeys {
				cfg.SetSessionTicketKeys([][32]byte{{1, 2, 3}})
			}
			return cfg
		}
		byName := func(cfg *tls.Config) *tls.Config {
			named, err := ByName(server(""), map[string]*tls.Config{"example.com": cfg})
			if err != nil {
				t.Fatal(err)
			}
			return named
		}
		for _, v := range []string{"1.2", "1.3"} {
			for _, c := range []struct {
				name          string
				cert          *tls.Certificate
				first, second *tls.Config
				resumed, ok   bool
			}{
				{"open to required, without one", nil, server(""), server("require", ours), false, false},
				{"open to required, with one", cert, server(""), server("require", ours), false, true},
				{"optional to required, without one", nil, server("optional", ours), server("require", ours), false, false},
				{"required to open", cert, server("require", ours), server(""), false, true},
				{"required by other roots", cert, server("require", ours), server("require", others), false, false},
				{"optional by other roots", cert, server("optional", ours), server("optional", others), false, false},
				{"required, the same", cert, server("require", ours), server("require", ours), true, true},
				{"required, roots in another order", cert, server("require", ours, others), server("require", others, ours), true, true},
				{"by name: open to required", nil, server(""), byName(server("require", ours)), false, false},
				{"by name: required to required", cert, byName(server("require", ours)), byName(server("require", ours)), true, true},
				{"by name: other roots", cert, byName(server("require", ours)), byName(server("require", others)), false, false},
			} {
				client := s.client(t, func(o *ClientOptions) { o.Parameters, o.Certificate = version(v), c.cert })
				resumed, err := resumes(t, client, c.first, c.second)
				if resumed != c.resumed || (err == nil) != c.ok {
					t.Errorf("same keys %v, %s, %s: resumed %v, %v", sameKeys, v, c.name, resumed, err)
				}
			}
		}
	}
}

// We are the client: a session is resumed, and a name of its own has a session of its own.
func TestUpstreamSessionsAreResumed(t *testing.T) {
	s := newSite(t)
	for _, v := range []string{"1.2", "1.3"} {
		cfg := s.client(t, func(o *ClientOptions) { o.Parameters = version(v) })
		other := s.client(t, func(o *ClientOptions) { o.Parameters, o.ServerName = version(v), "www.example.com" })
		server := s.server(t, nil)
		for i, c := range []struct {
			cfg  *tls.Config
			want bool
		}{{cfg, false}, {cfg, true}, {other, false}, {other, true}} {
			e, p := connect(t, Client(c.cfg, errAgain), asServer(server))
			go p.Write([]byte("x"))
			if _, err := e.read(1); err != nil {
				t.Fatal(err)
			}
			if e.State().Resumed != c.want {
				t.Errorf("%s: connection %d: resumed %v, want %v", v, i, e.State().Resumed, c.want)
			}
		}
	}
}

// A configuration that nobody uses any more is forgotten.
func TestTicketsForgetOldConfigurations(t *testing.T) {
	s := newSite(t)
	kept := s.server(t, nil)
	for range 10 {
		s.server(t, nil)
	}
	runtime.GC()
	runtime.GC()
	if _, err := s.tickets.Turn(noon.Add(100*time.Hour), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if n := len(s.tickets.mu.attached); n != 1 {
		t.Errorf("%d are attached, want 1", n)
	}
	runtime.KeepAlive(kept)
}

func TestTicketKeysNeedRandomness(t *testing.T) {
	if _, err := NewTickets(TicketOptions{}, noon, strings.NewReader("short")); err == nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	one, err := NewTickets(TicketOptions{Kept: 2}, noon, bytes.NewReader(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Turn(noon.Add(time.Hour*9), strings.NewReader("")); err == nil || len(one.mu.roots) != 1 {
		t.Error("the keys changed although there was no new one")
	}
	if a, b := one.keys("a"), one.keys("b"); a[0] == b[0] || a[0] != one.keys("a")[0] {
		t.Error("keys do not go by their realm")
	}
}

func TestRulesByName(t *testing.T) {
	s := newSite(t)
	exact, star, standard := new(Store), new(Store), new(Store)
	certs := map[*Store]*tls.Certificate{}
	for _, store := range []*Store{exact, star, standard} {
		certs[store] = s.ca.issue(t, nil, "x.test")
		store.Set([]*tls.Certificate{certs[store]})
	}
	with := func(store *Store) *tls.Config { return s.server(t, func(o *ServerOptions) { o.Store = store }) }
	cfg, err := ByName(with(standard), map[string]*tls.Config{"a.example.com": with(exact), "*.Example.com.": with(star)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want *Store
	}{{"a.example.com", exact}, {"A.example.com", exact}, {"b.example.com", star}, {"a.b.example.com", standard}, {"example.com", standard}} {
		_, p := connect(t, Server(cfg, errAgain), func(n net.Conn) *tls.Conn {
			return tls.Client(n, &tls.Config{ServerName: c.name, InsecureSkipVerify: true})
		})
		if !p.ConnectionState().PeerCertificates[0].Equal(certs[c.want].Leaf) {
			t.Errorf("%s: another rule", c.name)
		}
	}
	for _, wrong := range []string{"", "*", "a.*.com", "*.*.com", "*."} {
		if _, err := ByName(cfg, map[string]*tls.Config{wrong: cfg}); err == nil {
			t.Errorf("%q is taken for a name", wrong)
		}
	}
	if _, err := ByName(cfg, map[string]*tls.Config{"a.com": cfg, "A.com.": cfg}); err == nil {
		t.Error("two rules for one name")
	}
	if _, err := ByName(nil, nil); err == nil {
		t.Error("no standard rule")
	}
}

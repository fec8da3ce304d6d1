package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// named is a certificate for the names; only what the store looks at is there.
func named(label string, rsa bool, names ...string) *tls.Certificate {
	leaf := &x509.Certificate{DNSNames: names, PublicKeyAlgorithm: x509.ECDSA}
	if rsa {
		leaf.PublicKeyAlgorithm = x509.RSA
	}
	leaf.Subject.SerialNumber = label
	return &tls.Certificate{Leaf: leaf}
}

func label(c *tls.Certificate) string { return c.Leaf.Subject.SerialNumber }

func TestChoiceByName(t *testing.T) {
	s := new(Store)
	s.Set([]*tls.Certificate{
		named("default", false, "gateway.test"),
		named("exact", false, "a.example.com", "Example.COM."),
		named("star", false, "*.example.com"),
		named("deep", false, "*.b.example.com"),
		nil,
		named("odd", false, "*", "", "x.*.com"),
	})
	for _, c := range []struct{ asked, want string }{
		{"a.example.com", "exact"},
		{"A.Example.Com", "exact"},
		{"a.example.com.", "exact"},
		{"example.com", "exact"},
		{"b.example.com", "star"},
		{"B.EXAMPLE.com.", "star"},
		{"a.b.example.com", "deep"},
		{"a.a.b.example.com", "default"},
		{".example.com", "default"},
		{"*.example.com", "star"},
		{"gateway.test", "default"},
		{"other.test", "default"},
		{"", "default"},
		{".", "default"},
		{"localhost", "default"},
		{"a.example.com\x00.other.test", "default"},
		{"example.com\x00", "default"},
	} {
		got, err := s.Get(&tls.ClientHelloInfo{ServerName: c.asked})
		if err != nil || label(got) != c.want {
			t.Errorf("%q: got %s, want %s (%v)", c.asked, label(got), c.want, err)
		}
	}
	if _, err := new(Store).Get(&tls.ClientHelloInfo{}); err != ErrNoCertificate {
		t.Error(err)
	}
	s.Set(nil)
	if _, err := s.Get(&tls.ClientHelloInfo{}); err != ErrNoCertificate {
		t.Error(err)
	}
}

// slowChoice is the rule as one would say it, certificate by certificate.
func slowChoice(certs []*tls.Certificate, asked string) []string {
	asked = strings.ToLower(strings.TrimSuffix(asked, "."))
	var exact, star []string
	for _, rsa := range []bool{false, true} {
		for _, c := range certs {
			if (c.Leaf.PublicKeyAlgorithm == x509.RSA) != rsa {
				continue
			}
			isExact, isStar := false, false
			for _, name := range c.Leaf.DNSNames {
				name = strings.ToLower(strings.TrimSuffix(name, "."))
				isExact = isExact || name != "" && name == asked && !strings.HasPrefix(name, "*.")
				first, rest, ok := strings.Cut(asked, ".")
				isStar = isStar || ok && first != "" && name == "*."+rest
			}
			if isExact {
				exact = append(exact, label(c))
			}
			if isStar {
				star = append(star, label(c))
			}
		}
	}
	switch {
	case len(exact) > 0:
		return exact
	case len(star) > 0:
		return star
	}
	return nil
}

func checkChoice(t interface {
	Helper()
	Fatalf(string, ...any)
}, certs []*tls.Certificate, asked string) {
	t.Helper()
	s := new(Store)
	s.Set(certs)
	var got []string
	for _, c := range s.set.Load().candidates(asked) {
		got = append(got, label(c))
	}
	want := slowChoice(certs, asked)
	if want == nil {
		if !slices.Contains(got, label(certs[0])) {
			t.Fatalf("%q: got %v, want the default", asked, got)
		}
		return
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%q: got %v, want %v", asked, got, want)
	}
}

func TestChoiceAgainstASlowTwin(t *testing.T) {
	name := rapid.StringMatching(`(\*\.|[abAB]\.|\.)?([ab]\.){0,2}[abAB]?\.?`)
	rapid.Check(t, func(t *rapid.T) {
		var certs []*tls.Certificate
		for i := range rapid.IntRange(1, 6).Draw(t, "certificates") {
			certs = append(certs, named(fmt.Sprint(i), rapid.Bool().Draw(t, "rsa"), rapid.SliceOfNDistinct(name, 1, 3, plainName).Draw(t, "names")...))
		}
		checkChoice(t, certs, name.Draw(t, "asked"))
	})
}

func FuzzChoice(f *testing.F) {
	f.Add("a.example.com *.example.com", "example.com", "b.example.com.")
	f.Add("*.", "*", ".")
	f.Fuzz(func(t *testing.T, first, second, asked string) {
		checkChoice(t, []*tls.Certificate{
			named("default", false, "default.test"),
			named("first", true, distinct(first)...),
			named("second", false, distinct(second)...),
		}, asked)
	})
}

// distinct splits names: one that stands twice in a certificate counts once.
func distinct(text string) (names []string) {
	seen := map[string]bool{}
	for _, name := range strings.Split(text, " ") {
		if plain := plainName(name); plain != "" && !seen[plain] {
			seen[plain] = true
			names = append(names, name)
		}
	}
	return names
}

// ECDSA stands before RSA for the same name, for those that can check it; the default as well.
func TestEcdsaBeforeRsaForClientsThatKnowIt(t *testing.T) {
	s := newSite(t)
	rsa := s.ca.issueFor(t, rsaKey(), nil, "example.com", "www.example.com")
	ecdsa := s.ca.issue(t, nil, "www.example.com", "example.com")
	s.store.Set([]*tls.Certificate{rsa, ecdsa})
	for _, name := range []string{"example.com", "unknown.test"} {
		for _, c := range []struct {
			suite string
			want  x509.PublicKeyAlgorithm
		}{
			{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", x509.RSA},
			{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", x509.ECDSA},
			{"", x509.ECDSA},
		} {
			_, p := connect(t, Server(s.server(t, nil), errAgain), asClient(s.client(t, func(o *ClientOptions) {
				o.ServerName, o.InsecureSkipVerify = name, true
				o.Parameters = version("1.2")
				if c.suite != "" {
					o.CipherSuites = []string{c.suite}
				}
			})))
			if got := p.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != c.want {
				t.Errorf("%s, %s: got %v, want %v", name, c.suite, got, c.want)
			}
		}
	}
}

// New certificates are there for the next handshake; what is connected stays connected.
func TestReplacedCertificates(t *testing.T) {
	s := newSite(t)
	server := s.server(t, nil)
	e, p := connect(t, Server(server, errAgain), asClient(s.client(t, nil)))
	fresh := s.ca.issue(t, nil, "example.com")
	s.store.Set([]*tls.Certificate{fresh})
	_, q := connect(t, Server(server, errAgain), asClient(s.client(t, nil)))
	if !q.ConnectionState().PeerCertificates[0].Equal(fresh.Leaf) {
		t.Error("the old certificate is served")
	}
	go p.Write([]byte("still here"))
	if got, err := e.read(10); err != nil {
		t.Error(string(got), err)
	}
}

// RFC 8737: the answer is given to who offers exactly acme-tls/1, and the connection is good for nothing else.
func TestAcmeChallenge(t *testing.T) {
	s := newSite(t)
	answer := s.ca.issue(t, nil, "new.test")
	if err := s.store.SetChallenge("New.test.", answer); err != nil {
		t.Fatal(err)
	}
	server := s.server(t, func(o *ServerOptions) {
		o.ALPN = []string{"h2", "http/1.1"}
		o.ClientAuth, o.ClientRoots = ClientAuthRequire, []*x509.Certificate{s.ca.cert}
	})
	ask := func(name string, protocols ...string) (h *Handshaker, p *tls.Conn, err error) {
		h = NewHandshaker(HandshakerConfig{})
		_, p, err = tryConnect(t, h, Server(server, errAgain), func(n net.Conn) *tls.Conn {
			return tls.Client(n, &tls.Config{ServerName: name, NextProtos: protocols, RootCAs: s.ca.pool(), Time: wallTime})
		})
		return h, p, err
	}
	h, p, err := ask("new.test", ChallengeProtocol)
	if err == nil || !strings.Contains(err.Error(), ErrChallenged.Error()) || h.Challenges() != 1 || h.Done()+h.Failed() != 0 {
		t.Errorf("%v, challenges %d, done %d, failed %d", err, h.Challenges(), h.Done(), h.Failed())
	}
	if state := p.ConnectionState(); state.NegotiatedProtocol != ChallengeProtocol || !state.PeerCertificates[0].Equal(answer.Leaf) {
		t.Error("the answer is not the one that was set")
	}
	for _, protocols := range [][]string{{ChallengeProtocol, "h2"}, {"h2", ChallengeProtocol}, {"h2"}, nil} {
		if h, _, err := ask("new.test", protocols...); h.Challenges() != 0 || err == nil { // the client has no certificate
			t.Errorf("%q: %v, challenges %d", protocols, err, h.Challenges())
		}
	}
	if h, _, _ := ask("other.test", ChallengeProtocol); h.Challenges() != 0 {
		t.Error("another name was answered")
	}
	s.store.RemoveChallenge("new.test")
	if h, _, _ := ask("new.test", ChallengeProtocol); h.Challenges() != 0 {
		t.Error("a removed challenge was answered")
	}
	for i := range challengesMax {
		if err := s.store.SetChallenge(fmt.Sprint(i), answer); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := s.store.SetChallenge("one.more", answer); err == nil || !strings.Contains(err.Error(), "acme_challenges") {
		t.Error(err)
	}
}

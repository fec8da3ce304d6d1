package tlsconn

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

func TestWordsOfAConfiguration(t *testing.T) {
	store := new(Store)
	ca := newAuthority(t, "clients")
	for _, c := range []struct {
		name   string
		change func(*ServerOptions)
		want   []string // parts of the error
	}{
		{"nothing but a store", func(o *ServerOptions) {}, nil},
		{"no store", func(o *ServerOptions) { o.Store = nil }, []string{"store"}},
		{"versions", func(o *ServerOptions) { o.MinVersion, o.MaxVersion = "1.3", "1.3" }, nil},
		{"an old version", func(o *ServerOptions) { o.MinVersion = "1.1" }, []string{"min_version", `"1.1"`, "1.2, 1.3"}},
		{"a version in other words", func(o *ServerOptions) { o.MaxVersion = "TLSv1.3" }, []string{"max_version", `"TLSv1.3"`, "1.2, 1.3"}},
		{"versions upside down", func(o *ServerOptions) { o.MinVersion, o.MaxVersion = "1.3", "1.2" }, []string{"min_version 1.3", "max_version 1.2"}},
		{"a suite", func(o *ServerOptions) { o.CipherSuites = []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"} }, nil},
		{"an insecure suite by its name", func(o *ServerOptions) { o.CipherSuites = []string{"TLS_RSA_WITH_AES_128_CBC_SHA"} }, nil},
		{"an unknown suite", func(o *ServerOptions) { o.CipherSuites = []string{"AES128-SHA"} },
			[]string{"cipher_suites", `"AES128-SHA"`, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}},
		{"a suite of 1.3", func(o *ServerOptions) { o.CipherSuites = []string{"TLS_AES_128_GCM_SHA256"} }, []string{"cipher_suites", "1.3"}},
		{"curves", func(o *ServerOptions) { o.Curves = []string{"X25519MLKEM768", "P-256"} }, nil},
		{"an unknown curve", func(o *ServerOptions) { o.Curves = []string{"secp256k1"} }, []string{"curves", `"secp256k1"`, "X25519", "P-384"}},
		{"an empty protocol", func(o *ServerOptions) { o.ALPN = []string{"h2", ""} }, []string{"alpn"}},
		{"the protocol of ACME", func(o *ServerOptions) { o.ALPN = []string{"acme-tls/1"} }, []string{"alpn", "acme-tls/1"}},
		{"client certificates", func(o *ServerOptions) { o.ClientAuth, o.ClientRoots = "require", []*x509.Certificate{ca.cert} }, nil},
		{"client certificates of anyone", func(o *ServerOptions) { o.ClientAuth = "optional" }, []string{"client_auth", "roots"}},
		{"roots for nothing", func(o *ServerOptions) { o.ClientRoots = []*x509.Certificate{ca.cert} }, []string{"client roots", "client_auth"}},
		{"an unknown rule", func(o *ServerOptions) { o.ClientAuth = "request" }, []string{"client_auth", `"request"`, "require, optional"}},
	} {
		o := ServerOptions{Store: store}
		c.change(&o)
		cfg, err := ServerConfig(o)
		if (err == nil) != (c.want == nil) || (err == nil) != (cfg != nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %s", c.name, err, part)
			}
		}
	}
	cfg, err := ServerConfig(ServerOptions{Store: store})
	if err != nil || cfg.MinVersion != tls.VersionTLS12 || cfg.CipherSuites != nil || !cfg.SessionTicketsDisabled {
		t.Errorf("the defaults are %x, %v, tickets %v (%v)", cfg.MinVersion, cfg.CipherSuites, !cfg.SessionTicketsDisabled, err)
	}
	if _, err := ClientConfig(ClientOptions{}); err == nil || !strings.Contains(err.Error(), "server name") {
		t.Error(err)
	}
	if _, err := ClientConfig(ClientOptions{ServerName: "x", Parameters: Parameters{Curves: []string{"x"}}}); err == nil {
		t.Error("a wrong word for a client is taken")
	}
	if cfg, err := ClientConfig(ClientOptions{ServerName: "x"}); err != nil || cfg.InsecureSkipVerify || cfg.ClientSessionCache == nil {
		t.Error("a client does not verify, or does not resume")
	}
	if cfg, err := ClientConfig(ClientOptions{InsecureSkipVerify: true, SessionsMax: -1}); err != nil || cfg.ClientSessionCache != nil {
		t.Error(err)
	}
}

func TestClientCertificates(t *testing.T) {
	s := newSite(t)
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	good, bad := ours.issue(t, nil, "client.test"), theirs.issue(t, nil, "client.test")
	onlyServer := ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "client.test")
	for _, v := range []string{"1.2", "1.3"} {
		for _, c := range []struct {
			rule string
			cert *tls.Certificate
			ok   bool
		}{
			{"", nil, true}, {"", good, true},
			{"require", nil, false}, {"require", good, true}, {"require", bad, false}, {"require", onlyServer, false},
			{"optional", nil, true}, {"optional", good, true}, {"optional", bad, false},
		} {
			server := s.server(t, func(o *ServerOptions) {
				if o.ClientAuth = c.rule; c.rule != "" {
					o.ClientRoots = []*x509.Certificate{ours.cert}
				}
			})
			client := s.client(t, func(o *ClientOptions) { o.Parameters = version(v) })
			if c.cert != nil {
				// Whether or not the server names its issuer.
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
			}
			h := NewHandshaker(HandshakerConfig{})
			e, _, err := tryConnect(t, h, Server(server, errAgain), asClient(client))
			if h.Done() == 1 != c.ok {
				t.Errorf("%s, rule %q: %v", v, c.rule, err)
			}
			wantPeer := c.ok && c.cert != nil && c.rule != ""
			if h.Done() == 1 && (e.State().Peer != nil) != wantPeer {
				t.Errorf("%s, rule %q: peer %v", v, c.rule, e.State().Peer)
			}
		}
	}

	// And the other way round: we are the client, and show ours.
	server := s.server(t, func(o *ServerOptions) { o.ClientAuth, o.ClientRoots = "require", []*x509.Certificate{ours.cert} })
	e, p := connect(t, Client(s.client(t, func(o *ClientOptions) { o.Certificate = good }), errAgain), asServer(server))
	if !p.ConnectionState().PeerCertificates[0].Equal(good.Leaf) || e.State().Peer == nil {
		t.Error("the certificate was not shown")
	}
}

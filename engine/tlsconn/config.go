package tlsconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Parameters are what both sides choose of the protocol, in the words of a configuration. Zero means the default named beside
// each.
type Parameters struct {
	// MinVersion and MaxVersion are "1.2" or "1.3". From 1.2 on, what RFC 8996 leaves, to the newest.
	MinVersion, MaxVersion string
	// CipherSuites are those of 1.2 by their IANA names; 1.3 has no unsafe ones and no choice. What Go holds for secure, in its
	// order. An insecure one is used only if it is named. The order does not count.
	CipherSuites []string
	// Curves are the groups of the key exchange, in order of preference. What Go holds for right.
	Curves []string
	// ALPN are the protocols in order of preference. None: ALPN is not spoken.
	ALPN []string
	// Time is the wall clock that certificates are judged by. time.Now.
	Time func() time.Time
}

// Words for ClientAuth.
const (
	ClientAuthRequire  = "require"
	ClientAuthOptional = "optional"
)

// ServerOptions describe the accepting side of a listener, or of one of its names.
type ServerOptions struct {
	Parameters
	// Store has the certificates. It must be given.
	Store *Store
	// Tickets turns the keys of sessions. Nil: sessions are not resumed.
	Tickets *Tickets
	// ClientAuth asks for client certificates: "require"; "optional", which verifies one if it is given; empty: none.
	ClientAuth string
	// ClientRoots are whom client certificates must lead to. At least one if ClientAuth is not empty.
	ClientRoots []*x509.Certificate
}

// ServerConfig returns the configuration of a server, to be shared by all loops. Its errors name the wrong word and the allowed
// ones.
func ServerConfig(o ServerOptions) (*tls.Config, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	if o.Store == nil {
		return nil, errors.New("tls: a server needs a store of certificates")
	}
	if slices.Contains(o.ALPN, ChallengeProtocol) {
		return nil, fmt.Errorf("tls: alpn: %q belongs to ACME and cannot be served", ChallengeProtocol)
	}
	cfg.GetCertificate = o.Store.Get
	switch o.ClientAuth {
	case "":
		if len(o.ClientRoots) > 0 {
			return nil, errors.New("tls: client roots are given, and client_auth does not say what for")
		}
	case ClientAuthRequire:
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	case ClientAuthOptional:
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		return nil, unknown("client_auth", o.ClientAuth, []string{ClientAuthRequire, ClientAuthOptional})
	}
	if o.ClientAuth != "" {
		if len(o.ClientRoots) == 0 {
			// With an empty pool crypto/tls would turn to the system's, and every public certificate would be a client's.
			return nil, errors.New("tls: client_auth is given without client roots")
		}
		cfg.ClientCAs = x509.NewCertPool()
		for _, root := range o.ClientRoots {
			cfg.ClientCAs.AddCert(root)
		}
	}
	if o.Tickets == nil {
		cfg.SessionTicketsDisabled = true
	} else {
		o.Tickets.Attach(cfg, o.realm())
	}
	store, params := o.Store, o.Parameters
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if cert := store.challenge(hello); cert != nil {
			return challengeConfig(cert, params.Time), nil
		}
		return nil, nil
	}
	return cfg, nil
}

// realm names the rule for client certificates, so that sessions do not cross from one into another.
func (o *ServerOptions) realm() string {
	if o.ClientAuth == "" {
		return "anyone"
	}
	var sums []string
	for _, root := range o.ClientRoots {
		sum := sha256.Sum256(root.Raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	slices.Sort(sums)
	return o.ClientAuth + " " + strings.Join(slices.Compact(sums), " ")
}

// challengeConfig answers a challenge and serves nothing else: RFC 8737 3 asks for 1.2 or later, and neither client certificates
// nor sessions have a place in it.
func challengeConfig(cert *tls.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{*cert},
		NextProtos:             []string{ChallengeProtocol},
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		Time:                   now,
	}
}

// ClientOptions describe the dialling side, towards one cluster.
type ClientOptions struct {
	Parameters
	// ServerName is sent as SNI and is what the upstream's certificate must be for. It must be given unless InsecureSkipVerify.
	ServerName string
	// Roots are whom the upstream's certificate must lead to. Nil: the system's.
	Roots *x509.CertPool
	// Certificate is shown to an upstream that asks for one. Nil: none.
	Certificate *tls.Certificate
	// InsecureSkipVerify takes any certificate for the upstream's.
	InsecureSkipVerify bool
	// SessionsMax bounds the sessions that are kept to be resumed, by server name. 64: a cluster has one name, rarely a
	// handful. Negative: none are kept.
	SessionsMax int
}

// ClientConfig returns the configuration of a client, to be shared by all loops; its cache of sessions goes with it. Its errors
// name the wrong word and the allowed ones.
//
// A session is kept for this configuration alone, so that one that was verified by other rules is never resumed; crypto/tls
// moreover verifies the certificate in it again, with today's roots and name.
func ClientConfig(o ClientOptions) (*tls.Config, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	if o.ServerName == "" && !o.InsecureSkipVerify {
		return nil, errors.New("tls: a client that verifies its upstream needs a server name")
	}
	cfg.ServerName = o.ServerName
	cfg.RootCAs = o.Roots
	cfg.InsecureSkipVerify = o.InsecureSkipVerify
	if cert := o.Certificate; cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if o.SessionsMax == 0 {
		o.SessionsMax = 64
	}
	if o.SessionsMax > 0 {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(o.SessionsMax)
	}
	return cfg, nil
}

// config turns the words into a configuration.
func (o *Parameters) config() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		MaxVersion: tls.VersionTLS13,
		Time:       o.Time,
		// A loop puts together what it sends in a turn. Records of one packet each for the first 128 kB would save a slow
		// client some milliseconds and cost every other a dozen records in place of one.
		DynamicRecordSizingDisabled: true,
	}
	for _, v := range []struct {
		field, word string
		to          *uint16
	}{{"min_version", o.MinVersion, &cfg.MinVersion}, {"max_version", o.MaxVersion, &cfg.MaxVersion}} {
		switch v.word {
		case "":
		case "1.2":
			*v.to = tls.VersionTLS12
		case "1.3":
			*v.to = tls.VersionTLS13
		default:
			return nil, unknown(v.field, v.word, []string{"1.2", "1.3"})
		}
	}
	if cfg.MinVersion > cfg.MaxVersion {
		return nil, fmt.Errorf("tls: min_version %s is above max_version %s", o.MinVersion, o.MaxVersion)
	}
	var err error
	if cfg.CipherSuites, err = cipherSuites(o.CipherSuites); err != nil {
		return nil, err
	}
	if cfg.CurvePreferences, err = curves(o.Curves); err != nil {
		return nil, err
	}
	for _, p := range o.ALPN {
		if p == "" || len(p) > 255 {
			return nil, fmt.Errorf("tls: alpn: %.40q is no protocol: 1 to 255 bytes", p)
		}
	}
	cfg.NextProtos = slices.Clone(o.ALPN)
	return cfg, nil
}

// cipherSuites finds the suites of 1.2 by their IANA names.
func cipherSuites(names []string) ([]uint16, error) {
	var ids []uint16
	known := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	for _, name := range names {
		i := slices.IndexFunc(known, func(s *tls.CipherSuite) bool { return s.Name == name })
		switch {
		case i < 0:
			var allowed []string
			for _, s := range tls.CipherSuites() {
				if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
					allowed = append(allowed, s.Name)
				}
			}
			return nil, unknown("cipher_suites", name, allowed)
		case !slices.Contains(known[i].SupportedVersions, tls.VersionTLS12):
			return nil, fmt.Errorf("tls: cipher_suites: %s is of version 1.3, where there is nothing to choose: leave it out", name)
		}
		ids = append(ids, known[i].ID)
	}
	return ids, nil
}

// groups are the curves by the names people write, which are also those of tls.CurveID.
var groups = []struct {
	name string
	id   tls.CurveID
}{
	{"X25519MLKEM768", tls.X25519MLKEM768},
	{"X25519", tls.X25519},
	{"P-256", tls.CurveP256},
	{"P-384", tls.CurveP384},
	{"P-521", tls.CurveP521},
	{"SecP256r1MLKEM768", tls.SecP256r1MLKEM768},
	{"SecP384r1MLKEM1024", tls.SecP384r1MLKEM1024},
}

func curves(names []string) ([]tls.CurveID, error) {
	var ids []tls.CurveID
	for _, name := range names {
		found := false
		var allowed []string
		for _, g := range groups {
			allowed = append(allowed, g.name)
			if g.name == name {
				ids = append(ids, g.id)
				found = true
			}
		}
		if !found {
			return nil, unknown("curves", name, allowed)
		}
	}
	return ids, nil
}

func unknown(field, word string, allowed []string) error {
	return fmt.Errorf("tls: %s: %.80q is not known: allowed are %s", field, word, strings.Join(allowed, ", "))
}

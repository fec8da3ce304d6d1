package acme

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// Challenge is how the authority checks that a name leads here.
type Challenge string

const (
	// HTTP01 is asked on port 80 (RFC 8555, 8.3).
	HTTP01 Challenge = "http-01"
	// TLSALPN01 is asked on port 443, in a handshake with the protocol [ALPN] (RFC 8737).
	TLSALPN01 Challenge = "tls-alpn-01"
)

// ALPN is the protocol that a tls-alpn-01 handshake asks for, and the only one that it may be answered with.
const ALPN = acme.ALPNProto

// LetsEncrypt is the directory of the authority that is the default.
const LetsEncrypt = acme.LetsEncryptURL

// Config is what a Manager is made of.
type Config struct {
	// Directory is the URL of the authority's directory, with https; empty is that of LetsEncrypt.
	Directory string
	// Roots verify the directory's own certificate; nil are those of the system.
	Roots *x509.CertPool
	// Email is where the authority may write to; it may be empty.
	Email string
	// AcceptTerms says that somebody has agreed to the authority's terms of service. Without it there is no Manager.
	AcceptTerms bool
	// Binding ties the account to one that was made by other means, for authorities that ask for it; nil: there is none.
	Binding *Binding
	// Folder is where account and certificates are kept. It is made if it does not exist. Each directory has a folder of its
	// own in it, so that a test authority's certificates are never served in place of another's.
	Folder string
	// Groups are the names of each certificate. A group's certificate is found again by its names in any order.
	Groups [][]string
	// Challenge is how to prove that the names lead here; empty is HTTP01.
	Challenge Challenge

	// Answers are what the challenges are answered by.
	Answers Answers
	// Changed is called with all certificates whenever one was replaced, in the order of Groups, nil where there is none yet.
	// It is called on the Manager's goroutine: it must not call Stop, nor wait for somebody who does.
	Changed func([]*tls.Certificate)

	Logger *slog.Logger // nil tells nobody
	// Clock is where time and chance come from; the zero Clock is the real one. The time that a single request or order may
	// take is always real.
	Clock Clock
}

// Answers let the authority find its answer. When a Set function returns, every listener that the authority may reach must
// answer; when a Remove function returns, none needs to. They are called on the Manager's goroutine, those of one kind by
// a Manager with that challenge alone; Remove is called for everything that was set, also when the Manager is stopped.
type Answers struct {
	// SetHTTP01 has GET /.well-known/acme-challenge/TOKEN answered with status 200 and the text keyAuth.
	SetHTTP01    func(token, keyAuth string)
	RemoveHTTP01 func(token string)
	// SetTLSALPN01 has handshakes for the name that ask for the protocol ALPN, and no others, answered with the certificate.
	SetTLSALPN01    func(name string, cert *tls.Certificate)
	RemoveTLSALPN01 func(name string)
}

// Binding is an external account (RFC 8555, 7.3.4).
type Binding struct {
	KeyID string
	Key   []byte // of the HMAC, decoded
}

// Clock is time and chance as a Manager needs them. Nil functions are those of package time and math/rand.
type Clock struct {
	Now    func() time.Time
	After  func(time.Duration) <-chan time.Time
	Random func() float64 // from 0 to 1
}

const (
	// namesMax bounds a group: Let's Encrypt and others take 100 names a certificate.
	namesMax = 100
	// groupsMax bounds the groups, which are ordered one after the other, some seconds each.
	groupsMax = 1000
)

// complete returns the configuration with its defaults, or every fault in it.
func (c Config) complete() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Directory == "" {
		c.Directory = LetsEncrypt
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		fault("the directory %q is no https URL (RFC 8555, 6.1)", c.Directory)
	}
	if c.Challenge == "" {
		c.Challenge = HTTP01
	}
	a := c.Answers
	switch c.Challenge {
	case HTTP01:
		if a.SetHTTP01 == nil || a.RemoveHTTP01 == nil {
			fault("nobody answers the challenge http-01")
		}
	case TLSALPN01:
		if a.SetTLSALPN01 == nil || a.RemoveTLSALPN01 == nil {
			fault("nobody answers the challenge tls-alpn-01")
		}
	default:
		fault("the challenge %q is unknown: http-01 and tls-alpn-01 are", c.Challenge)
	}
	if !c.AcceptTerms {
		fault("the terms of service of %s are not accepted: read them, and say so", c.Directory)
	}
	if strings.ContainsAny(c.Email, " ,?<>\r\n") || c.Email != "" && !strings.Contains(c.Email, "@") {
		fault("the email %q is no address", c.Email)
	}
	if c.Folder == "" {
		fault("there is no folder to keep account and certificates in")
	}
	if len(c.Groups) == 0 || len(c.Groups) > groupsMax {
		fault("there are %d groups of names: one to %d can be managed", len(c.Groups), groupsMax)
	}
	groups := make([][]string, len(c.Groups))
	for i, names := range c.Groups {
		if len(names) == 0 || len(names) > namesMax {
			fault("group %d has %d names: a certificate has one to %d", i+1, len(names), namesMax)
		}
		for _, name := range names {
			name = strings.ToLower(name)
			if err := checkName(name); err != nil {
				fault("group %d: %w", i+1, err)
			}
			if slices.Contains(groups[i], name) {
				fault("group %d: %s is named twice", i+1, name)
			}
			groups[i] = append(groups[i], name)
		}
		if slices.ContainsFunc(groups[:i], func(g []string) bool { return fileName(g) == fileName(groups[i]) }) {
			fault("group %d has the same names as one before it", i+1)
		}
	}
	c.Groups = groups
	if c.Changed == nil {
		c.Changed = func([]*tls.Certificate) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock.Now == nil {
		c.Clock.Now = time.Now
	}
	if c.Clock.After == nil {
		c.Clock.After = time.After
	}
	if c.Clock.Random == nil {
		c.Clock.Random = rand.Float64
	}
	return c, errors.Join(faults...)
}

// checkName tells whether a lower-case name can have a certificate by the challenges here.
func checkName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("%s is an address: only names can be had by ACME here", name)
	}
	if strings.HasPrefix(name, "*.") {
		return fmt.Errorf("%s is a wildcard: it needs the challenge dns-01, which is not there. List the names, or bring the certificate as files",
			name)
	}
	labels := strings.Split(name, ".")
	if len(name) > 253 || len(labels) < 2 {
		return fmt.Errorf("%q is no public host name", name)
	}
	for _, l := range labels {
		if len(l) < 1 || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("%q is no host name: letters, digits and hyphens between dots; others in their xn-- form", name)
		}
	}
	return nil
}

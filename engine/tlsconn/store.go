package tlsconn

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Store chooses the certificate of a server by the name that the client asks for. It is safe for concurrent use: handshakes read
// an immutable set, which Set replaces as a whole, so that connections under way and sessions are not disturbed. The zero value
// is an empty store, with which every handshake fails.
type Store struct {
	set        atomic.Pointer[certificates]
	challenges challenges
}

// certificates is a set of certificates, frozen.
type certificates struct {
	// exact and wildcard hold those that can stand for a name, the ones with the cheaper signatures first. A wildcard is
	// kept without its "*.".
	exact, wildcard map[string][]*tls.Certificate
	// standard are the first certificate and those that name the same hosts.
	standard []*tls.Certificate
}

// ErrNoCertificate is what a handshake fails with when there is none.
var ErrNoCertificate = errors.New("tls: no certificate is configured")

// Set makes certs what is chosen from. The first is the default. A certificate whose leaf cannot be parsed has no names; a nil
// one is left out. The certificates must not be changed afterwards.
func (s *Store) Set(certs []*tls.Certificate) {
	set := &certificates{exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	var first []string
	for _, cert := range certs {
		if cert == nil {
			continue
		}
		names := certificateNames(cert)
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, "*."); ok {
				set.wildcard[rest] = append(set.wildcard[rest], cert)
			} else {
				set.exact[name] = append(set.exact[name], cert)
			}
		}
		if len(set.standard) == 0 {
			first = names
			set.standard = append(set.standard, cert)
		} else if len(names) > 0 && slices.Equal(names, first) {
			set.standard = append(set.standard, cert)
		}
	}
	for _, list := range set.exact {
		cheaperFirst(list)
	}
	for _, list := range set.wildcard {
		cheaperFirst(list)
	}
	cheaperFirst(set.standard)
	s.set.Store(set)
}

// certificateNames returns the names a certificate is for, sorted, each once. A certificate without alternative names is known
// by its common name: no client of today accepts it for that, but there are some that accept everything.
func certificateNames(cert *tls.Certificate) []string {
	leaf := cert.Leaf
	if leaf == nil {
		if len(cert.Certificate) == 0 {
			return nil
		}
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil
		}
	}
	given := leaf.DNSNames
	if len(given) == 0 && len(leaf.IPAddresses) == 0 && len(leaf.URIs) == 0 && len(leaf.EmailAddresses) == 0 {
		given = []string{leaf.Subject.CommonName}
	}
	var names []string
	for _, name := range given {
		if name = plainName(name); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// plainName is the form in which names are compared: lower case, without the dot at the end.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// cheaperFirst moves those with RSA keys behind the others: a signature with P-256 takes a thirtieth of the time.
func cheaperFirst(list []*tls.Certificate) {
	slices.SortStableFunc(list, func(a, b *tls.Certificate) int { return keyCost(a) - keyCost(b) })
}

func keyCost(cert *tls.Certificate) int {
	if _, ok := cert.PrivateKey.(*rsa.PrivateKey); ok {
		return 1
	}
	if cert.Leaf != nil && cert.Leaf.PublicKeyAlgorithm == x509.RSA { // the key may be in a device
		return 1
	}
	return 0
}

// Get returns the certificate for a client, as tls.Config.GetCertificate has it: of those that name the host exactly, else of
// those that name it with a star in place of its first label, else of the default; and among them the first that the client
// supports. If it supports none the first is used, and the handshake fails with an alert that says why.
func (s *Store) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	set := s.set.Load()
	if set == nil || len(set.standard) == 0 {
		return nil, ErrNoCertificate
	}
	return supported(set.candidates(hello.ServerName), hello), nil
}

// candidates returns the certificates that can stand for a name. It is not empty.
func (set *certificates) candidates(serverName string) []*tls.Certificate {
	name := plainName(serverName)
	if list := set.exact[name]; len(list) > 0 {
		return list
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		if list := set.wildcard[name[i+1:]]; len(list) > 0 {
			return list
		}
	}
	return set.standard
}

func supported(list []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	if len(list) == 1 {
		return list[0]
	}
	asked := *hello
	asked.ServerName = "" // the name has been looked at; what is asked now is whether the client can check the signature
	for _, cert := range list {
		if asked.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	return list[0]
}

// ChallengeProtocol is what a certificate authority offers that checks a name over TLS: RFC 8737 3.
const ChallengeProtocol = "acme-tls/1"

// challengesMax bounds the challenges under way (acme_challenges): one for each name that is being ordered, and no authority
// takes more than a hundred names in an order.
const challengesMax = 1000

type challenges struct {
	sync.RWMutex
	byName map[string]*tls.Certificate
}

// SetChallenge makes cert the answer to a client that asks for name and offers exactly ChallengeProtocol. It fails if there are
// a thousand already.
func (s *Store) SetChallenge(name string, cert *tls.Certificate) error {
	s.challenges.Lock()
	defer s.challenges.Unlock()
	if len(s.challenges.byName) >= challengesMax {
		return errors.New("acme_challenges: too many challenges are under way")
	}
	if s.challenges.byName == nil {
		s.challenges.byName = map[string]*tls.Certificate{}
	}
	s.challenges.byName[plainName(name)] = cert
	return nil
}

// RemoveChallenge forgets the answer for name.
func (s *Store) RemoveChallenge(name string) {
	s.challenges.Lock()
	defer s.challenges.Unlock()
	delete(s.challenges.byName, plainName(name))
}

// challenge returns the answer to the client, nil if it asks for none or there is none.
func (s *Store) challenge(hello *tls.ClientHelloInfo) *tls.Certificate {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != ChallengeProtocol {
		return nil
	}
	s.challenges.RLock()
	defer s.challenges.RUnlock()
	return s.challenges.byName[plainName(hello.ServerName)]
}

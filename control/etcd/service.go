package etcd

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Service is a service in etcd whose instances are endpoints. Frozen.
type Service struct {
	Service               string
	Zone, Colour, Version string // of the instances that are meant; empty: any
	Priority              uint8  // of the endpoints
	Server                Server
}

// Server is an etcd as the document has it, with its secrets.
type Server struct {
	Addresses          []string
	Username, Password string
	TLS                *tls.Config // nil: none
	TLSName            string      // tells it from others
	Prefix             string
	Timeout, Grace     time.Duration
}

// String is the service for people: etcd orders, colour blue.
func (p *Service) String() string {
	s := "etcd " + p.Service
	for _, word := range []struct{ name, value string }{{"zone", p.Zone}, {"colour", p.Colour}, {"version", p.Version}} {
		if word.value != "" {
			s += ", " + word.name + " " + word.value
		}
	}
	return s
}

// Name tells a service and its etcd from others, without saying a secret.
func (p *Service) Name() string {
	return fmt.Sprintf("%q %q %q %q %s", p.Service, p.Zone, p.Colour, p.Version, p.Server.Name())
}

// Name tells an etcd from others, by everything that is said of it, without saying a secret.
func (s *Server) Name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %v %v", s.Addresses, s.Username, s.Password, s.TLSName, s.Prefix, s.Timeout, s.Grace))
	return hex.EncodeToString(sum[:16])
}

// Place tells an etcd's data from another's: credentials and times are not part of it. What is kept of the data on disk goes by it.
func (s *Server) Place() string {
	sum := sha256.Sum256([]byte(strings.Join(s.Addresses, ",") + " " + s.Prefix))
	return hex.EncodeToString(sum[:8])
}

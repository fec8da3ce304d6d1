package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/acme"
	"github.com/yumen-io/yumen/control/certs"
)

// CertificateStatus is a certificate, or a file of authorities, as an operator sees it.
type CertificateStatus struct {
	Kind  string   `json:"kind"`            // one of the Certificate kinds below
	Path  string   `json:"path,omitempty"`  // of the certificate or the authorities; empty for one had by ACME
	Key   string   `json:"key,omitempty"`   // path of the key
	Names []string `json:"names,omitempty"` // hosts it is for
	// NotBefore and NotAfter are those of what is in use; zero while a stand-in waits for an ACME authority.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	State     string    `json:"state"`                // one of the Certificate states below, or what an ACME order is about
	LastError string    `json:"last_error,omitempty"` // what is wrong now; of ACME, how the last order failed
	Since     time.Time `json:"since,omitzero"`       // of State; not told of ACME
	// NextAttempt is when the next certificate is ordered by ACME, and Failures how many orders failed in a row.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Failures    int       `json:"failures,omitempty"`
}

// Kinds of certificates.
const (
	CertificateServer      = "server"      // shown to clients
	CertificateClient      = "client"      // shown to upstreams
	CertificateAuthorities = "authorities" // by which the other side is judged
	CertificateACME        = "acme"        // shown to clients, had from an authority
)

// States of certificates from files. Those by ACME have waiting, ordering, ready and failing.
const (
	CertificateValid   = "valid"
	CertificateBroken  = "broken"  // the file cannot be used: the certificate before it stays in use
	CertificateOutside = "expired" // or not valid yet; and in use, for lack of another
)

// OK tells whether nothing is wrong with what is in use.
func (s *CertificateStatus) OK() bool {
	return s.State == CertificateValid || s.Kind == CertificateACME && s.State != string(acme.StateFailing) && !s.NotAfter.IsZero()
}

// What names the certificate in a line: its file, or the hosts it is had for.
func (s *CertificateStatus) What() string { return cmp.Or(s.Path, strings.Join(s.Names, " ")) }

// Certificates describes the certificates of the configuration in force: those from files in the order of the document, then
// those had by ACME.
func (c *Controller) Certificates() []CertificateStatus {
	list := []CertificateStatus{}
	s := c.state()
	if s.keeper != nil {
		for _, st := range s.keeper.Statuses() {
			list = append(list, fileStatus(&st))
		}
	}
	if s.authority != nil {
		for _, st := range s.authority.Statuses() {
			list = append(list, orderStatus(&st))
		}
	}
	return list
}

func fileStatus(st *certs.Status) CertificateStatus {
	s := CertificateStatus{
		Kind: CertificateServer, Path: st.Path, Key: st.Key, Names: st.Names,
		NotBefore: st.NotBefore, NotAfter: st.NotAfter, State: CertificateValid, Since: st.Since,
	}
	switch {
	case st.Bundle:
		s.Kind = CertificateAuthorities
	case st.Client:
		s.Kind = CertificateClient
	}
	if st.LastError != nil {
		s.State, s.LastError = CertificateBroken, st.LastError.Error()
		if st.Outside {
			s.State = CertificateOutside
		}
	}
	return s
}

func orderStatus(st *acme.Status) CertificateStatus {
	s := CertificateStatus{
		Kind: CertificateACME, Names: slices.Clone(st.Names), NotBefore: st.NotBefore, NotAfter: st.NotAfter, State: string(st.State),
		NextAttempt: st.NextAttempt, Failures: st.Failures,
	}
	if st.LastError != nil {
		s.LastError = st.LastError.Error()
	}
	return s
}

// troubles calls add for each certificate that somebody has to see to. None is a reason not to be ready: every gateway has the
// same files, and what a certificate is bad for is not all that is served.
func (c *Controller) troubles(add func(name, why string)) {
	for _, s := range c.Certificates() {
		if s.OK() {
			continue
		}
		why := s.LastError
		switch {
		case s.Kind == CertificateACME && s.NotAfter.IsZero():
			why = "a certificate that no client trusts stands in until the authority has given one"
			if s.LastError != "" {
				why += "; the last order failed: " + s.LastError
			}
		case s.Kind == CertificateACME:
			why = fmt.Sprintf("it is not renewed, and ends %s: %s", s.NotAfter.UTC().Format(time.RFC3339), s.LastError)
		case s.State == CertificateBroken:
			why = "the file cannot be used, the certificate before it stays in use: " + s.LastError
		}
		add("certificate "+s.What(), why)
	}
}

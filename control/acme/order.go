package acme

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/yumen-io/yumen/control/certs"
)

const (
	// orderTimeout bounds an order from end to end. Authorities verify and sign within seconds, minutes at their worst.
	orderTimeout = 5 * time.Minute
	// tokenBytesMax bounds a token, which is asked for in a path; it has 22 characters or a few more (RFC 8555, 8.3).
	tokenBytesMax = 256
	// skewMax is how far the authority's clock may be ahead of ours without a certificate of it being refused.
	skewMax = 10 * time.Minute
)

// order gets a certificate for the names. text is its key and chain in PEM.
func (m *Manager) order(ctx context.Context, names []string) (cert *tls.Certificate, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	client := m.newClient()
	defer client.HTTPClient.CloseIdleConnections()

	order, err := m.begin(ctx, client, names)
	if err != nil {
		return nil, nil, err
	}
	if err := m.authorize(ctx, client, order, names); err != nil {
		return nil, nil, err
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, nil, fmt.Errorf("the order: %w", err)
	}
	return m.finalize(ctx, client, order, names)
}

// authorize proves that the names lead here. All challenges are set and begun before one is waited for, so that a group of
// a hundred names takes little longer than one name; and a failure tells of every name that failed.
func (m *Manager) authorize(ctx context.Context, client *acme.Client, order *acme.Order, names []string) error {
	if len(order.AuthzURLs) > len(names) {
		return fmt.Errorf("the authority asks for %d proofs about %d names", len(order.AuthzURLs), len(names))
	}
	type pending struct{ name, url string }
	var open []pending
	for _, url := range order.AuthzURLs {
		z, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return fmt.Errorf("ask what to prove: %w", err)
		}
		name := z.Identifier.Value
		if !slices.Contains(names, name) {
			return fmt.Errorf("the authority asks for a proof about %q, which was not ordered", name)
		}
		if z.Status != acme.StatusPending {
			if z.Status != acme.StatusValid {
				return fmt.Errorf("the authority's proof about %s is %s", name, z.Status)
			}
			continue // it remembers that of an order before
		}
		remove, err := m.answer(ctx, client, z)
		if err != nil {
			return fmt.Errorf("prove that %s leads here: %w", name, err)
		}
		defer remove()
		open = append(open, pending{name, url})
	}
	var faults []error
	for _, p := range open {
		if _, err := client.WaitAuthorization(ctx, p.url); err != nil {
			faults = append(faults, refusedChallenge(p.name, m.cfg.Challenge, err))
		}
	}
	return errors.Join(faults...)
}

// answer has the challenge of an authorization answered, and tells the authority to ask.
func (m *Manager) answer(ctx context.Context, client *acme.Client, z *acme.Authorization) (remove func(), err error) {
	var c *acme.Challenge
	var offered []string
	for _, o := range z.Challenges {
		offered = append(offered, o.Type)
		if o.Type == string(m.cfg.Challenge) {
			c = o
		}
	}
	if c == nil {
		return nil, fmt.Errorf("the authority offers %s, and not %s", strings.Join(offered, ", "), m.cfg.Challenge)
	}
	if err := checkToken(c.Token); err != nil {
		return nil, err
	}
	answers, name := m.cfg.Answers, z.Identifier.Value
	switch m.cfg.Challenge {
	case HTTP01:
		keyAuth, err := client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		answers.SetHTTP01(c.Token, keyAuth)
		remove = func() { answers.RemoveHTTP01(c.Token) }
	case TLSALPN01:
		cert, err := client.TLSALPN01ChallengeCert(c.Token, name)
		if err != nil {
			return nil, err
		}
		answers.SetTLSALPN01(name, &cert)
		remove = func() { answers.RemoveTLSALPN01(name) }
	}
	if _, err := client.Accept(ctx, c); err != nil {
		remove()
		return nil, fmt.Errorf("begin the challenge: %w", err)
	}
	return remove, nil
}

// checkToken checks what becomes a path: base64url and nothing else (RFC 8555, 8.3).
func checkToken(token string) error {
	if token == "" || len(token) > tokenBytesMax ||
		strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return fmt.Errorf("the authority's token %.40q is none", token)
	}
	return nil
}

// finalize asks for the certificate with a key of its own.
func (m *Manager) finalize(
	ctx context.Context, client *acme.Client, order *acme.Order, names []string,
) (cert *tls.Certificate, text []byte, err error) {
	key, text, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		return nil, nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for the certificate: %w", err)
	}
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	// Judged as if it had been found in the folder, so that what is served now is not refused after a restart.
	now := m.cfg.Clock.Now()
	judge := func(at time.Time) (*tls.Certificate, error) {
		return certs.Parse(certs.Pair{Cert: "the authority's answer", Key: "the order"}, text, text, at)
	}
	cert, err = judge(now)
	if errors.Is(err, certs.ErrNotYetValid) {
		cert, err = judge(now.Add(skewMax))
	}
	if err == nil {
		err = carries(cert.Leaf, names)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("what the authority issued cannot be used: %w", err)
	}
	return cert, text, nil
}

package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// standInTime is how long a stand-in is valid. Nobody trusts it anyway; what counts is that a forgotten one is noticed.
const standInTime = 7 * 24 * time.Hour

// StandIn makes a self-signed certificate for the names, so that a listener can start, and answer tls-alpn-01, before there
// is one that clients trust. Whoever serves it should say so.
func StandIn(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a stand-in certificate: %w", err)
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a stand-in certificate: %w", err)
	}
	c := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: "Yumen stand-in, waiting for a certificate"}, DNSNames: names,
		// Clocks differ: a client that lags by less than an hour sees the same fault as others, and no second one.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(standInTime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a stand-in certificate for %q: %w", names, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a stand-in certificate for %q: %w", names, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

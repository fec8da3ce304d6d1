//go:build linux

package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Identity is a self-signed certificate (ECDSA P-256) for localhost and 127.0.0.1 with its files, made for one test.
// As its own root it serves both sides.
type Identity struct {
	// CertFile and KeyFile are PEM files of their own; PairFile has both, as HAProxy wants them.
	CertFile, KeyFile, PairFile string
	Certificate                 tls.Certificate
	Roots                       *x509.CertPool
}

// NewIdentity makes one. Its files go with the test.
func NewIdentity(t testing.TB) *Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("writing a key: %v", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	id := &Identity{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), PairFile: filepath.Join(dir, "pair.pem"),
		Roots: x509.NewCertPool(),
	}
	id.Roots.AppendCertsFromPEM(certPEM)
	if id.Certificate, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatalf("reading back a certificate: %v", err)
	}
	for path, text := range map[string][]byte{id.CertFile: certPEM, id.KeyFile: keyPEM, id.PairFile: append(certPEM, keyPEM...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// ServerConfig offers the protocols by ALPN.
func (id *Identity) ServerConfig(protocols ...string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.Certificate}, NextProtos: protocols}
}

// ClientConfig trusts this identity alone and asks for the protocols.
func (id *Identity) ClientConfig(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: id.Roots, ServerName: "localhost", NextProtos: protocols}
}

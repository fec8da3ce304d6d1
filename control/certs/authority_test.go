package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time of these tests; certificates are valid from a day before it to 90 days after.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// issued is a certificate with its key.
type issued struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

var serial = big.NewInt(1000)

// issue makes a certificate; by nil it signs itself. change, if not nil, has a say in it.
func issue(t *testing.T, by *issued, name string, change func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	do(t, err)
	return issueFor(t, by, key, name, change)
}

func issueFor(t *testing.T, by *issued, key crypto.Signer, name string, change func(*x509.Certificate)) *issued {
	t.Helper()
	serial.Add(serial, big.NewInt(1))
	c := &x509.Certificate{
		SerialNumber: new(big.Int).Set(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: noon.Add(-day), NotAfter: noon.Add(90 * day),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{name}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	do(t, err)
	cert, err := x509.ParseCertificate(der)
	do(t, err)
	return &issued{t, cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.DNSNames, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil, nil
}

func (i *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

func (i *issued) keyPEM() string {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	do(i.t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// folder is a temporary folder to put files in.
type folder struct {
	t    *testing.T
	path string
}

func newFolder(t *testing.T) folder { return folder{t, t.TempDir()} }

func (f folder) in(name string) string { return filepath.Join(f.path, name) }

// put replaces a file the way most programs do: by renaming.
func (f folder) put(name, text string) string {
	f.t.Helper()
	do(f.t, os.WriteFile(f.in(name+".tmp"), []byte(text), 0o600))
	do(f.t, os.Rename(f.in(name+".tmp"), f.in(name)))
	return f.in(name)
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/file"
)

// Pair names the two files of a certificate. They may be the same file.
type Pair struct {
	Cert string // PEM: the certificate, followed by the authorities between it and the root
	Key  string // PEM: the private key of the certificate
	// Client says that the certificate is presented to upstreams and not to clients of the gateway. It then needs no
	// subjectAltName, since who it names is for the upstream to judge.
	Client bool
}

const (
	// pairBytesMax bounds each file of a pair: a chain with the largest keys is some tens of kilobytes.
	pairBytesMax = 1 << 20
	// chainMax bounds a chain. It is sent in every handshake; the public ones are two to four certificates long.
	chainMax = 10
	// rsaBitsMin is what browsers and authorities have asked for since 2013.
	rsaBitsMin = 2048
	// rsaBitsMax is where Go's and other clients stop to verify; and each handshake would cost tens of milliseconds.
	rsaBitsMax = 8192
)

// ErrExpired and ErrNotYetValid are wrapped by errors about nothing but the time: the files themselves are in order.
var (
	ErrExpired     = errors.New("the certificate has expired")
	ErrNotYetValid = errors.New("the certificate is not valid yet")
)

// timeError is an ErrExpired or ErrNotYetValid with a text of its own.
type timeError struct {
	text string
	kind error
}

func (e *timeError) Error() string { return e.text }
func (e *timeError) Unwrap() error { return e.kind }

// Load reads a pair and judges it as of now. The certificate has its Leaf set.
func Load(p Pair, now time.Time) (*tls.Certificate, error) {
	certText, keyText, err := p.read()
	if err != nil {
		return nil, err
	}
	return Parse(p, certText, keyText, now)
}

// Parse judges a pair whose files were read already; their paths are for its errors.
func Parse(p Pair, certText, keyText []byte, now time.Time) (*tls.Certificate, error) {
	cert, err := p.parse(certText, keyText)
	if err != nil {
		return nil, err
	}
	if err := validNow(p.Cert, cert.Leaf, now); err != nil {
		return nil, err
	}
	return cert, nil
}

func (p Pair) read() (certText, keyText []byte, err error) {
	if certText, err = read(p.Cert, pairBytesMax); err != nil {
		return nil, nil, err
	}
	keyText, err = read(p.Key, pairBytesMax)
	return certText, keyText, err
}

// read reads a file of at most max bytes.
func read(path string, max int) ([]byte, error) {
	text, err := file.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist: put the file there, or correct the path: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s cannot be read: let the user that the gateway runs as read it: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	case len(text) > max:
		return nil, fmt.Errorf("%s is larger than %d kB: is it the right file?", path, max>>10)
	}
	return text, nil
}

// parse makes a certificate of the texts of the two files and judges all but the time.
func (p Pair) parse(certText, keyText []byte) (*tls.Certificate, error) {
	chain, err := parseCertificates(p.Cert, certText, chainMax)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(p.Key, keyText)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if !fits(key, leaf) {
		if i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return fits(key, c) }); i > 0 {
			return nil, fmt.Errorf("%s begins with the certificate of %s; that of %s is number %d: put it first, and after each its issuer",
				p.Cert, nameOf(leaf), p.Key, i+1)
		}
		return nil, fmt.Errorf("the key in %s does not belong to the certificate in %s: replace the one that is out of date",
			p.Key, p.Cert)
	}
	if err := strongEnough(p.Key, key); err != nil {
		return nil, err
	}
	if err := inOrder(p.Cert, chain); err != nil {
		return nil, err
	}
	if err := p.fitFor(leaf); err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

// parseCertificates returns the certificates of a PEM text, at least one and at most max.
func parseCertificates(path string, text []byte, max int) ([]*x509.Certificate, error) {
	blocks, err := parseBlocks(path, text)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	keys := 0
	for _, b := range blocks {
		switch {
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			keys++
		case b.Type == "TRUSTED CERTIFICATE":
			return nil, fmt.Errorf("%s holds an OpenSSL \"trusted certificate\": convert it with: openssl x509 -in %s", path, path)
		case b.Type == "CERTIFICATE":
			if len(list) == max {
				return nil, fmt.Errorf("%s holds more than %d certificates: is it the right file?", path, max)
			}
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d in %s is damaged: %w", len(list)+1, path, err)
			}
			list = append(list, c)
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case keys > 0:
		return nil, fmt.Errorf("%s holds a private key and no certificate: are the two files swapped?", path)
	}
	return nil, fmt.Errorf("%s holds no certificate", path)
}

// parseBlocks takes a PEM text apart. Unlike encoding/pem it passes over no block that is damaged or cut off: a chain
// whose second certificate is missing works in some clients only, which is worse than not at all.
func parseBlocks(path string, text []byte) ([]*pem.Block, error) {
	var blocks []*pem.Block
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	switch begun := bytes.Count(text, []byte("-----BEGIN")); {
	case begun > len(blocks):
		return nil, fmt.Errorf("%s holds a PEM block that is damaged or cut off: write the file anew", path)
	case len(blocks) > 0:
		return blocks, nil
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case text[0] == 0x30: // an ASN.1 sequence
		return nil, fmt.Errorf("%s is DER and not PEM: convert it with openssl x509 -inform der or openssl pkey -inform der",
			path)
	}
	return nil, fmt.Errorf("%s holds nothing in PEM: is it the right file?", path)
}

// parseKey returns the one private key of a PEM text.
func parseKey(path string, text []byte) (crypto.Signer, error) {
	blocks, err := parseBlocks(path, text)
	if err != nil {
		return nil, err
	}
	keys := slices.DeleteFunc(blocks, func(b *pem.Block) bool { return !strings.HasSuffix(b.Type, "PRIVATE KEY") })
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no private key: are the two files swapped?", path)
	}
	if len(keys) > 1 {
		return nil, fmt.Errorf("%s holds %d private keys: leave the one of the certificate", path, len(keys))
	}
	b := keys[0]
	var key any
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, fmt.Errorf("the key in %s is encrypted, and nobody is there to enter a passphrase: decrypt it with openssl pkey, "+
			"and let only the gateway's user read it", path)
	case b.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case b.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case b.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	default:
		return nil, fmt.Errorf("the key in %s is of the kind %q: RSA, ECDSA and Ed25519 keys are known", path, b.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("the key in %s is damaged: %w", path, err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("the key in %s cannot sign: RSA, ECDSA and Ed25519 keys can", path)
}

// fits tells whether the key is that of the certificate.
func fits(key crypto.Signer, c *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

func strongEnough(path string, key crypto.Signer) error {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
			return fmt.Errorf("the RSA key in %s has %d bits: take one of %d to %d, or ECDSA P-256",
				path, bits, rsaBitsMin, rsaBitsMax)
		}
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P224() {
			return fmt.Errorf("the key in %s is on the curve P-224, which clients refuse: take P-256", path)
		}
	}
	return nil
}

// inOrder checks that each certificate was issued by the one after it (RFC 8446, 4.4.2; clients of TLS 1.2 insist).
func inOrder(path string, chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
			return fmt.Errorf("certificate %d in %s (%s) was not issued by number %d (%s) but by %q: put them in order, after each its issuer, "+
				"and leave out what does not belong", i+1, path, nameOf(c), i+2, nameOf(issuer), c.Issuer)
		}
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("certificate %d in %s (%s) is not signed by number %d (%s), which has its issuer's name: "+
				"take the issuer's current certificate: %w", i+1, path, nameOf(c), i+2, nameOf(issuer), err)
		}
	}
	return nil
}

// fitFor checks that a certificate may be presented to the side it is meant for.
func (p Pair) fitFor(leaf *x509.Certificate) error {
	usage, side := x509.ExtKeyUsageServerAuth, "servers"
	if p.Client {
		usage, side = x509.ExtKeyUsageClientAuth, "clients"
	}
	if !p.Client && len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		return fmt.Errorf("the certificate in %s (%s) has no subjectAltName with a host name or address, and clients look at nothing else: "+
			"have it issued with one", p.Cert, nameOf(leaf))
	}
	usages := leaf.ExtKeyUsage
	if len(usages)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(usages, usage) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		return fmt.Errorf("the certificate in %s (%s) is not issued for %s (extended key usage): take one that is",
			p.Cert, nameOf(leaf), side)
	}
	return nil
}

// validNow judges the time of a leaf. That of its issuers is for clients to judge: several of the best known chains were
// served on purpose with a root that had run out.
func validNow(path string, leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(leaf.NotBefore):
		return &timeError{fmt.Sprintf("the certificate in %s (%s) is not valid before %s, and it is %s: wait, or set this machine's clock",
			path, nameOf(leaf), stamp(leaf.NotBefore), stamp(now)), ErrNotYetValid}
	case now.After(leaf.NotAfter):
		return &timeError{fmt.Sprintf("the certificate in %s (%s) expired at %s, and it is %s: renew it",
			path, nameOf(leaf), stamp(leaf.NotAfter), stamp(now)), ErrExpired}
	}
	return nil
}

// nameOf is what to call a certificate in a sentence.
func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	case len(c.Subject.String()) > 0:
		return c.Subject.String()
	}
	return "number " + c.SerialNumber.Text(16)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

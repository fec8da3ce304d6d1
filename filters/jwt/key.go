package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// rsaBitsMin is RFC 7518 section 3.3; rsaBitsMax keeps a key set from choosing how long a verification takes.
	rsaBitsMin = 2048
	rsaBitsMax = 8192
	// keysMax is how many keys a set may have. Issuers with a key for each tenant have dozens.
	keysMax = 100
	// candidatesMax is how many keys one token is tried with, where it does not name one or several have its name.
	candidatesMax = 4
	// kidBytesMax is how long the name of a key may be: a hash in hexadecimal has 64 to 128.
	kidBytesMax = 256
)

// Key is a key that signatures are verified with. It is frozen.
type Key struct {
	kid    string
	family family
	only   Algorithm // what the key set says it is for; empty: every algorithm of its family

	secret  []byte
	rsa     *rsa.PublicKey
	ecdsa   *ecdsa.PublicKey
	ed25519 ed25519.PublicKey
}

// newKey makes a Key of a public key, the public part of a private one, or a secret.
func newKey(kid string, only Algorithm, material any) (*Key, error) {
	k := &Key{kid: kid, only: only}
	if len(kid) > kidBytesMax {
		return nil, fmt.Errorf("its name has %d bytes, more than %d", len(kid), kidBytesMax)
	}
	if private, ok := material.(interface{ Public() crypto.PublicKey }); ok {
		material = private.Public()
	}
	switch m := material.(type) {
	case []byte:
		k.family, k.secret = secret, bytes.Clone(m)
		if len(m) < methods[0].bytes {
			return nil, fmt.Errorf("the secret has %d bytes, the shortest that is safe has %d", len(m), methods[0].bytes)
		}
	case *rsa.PublicKey:
		k.family, k.rsa = rsaKey, m
		if bits := m.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
			return nil, fmt.Errorf("an RSA key of %d bits; it must have from %d to %d", bits, rsaBitsMin, rsaBitsMax)
		}
		if m.E < 3 || m.E&1 == 0 {
			return nil, fmt.Errorf("an RSA key with the exponent %d", m.E)
		}
	case *ecdsa.PublicKey:
		k.ecdsa = m
		switch m.Curve {
		case elliptic.P256():
			k.family = p256
		case elliptic.P384():
			k.family = p384
		case elliptic.P521():
			k.family = p521
		default:
			return nil, errors.New("a key on a curve that no algorithm here uses")
		}
	case ed25519.PublicKey:
		k.family, k.ed25519 = ed25519Key, m
	default:
		return nil, fmt.Errorf("a key of a kind that no algorithm here uses (%T)", material)
	}
	return k, nil
}

// takes tells whether the key may verify by a method.
func (k *Key) takes(m *method) bool {
	return k.family == m.family && (k.only == "" || k.only == m.name) && (m.family != secret || len(k.secret) >= m.bytes)
}

// equal tells whether two keys verify the same.
func (k *Key) equal(o *Key) bool {
	if k.kid != o.kid || k.family != o.family || k.only != o.only {
		return false
	}
	switch k.family {
	case secret:
		return bytes.Equal(k.secret, o.secret)
	case rsaKey:
		return k.rsa.Equal(o.rsa)
	case ed25519Key:
		return k.ed25519.Equal(o.ed25519)
	}
	return k.ecdsa.Equal(o.ecdsa)
}

// ParsePEM reads public keys and certificates, of which the keys are taken. A private key is an error: it has no business
// on a gateway. Keys from PEM have no name and are tried with tokens that name any.
func ParsePEM(text []byte) ([]*Key, error) {
	var keys []*Key
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		var public any
		var err error
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = c.PublicKey
			}
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("it holds a private key, of which a gateway needs the public part only")
		default:
			return nil, fmt.Errorf("it holds a block %q, which is no public key", block.Type)
		}
		if err != nil {
			return nil, err
		}
		k, err := newKey("", "", public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("it holds no PEM block with a public key")
	case len(keys) > candidatesMax:
		return nil, fmt.Errorf("it holds %d keys without names; more than %d need a key set (JWKS)", len(keys), candidatesMax)
	}
	return keys, nil
}

// ParseSecret makes the key of an HMAC.
func ParseSecret(text []byte) ([]*Key, error) {
	k, err := newKey("", "", text)
	if err != nil {
		return nil, err
	}
	return []*Key{k}, nil
}

// DecodeSecret reads a secret in base64 with either alphabet, padded or not. The error does not repeat it.
func DecodeSecret(text []byte) ([]byte, error) {
	plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSpace(string(text))), "=")
	out, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return nil, errors.New("the secret is not base64")
	}
	return out, nil
}

// KeySet is the keys in force, frozen. What was concluded under one set is known by its pointer.
type KeySet struct{ keys []*Key }

// successor returns the set after s: s itself if the keys are the same. A key that stays is the same pointer in both, which
// is how a verified token is known to have been verified by a key that is still in force.
func (s *KeySet) successor(keys []*Key) *KeySet {
	kept := 0
	next := &KeySet{make([]*Key, 0, len(keys))}
	for _, k := range keys {
		if slices.ContainsFunc(next.keys, k.equal) {
			continue // twice in the list
		}
		if s != nil {
			if i := slices.IndexFunc(s.keys, k.equal); i >= 0 {
				k = s.keys[i]
				kept++
			}
		}
		next.keys = append(next.keys, k)
	}
	if s != nil && kept == len(next.keys) && kept == len(s.keys) {
		return s
	}
	return next
}

// has tells whether a key is in force.
func (s *KeySet) has(k *Key) bool { return slices.Contains(s.keys, k) }

// candidates are the keys to try a token with.
type candidates struct {
	list [candidatesMax]*Key
	n    int
	// more: there were others, and no saying which is meant.
	more bool
}

func (c *candidates) add(k *Key) {
	if c.n == candidatesMax {
		c.more = true
		return
	}
	c.list[c.n] = k
	c.n++
}

// find returns the keys a token may be signed with, by the name it gives and the method it must use: those of that name,
// otherwise those without any. known is false if no key has the name, so that it may be one the source has since got. A name
// is not looked at further: one that looks like a path or a query is a name nobody has.
func (s *KeySet) find(kid []byte, hasKid bool, m *method) (c candidates, known bool) {
	if hasKid {
		for _, k := range s.keys {
			if k.kid == string(kid) {
				known = true
				if k.takes(m) {
					c.add(k)
				}
			}
		}
		if known {
			return c, true
		}
	}
	for _, k := range s.keys {
		if (!hasKid || k.kid == "") && k.takes(m) {
			c.add(k)
		}
	}
	return c, !hasKid || c.n > 0
}

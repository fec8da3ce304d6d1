package hmacauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/yumen-io/yumen/policy/identity"
)

// Limits on secrets: RFC 2104 section 3 wants as many bytes as the hash has, and half of them cannot be guessed either.
const (
	SecretBytesMin = 16  // secret_too_short
	SecretBytesMax = 512 // secret_too_long
)

// Keys are consumers with their secrets, by the key id that signatures name: the consumer's name. They are frozen.
type Keys struct{ of map[string]*key }

// key is a secret as HMAC needs it (RFC 2104): the block with the inner and the outer pad laid over it. The secret itself is not
// kept.
type key struct {
	id           *identity.Identity
	inner, outer [sha256.BlockSize]byte
}

// NewKeys returns no keys.
func NewKeys() *Keys { return &Keys{of: map[string]*key{}} }

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.of) }

// Add adds a consumer's secret, for whoever makes the keys. The error never has the secret in it.
func (k *Keys) Add(id *identity.Identity, secret []byte) error {
	switch {
	case k.of[id.Name()] != nil:
		return fmt.Errorf("the key %q is there twice", id.Name())
	case len(secret) < SecretBytesMin || len(secret) > SecretBytesMax:
		return fmt.Errorf("the secret of %q has %d bytes: write %d to %d, such as: openssl rand -base64 32", id.Name(), len(secret), SecretBytesMin, SecretBytesMax)
	}
	one := &key{id: id}
	block := [sha256.BlockSize]byte{}
	if len(secret) > len(block) {
		sum := sha256.Sum256(secret)
		copy(block[:], sum[:])
	} else {
		copy(block[:], secret)
	}
	for i, b := range block {
		one.inner[i], one.outer[i] = b^0x36, b^0x5c
	}
	k.of[id.Name()] = one
	return nil
}

// ParseFile reads a file of secrets: a line each, with the key id (the consumer's name), its secret and attributes. Errors name the line,
// and never the secret.
func ParseFile(text []byte) (*Keys, error) {
	rows, err := identity.ParseList(text)
	if err != nil {
		return nil, err
	}
	k := NewKeys()
	for _, r := range rows {
		if err := k.Add(r.Identity, []byte(r.Secret)); err != nil {
			return nil, &identity.LineError{Line: r.Line, Cause: err.Error()}
		}
	}
	return k, nil
}

// mac returns the HMAC-SHA256 of what stands in b behind its first block, which is the key's to write. It allocates nothing.
func (k *key) mac(b []byte) [sha256.Size]byte {
	copy(b, k.inner[:])
	inner := sha256.Sum256(b)
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(outer[:], k.outer[:])
	copy(outer[sha256.BlockSize:], inner[:])
	return sha256.Sum256(outer[:])
}

// nobody stands in for keys that are not there, so that the time tells nothing.
var nobody key

// signs tells whether a MAC is that of b by the key of an id, and whose key that is.
func (k *Keys) signs(keyID, b, mac []byte) *identity.Identity {
	one, known := k.of[string(keyID)]
	if !known {
		one = &nobody
	}
	sum := one.mac(b)
	if subtle.ConstantTimeCompare(sum[:], mac) != 1 || !known {
		return nil
	}
	return one.id
}

package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/policy/identity"
)

// Sum is the SHA-256 of a key.
type Sum [sha256.Size]byte

// ParseSum reads a sum as people write it: 64 hexadecimal digits, maybe with "sha256:" before them. The error never has the text in
// it, which may be a key.
func ParseSum(s string) (Sum, error) {
	var sum Sum
	s = strings.TrimPrefix(s, sumPrefix)
	if len(s) != 2*len(sum) {
		return sum, fmt.Errorf("a SHA-256 sum has 64 hexadecimal digits, found %d characters", len(s))
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return sum, fmt.Errorf("a SHA-256 sum has hexadecimal digits only")
	}
	return sum, nil
}

const (
	sumPrefix   = "sha256:"
	plainPrefix = "plain:"
)

// KeyBytesMin is how long a key that is written down in plain is at least (key_too_short): 16 characters of Base64 are 96 bits.
const KeyBytesMin = 16

// KeyBytesMax is how long a key may be (key_too_long). Requests with longer ones are refused unhashed.
const KeyBytesMax = 512

// Keys are consumers by the sums of their keys. They are frozen.
type Keys struct {
	of    map[Sum]*identity.Identity
	Plain int // how many were written down as they are
}

// NewKeys returns no keys.
func NewKeys() *Keys { return &Keys{of: map[Sum]*identity.Identity{}} }

// Add is for whoever makes the keys. It returns false if the key is somebody's already.
func (k *Keys) Add(sum Sum, id *identity.Identity) bool {
	if k.of[sum] != nil {
		return false
	}
	k.of[sum] = id
	return true
}

// Len is the number of keys.
func (k *Keys) Len() int { return len(k.of) }

// ParseFile reads a file of keys: a line each, with the consumer's name, the key as sha256:HEX (or in plain as plain:KEY), and attributes.
// A consumer may have several lines, each with attributes of its own. Errors name the line, and never the key.
func ParseFile(text []byte) (*Keys, error) {
	rows, err := identity.ParseList(text)
	if err != nil {
		return nil, err
	}
	k := NewKeys()
	for _, r := range rows {
		fail := func(format string, args ...any) (*Keys, error) {
			return nil, &identity.LineError{Line: r.Line, Cause: fmt.Sprintf(format, args...)}
		}
		var sum Sum
		if key, plain := strings.CutPrefix(r.Secret, plainPrefix); plain {
			if len(key) < KeyBytesMin || len(key) > KeyBytesMax {
				return fail("a key has %d to %d characters, found %d", KeyBytesMin, KeyBytesMax, len(key))
			}
			sum = sha256.Sum256([]byte(key))
			k.Plain++
		} else if strings.HasPrefix(r.Secret, sumPrefix) {
			if sum, err = ParseSum(r.Secret); err != nil {
				return fail("%v", err)
			}
		} else {
			return fail("the key of %q begins neither with %s nor with %s", r.Identity.Name(), sumPrefix, plainPrefix)
		}
		if !k.Add(sum, r.Identity) {
			return fail("the key of %q is there twice", r.Identity.Name())
		}
	}
	return k, nil
}

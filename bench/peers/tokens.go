//go:build linux

package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// tokens are what the clients of a test with guards carry, the same for every program, and the keys by which one can tell that
// they are right.
type tokens struct {
	hs256, es256   string
	secret, public []byte // the key of each: hexadecimal, PEM
}

// made is once for the process: a run compares programs by the same bytes.
var made = sync.OnceValues(newTokens)

func newTokens() (tokens, error) {
	raw := make([]byte, 32)
	rand.Read(raw) // never fails
	t := tokens{secret: hex.AppendEncode(nil, raw)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return t, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return t, fmt.Errorf("writing a key: %w", err)
	}
	t.public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	claims := fmt.Sprintf(`{"iss":"bench","aud":"bench","sub":"user-0123456789","org":{"tenant":"acme"},"scope":"read write","exp":%d}`,
		time.Now().Add(24*time.Hour).Unix())

	text := b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, t.secret)
	mac.Write([]byte(text))
	t.hs256 = text + "." + b64(mac.Sum(nil))

	text = b64([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + b64([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return t, fmt.Errorf("signing a token: %w", err)
	}
	var signature [64]byte // RFC 7518 3.4: both numbers at their full length
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	t.es256 = text + "." + b64(signature[:])
	return t, nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// write puts the keys beside a program's configuration.
func (t *tokens) write(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "secret"), t.secret, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "public.pem"), t.public, 0o600)
}

// TokenFields are the fields of a request of the tests with guards: a token by a secret in Authorization, one by a public key
// in X-Token.
func TokenFields() (string, error) {
	t, err := made()
	return "Authorization: Bearer " + t.hs256 + "\r\nX-Token: " + t.es256, err
}

package chain

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
)

// APIKeysConfig is who is known by a key.
type APIKeysConfig struct {
	// Field is the header field, or gRPC's metadata, that has the key. In "Authorization" it stands after the scheme ApiKey.
	// Default: X-API-Key.
	Field string
	// Keys are those that do not change while the program runs.
	Keys []APIKey
	// Lookup finds a key that is not among Keys by its SHA-256; nil, nil: there is none. Nil: there are no others. It is asked for each
	// call, and for each wrong key: what it keeps it should bound.
	Lookup func(ctx context.Context, sha256 [32]byte) (*Principal, error)
}

// APIKey is one key, of which only the hash is kept.
type APIKey struct {
	// SHA256 of the key in hexadecimal digits, which HashAPIKey writes.
	SHA256 string
	// Principal has the key. By is set to "api_key".
	Principal Principal
}

// HashAPIKey is what APIKey.SHA256 is of a key. A fast hash is enough for what nobody can guess: keys are 16 random bytes at least,
// and no passwords.
func HashAPIKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// apiKeyBytesMax is the gateway's bound.
const apiKeyBytesMax = 512

type apiKeys struct {
	field  string
	keys   map[[32]byte]*apiKey
	lookup func(context.Context, [32]byte) (*Principal, error)
}

type apiKey struct {
	sum       [32]byte
	principal Principal
}

// APIKeys makes an Authenticator of keys. How long it takes tells nothing about the keys there are: what came is hashed, and
// nobody can choose a hash.
func APIKeys(cfg APIKeysConfig) (Authenticator, error) {
	a := &apiKeys{field: http.CanonicalHeaderKey(cfg.Field), keys: map[[32]byte]*apiKey{}, lookup: cfg.Lookup}
	if a.field == "" {
		a.field = "X-Api-Key"
	}
	var errs []error
	for i, k := range cfg.Keys {
		of := &apiKey{principal: k.Principal}
		b, err := hex.DecodeString(k.SHA256)
		if err != nil || len(b) != len(of.sum) {
			errs = append(errs, bad("APIKeys: Keys[%d].SHA256: it must have 64 hexadecimal digits", i))
			continue
		}
		if k.Principal.ID == "" {
			errs = append(errs, bad("APIKeys: Keys[%d].Principal.ID: it is empty", i))
		}
		copy(of.sum[:], b)
		if a.keys[of.sum] != nil {
			errs = append(errs, bad("APIKeys: Keys[%d]: the key is there twice", i))
		}
		of.principal.By = "api_key"
		a.keys[of.sum] = of
	}
	if len(cfg.Keys) == 0 && cfg.Lookup == nil {
		errs = append(errs, bad("APIKeys: there are neither Keys nor a Lookup, so that nobody could call"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return a, nil
}

// Challenge is the gateway's.
func (a *apiKeys) Challenge() string { return "ApiKey" }

func (a *apiKeys) Authenticate(ctx context.Context, call *Call) (*Principal, error) {
	values := call.Header(a.field)
	if len(values) == 0 {
		return nil, ErrNoCredentials
	}
	if len(values) > 1 {
		return nil, apiKeyTwice
	}
	key := values[0]
	if a.field == "Authorization" {
		var ok bool
		if key, ok = afterScheme(key, "apikey"); !ok {
			return nil, ErrNoCredentials
		}
	}
	if len(key) > apiKeyBytesMax {
		return nil, apiKeyLong
	}
	sum := sha256.Sum256([]byte(key))
	if k := a.keys[sum]; k != nil && subtle.ConstantTimeCompare(k.sum[:], sum[:]) == 1 {
		return &k.principal, nil
	}
	if a.lookup != nil {
		if p, err := a.lookup(ctx, sum); p != nil || err != nil {
			return p, err
		}
	}
	return nil, apiKeyUnknown
}

// afterScheme is what a value of Authorization has after its scheme (RFC 9110, section 11.4).
func afterScheme(value, scheme string) (string, bool) {
	word, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(word, scheme) {
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

func unauthenticated(reason, text string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: codes.Unauthenticated, Reason: reason, Text: text}
}

var (
	apiKeyUnknown = unauthenticated(ReasonKeyUnknown, "The API key is not known.")
	apiKeyTwice   = &Refusal{Status: http.StatusBadRequest, Code: codes.InvalidArgument, Reason: ReasonAmbiguous, Text: "The request carries more than one API key."}
	apiKeyLong    = unauthenticated(ReasonKeyTooLong, "The API key is longer than any.")
)

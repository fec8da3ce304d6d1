package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// setBytesMax bounds a key set, wherever it comes from: a hundred RSA keys with their certificates take 400 kB.
const setBytesMax = 1 << 20

// Set is what was read of a JWK set (RFC 7517 section 5).
type Set struct {
	Keys []*Key
	// Skipped says of keys that cannot be used, why. RFC 7517 section 5 has them passed over: an issuer may publish kinds
	// of keys that we do not know yet.
	Skipped []string
}

// rawKey is what go-jose does not tell of a key.
type rawKey struct {
	KeyType    string   `json:"kty"`
	Operations []string `json:"key_ops"`
}

// ParseSet reads a JWK set. secrets: it comes from where secrets may come from; otherwise keys of HMACs are passed over,
// for what is published for all is no secret. A set without a usable key is an error, so that an issuer's mishap does not
// take the keys away that are in force.
func ParseSet(text []byte, secrets bool) (*Set, error) {
	if len(text) > setBytesMax {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(text), setBytesMax)
	}
	var list struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("it is no key set: %w", err)
	}
	if list.Keys == nil {
		return nil, errors.New(`it is no key set: it has no list "keys"`)
	}
	if len(list.Keys) > keysMax {
		return nil, fmt.Errorf("it has %d keys, more than %d", len(list.Keys), keysMax)
	}
	out := &Set{}
	var strict reader
	for i, raw := range list.Keys {
		k, err := parseKey(raw, secrets, &strict)
		if err != nil {
			out.Skipped = append(out.Skipped, fmt.Sprintf("key %d: %v", i+1, err))
			continue
		}
		out.Keys = append(out.Keys, k)
	}
	if len(out.Keys) == 0 {
		if len(out.Skipped) > 0 {
			return nil, fmt.Errorf("it has no key that can be used (%s)", out.Skipped[0])
		}
		return nil, errors.New("it has no keys")
	}
	return out, nil
}

func parseKey(raw []byte, secrets bool, strict *reader) (*Key, error) {
	if !strict.read(raw) {
		return nil, errors.New("it is no JSON object, has a member twice, or is too deep")
	}
	var about rawKey
	if err := json.Unmarshal(raw, &about); err != nil {
		return nil, err
	}
	if about.KeyType == "oct" && !secrets {
		return nil, errors.New("a secret, in a key set that is published")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	switch {
	case jwk.Use != "" && jwk.Use != "sig":
		return nil, fmt.Errorf("it is for the use %q", jwk.Use)
	case about.Operations != nil && !slices.Contains(about.Operations, "verify"):
		return nil, errors.New("its key_ops do not have verify")
	case jwk.Algorithm != "" && methodOf(jwk.Algorithm) == nil:
		return nil, fmt.Errorf("it is for the algorithm %q", jwk.Algorithm)
	}
	k, err := newKey(jwk.KeyID, Algorithm(jwk.Algorithm), jwk.Key)
	if err != nil {
		return nil, err
	}
	if k.only != "" && methodOf(jwk.Algorithm).family != k.family {
		return nil, fmt.Errorf("it is of the kind %s and says it is for %s", k.family, jwk.Algorithm)
	}
	return k, nil
}

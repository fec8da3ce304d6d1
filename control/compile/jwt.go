package compile

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/jwt"
)

func (c *compiler) jwtSpec(said *config.JWTFilter) (*jwt.Spec, error) {
	k := &said.Keys
	s := &jwt.Spec{
		Issuers: said.Issuers, Audiences: said.Audiences, Optional: !said.Required, Types: said.Types, Skew: said.ClockSkew, ExpiryOptional: !said.ExpRequired,
		Forward: said.Forward, Headers: claimFields(said.Headers), Scopes: said.Scopes, TokenBytesMax: int(said.TokenMax), Cached: said.Cache,
		Realm: said.Realm, Logger: slog.Default(),
		Fetch: jwt.Fetch{URL: k.URL, File: k.File, CA: k.CA, Refresh: k.Refresh, Timeout: k.Timeout, Stale: k.Stale, AskEvery: k.AskEvery},
	}
	if s.Skew == 0 {
		s.Skew = -1 // off: there, zero is the default
	}
	if s.Cached == 0 {
		s.Cached = -1
	}
	for _, a := range said.Algorithms {
		s.Algorithms = append(s.Algorithms, jwt.Algorithm(a))
	}
	for _, claim := range said.Claims {
		s.Claims = append(s.Claims, jwt.Requirement{Claim: claim.Name, OneOf: claim.OneOf})
	}
	for _, name := range said.From.Header {
		if name == "authorization" {
			s.Places = append(s.Places, jwt.Place{Kind: jwt.InAuthorization})
			continue
		}
		s.Places = append(s.Places, jwt.Place{Kind: jwt.InHeader, Name: name})
	}
	for _, name := range said.From.Cookie {
		s.Places = append(s.Places, jwt.Place{Kind: jwt.InCookie, Name: name})
	}
	for _, name := range said.From.Query {
		s.Places = append(s.Places, jwt.Place{Kind: jwt.InQuery, Name: name})
	}
	return s, jwtKeys(k, s)
}

// jwtKeys gives the settings keys that are not fetched.
func jwtKeys(k *config.JWTKeys, s *jwt.Spec) error {
	if k.PEM != "" {
		s.PEM = []byte(k.PEM)
	}
	if k.JWKS != "" {
		s.Set = []byte(k.JWKS)
	}
	if k.SecretFile != "" {
		s.Fetch.File, s.Fetch.Secret = k.SecretFile, jwt.PlainSecret
		if k.SecretForm == config.JWTSecretBase64 {
			s.Fetch.Secret = jwt.Base64Secret
		}
	}
	if k.SecretEnv == "" {
		return nil
	}
	text, there := os.LookupEnv(k.SecretEnv)
	if !there {
		return fmt.Errorf("the environment variable %s with the secret is not set", k.SecretEnv)
	}
	if s.Secret = []byte(text); k.SecretForm != config.JWTSecretBase64 {
		return nil
	}
	var err error
	s.Secret, err = jwt.DecodeSecret(s.Secret)
	return err
}

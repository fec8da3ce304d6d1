package chain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
)

// JWTConfig is which signed tokens (RFC 7519) are believed. Issuer, Audience and one of Secret, Keys and URL are required.
type JWTConfig struct {
	// Issuer is what iss must be.
	Issuer string
	// Audience is one of which aud must have.
	Audience []string
	// Algorithms are those accepted, of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. What a token
	// says of itself decides nothing. Nil: RS256, ES256 and EdDSA, with Secret HS256.
	Algorithms []string

	// Secret is that of HS256 and its kin: 32 bytes at least.
	Secret []byte
	// Keys are a JWK set (RFC 7517, section 5), which does not change.
	Keys []byte
	// URL is where the issuer publishes its JWK set. It is fetched with the first token and again after Refresh, by a call beside which
	// others go on with the keys that there are; and for a key that is not known, but not within 30 s of the last time. Keys
	// are kept while the issuer cannot be reached.
	URL string
	// Client fetches URL. Nil: one with a timeout of 5 s that follows no redirects.
	Client *http.Client
	// Refresh is how old keys from URL become: 1 min or more. 0: 10 min.
	Refresh time.Duration

	// Leeway is how far clocks may differ: up to 5 min. 0: 30 s; Never: not at all.
	Leeway time.Duration
	// ID is the claim that becomes Principal.ID. Default: sub.
	ID string
	// Scopes is the claim with the scopes, a list or a text with spaces. Default: scope.
	Scopes string
	// KnownMax bounds how many tokens are remembered after they were verified, so that the next call with one costs a hash:
	// up to 1,000,000. 0: 10,000, some 10 MB with usual claims.
	KnownMax int
	// Logger is told when keys cannot be fetched, and when they can again. Nil: slog.Default().
	Logger *slog.Logger
	// Clock is the time. Nil: time.Now.
	Clock func() time.Time
}

const (
	jwtBytesMax    = 8 << 10 // net/http takes header fields of 1 MB
	jwtSecretMin   = 32      // RFC 7518, section 3.2: as long as the hash
	leewayDefault  = 30 * time.Second
	leewayMax      = 5 * time.Minute
	refreshDefault = 10 * time.Minute
	knownDefault   = 10_000
	knownMost      = 1_000_000
)

var algorithmsAll = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512, jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

type jwtTokens struct {
	cfg        JWTConfig
	algorithms []jose.SignatureAlgorithm
	keys       *keySource
	known      tokens
	now        func() time.Time
}

// JWT makes an Authenticator of bearer tokens (RFC 6750, section 2.1). It holds no goroutine beyond a fetch of URL.
func JWT(cfg JWTConfig) (Authenticator, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, bad("JWT: "+format, args...)) }
	if cfg.Issuer == "" {
		wrong("Issuer: it is empty, and any issuer of the keys would be believed")
	}
	if len(cfg.Audience) == 0 || slices.Contains(cfg.Audience, "") {
		wrong("Audience: tokens for others would be taken for ours; name this service")
	}
	sources := 0
	for _, there := range []bool{cfg.Secret != nil, cfg.Keys != nil, cfg.URL != ""} {
		if there {
			sources++
		}
	}
	if sources != 1 {
		wrong("one of Secret, Keys and URL is needed, and there are %d", sources)
	}
	if cfg.Secret != nil && len(cfg.Secret) < jwtSecretMin {
		wrong("Secret: it has %d bytes, fewer than %d", len(cfg.Secret), jwtSecretMin)
	}
	a := &jwtTokens{cfg: cfg, now: cfg.Clock}
	if a.now == nil {
		a.now = time.Now
	}
	switch {
	case cfg.Algorithms != nil:
		for _, word := range cfg.Algorithms {
			alg := jose.SignatureAlgorithm(word)
			switch secret := strings.HasPrefix(word, "HS"); {
			case !slices.Contains(algorithmsAll, alg):
				wrong("Algorithms: %q is none", word)
			case secret != (cfg.Secret != nil):
				wrong("Algorithms: %s does not go with what there is of keys", word)
			}
			a.algorithms = append(a.algorithms, alg)
		}
	case cfg.Secret != nil:
		a.algorithms = []jose.SignatureAlgorithm{jose.HS256}
	default:
		a.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
	}
	switch {
	case cfg.Leeway == 0:
		a.cfg.Leeway = leewayDefault
	case cfg.Leeway == Never:
		a.cfg.Leeway = 0
	case cfg.Leeway < 0 || cfg.Leeway > leewayMax:
		wrong("Leeway: %v is not between 0 and %v", cfg.Leeway, leewayMax)
	}
	if cfg.Refresh == 0 {
		a.cfg.Refresh = refreshDefault
	} else if cfg.Refresh < time.Minute {
		wrong("Refresh: %v is below 1m", cfg.Refresh)
	}
	if cfg.KnownMax == 0 {
		a.cfg.KnownMax = knownDefault
	} else if cfg.KnownMax < 0 || cfg.KnownMax > knownMost {
		wrong("KnownMax: %d is not between 1 and %d", cfg.KnownMax, knownMost)
	}
	if cfg.ID == "" {
		a.cfg.ID = "sub"
	}
	if cfg.Scopes == "" {
		a.cfg.Scopes = "scope"
	}
	if errs == nil {
		source, err := newKeySource(&a.cfg, a.now)
		if err != nil {
			field := "URL"
			if cfg.Keys != nil {
				field = "Keys"
			}
			wrong("%s: %w", field, err)
		}
		a.keys = source
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	a.known.init(a.cfg.KnownMax)
	return a, nil
}

// Challenge is RFC 6750's.
func (a *jwtTokens) Challenge() string { return "Bearer" }

func (a *jwtTokens) Authenticate(ctx context.Context, call *Call) (*Principal, error) {
	token := ""
	for _, value := range call.Header("Authorization") {
		if text, ok := afterScheme(value, "bearer"); ok {
			if token != "" {
				return nil, jwtTwice
			}
			token = text
		}
	}
	if token == "" {
		return nil, ErrNoCredentials
	}
	if len(token) > jwtBytesMax {
		return nil, jwtTooLarge
	}
	now := a.now()
	mark := markOf(token)
	keys, err := a.keys.keys(ctx, "")
	if err != nil {
		return nil, jwtNoKeys.with(err)
	}
	if p := a.known.find(mark, now, keys.generation); p != nil {
		return p, nil
	}
	p, expires, generation, err := a.read(ctx, token, now)
	if err != nil {
		return nil, err
	}
	a.known.add(mark, known{p, expires, generation})
	return p, nil
}

// read verifies a token, and only then looks at what it says.
func (a *jwtTokens) read(ctx context.Context, token string, now time.Time) (p *Principal, expires time.Time, generation uint64, err error) {
	parsed, err := jwt.ParseSigned(token, a.algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, expires, 0, jwtBad.with(err)
	}
	kid, alg := parsed.Headers[0].KeyID, parsed.Headers[0].Algorithm
	keys, err := a.keys.keys(ctx, kid)
	if err != nil {
		return nil, expires, 0, jwtNoKeys.with(err)
	}
	candidates := keys.of(kid, alg)
	if len(candidates) == 0 {
		return nil, expires, 0, jwtUnknownKey
	}
	var claims jwt.Claims
	var all map[string]any
	verified := false
	for _, key := range candidates {
		// go-jose takes a key for algorithms of its own family only, does not unmarshal what it has not verified, and refuses members
		// that are there twice, so that two readers of a token cannot see two subjects.
		if err = parsed.Claims(key, &claims, &all); err == nil {
			verified = true
			break
		}
		if !errors.Is(err, jose.ErrCryptoFailure) && !errors.Is(err, jose.ErrUnsupportedAlgorithm) && !errors.Is(err, jose.ErrUnsupportedKeyType) {
			return nil, expires, 0, jwtBad.with(err)
		}
	}
	if !verified {
		return nil, expires, 0, jwtWrongSignature
	}
	if claims.Expiry == nil {
		return nil, expires, 0, jwtIncomplete.with(errors.New("there is no exp"))
	}
	err = claims.ValidateWithLeeway(jwt.Expected{Issuer: a.cfg.Issuer, AnyAudience: a.cfg.Audience, Time: now}, a.cfg.Leeway)
	switch {
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return nil, expires, 0, jwtIssuer.with(fmt.Errorf("it is %.100q", claims.Issuer))
	case errors.Is(err, jwt.ErrInvalidAudience):
		return nil, expires, 0, jwtAudience.with(fmt.Errorf("it is for %.100q", fmt.Sprint(claims.Audience)))
	case errors.Is(err, jwt.ErrExpired):
		return nil, expires, 0, jwtExpired
	case err != nil:
		return nil, expires, 0, jwtNotYet
	}
	id, ok := all[a.cfg.ID].(string)
	if !ok || id == "" {
		return nil, expires, 0, jwtIncomplete.with(fmt.Errorf("there is no %s", a.cfg.ID))
	}
	p = &Principal{ID: id, By: "jwt", Claims: all}
	switch scopes := all[a.cfg.Scopes].(type) {
	case string:
		p.Scopes = strings.Fields(scopes)
	case []any:
		for _, s := range scopes {
			if word, ok := s.(string); ok {
				p.Scopes = append(p.Scopes, word)
			}
		}
	}
	return p, claims.Expiry.Time().Add(a.cfg.Leeway), keys.generation, nil
}

// with is the refusal with what the log is told.
func (r *Refusal) with(cause error) *Refusal {
	of := *r
	of.Cause = cause
	return &of
}

func badToken(reason, text string) *Refusal {
	r := unauthenticated(reason, text)
	r.Challenge = `Bearer error="invalid_token"` // RFC 6750, section 3.1
	return r
}

var (
	jwtTwice          = &Refusal{Status: http.StatusBadRequest, Code: codes.InvalidArgument, Reason: ReasonJWTTwice, Text: "The request carries more than one token."}
	jwtTooLarge       = badToken(ReasonJWTTooLarge, "The token is longer than is accepted here.")
	jwtBad            = badToken(ReasonJWTBad, "The token is no JWT that is signed as is accepted here.")
	jwtUnknownKey     = badToken(ReasonJWTKey, "The token is signed with a key that is not known.")
	jwtWrongSignature = badToken(ReasonJWTSigned, "The token's signature is not right.")
	jwtExpired        = badToken(ReasonJWTExpired, "The token has expired.")
	jwtNotYet         = badToken(ReasonJWTEarly, "The token is not valid yet.")
	jwtIssuer         = badToken(ReasonJWTIssuer, "The token is from an issuer that is not trusted here.")
	jwtAudience       = badToken(ReasonJWTAudience, "The token is meant for somebody else.")
	jwtIncomplete     = badToken(ReasonJWTClaim, "The token does not say what is needed here.")
	jwtNoKeys         = &Refusal{Status: http.StatusServiceUnavailable, Code: codes.Unavailable, Reason: ReasonJWTNoKeys,
		Text: "The key to verify the token with cannot be had at the moment."}
)

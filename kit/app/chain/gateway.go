package chain

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// GatewayConfig is whom to believe who the caller is. At least one of Certificates and Secrets is required.
type GatewayConfig struct {
	// Field is the header field, or gRPC's metadata, in which the gateway writes who the caller is: what its jwt, api_keys and
	// other guards have in `headers`. Default: X-User-Id.
	Field string
	// ScopesField has their scopes, with spaces or commas between them. Default: X-User-Scopes.
	ScopesField string
	// Claims are more fields, by name of the claim: {"plan": "X-User-Plan"}.
	Claims map[string]string

	// Certificates are DNS names and URIs, one of which the client certificate of the connection must have. The server's TLS
	// configuration verifies it (tls.RequireAndVerifyClientCert, or VerifyClientCertIfGiven).
	Certificates []string
	// Secrets are shared with the gateway, which sends one of them in SecretField: 16 bytes at least. Two are for the time of a
	// change. Without TLS whoever listens can read them.
	Secrets []string
	// SecretField. Default: X-Gateway-Secret.
	SecretField string
}

const (
	secretBytesMin = 16
	// identityBytesMax bounds what is believed to be an id, which becomes a key of limits and a field of logs.
	identityBytesMax = 512
)

type gatewayIdentity struct {
	cfg     GatewayConfig
	secrets [][32]byte
}

// GatewayIdentity makes an Authenticator that takes the gateway's word. A call that has one of the gateway's fields without a proof
// that it comes from there is refused, so that no handler meets somebody else's word in it.
func GatewayIdentity(cfg GatewayConfig) (Authenticator, error) {
	g := &gatewayIdentity{cfg: cfg}
	for _, f := range []struct {
		name  *string
		other string
	}{{&g.cfg.Field, "X-User-Id"}, {&g.cfg.ScopesField, "X-User-Scopes"}, {&g.cfg.SecretField, "X-Gateway-Secret"}} {
		if *f.name == "" {
			*f.name = f.other
		}
		*f.name = http.CanonicalHeaderKey(*f.name)
	}
	var errs []error
	for i, s := range cfg.Secrets {
		if len(s) < secretBytesMin {
			errs = append(errs, bad("GatewayIdentity: Secrets[%d]: it has %d bytes, fewer than %d", i, len(s), secretBytesMin))
		}
		g.secrets = append(g.secrets, sha256.Sum256([]byte(s)))
	}
	if slices.Contains(cfg.Certificates, "") {
		errs = append(errs, bad("GatewayIdentity: Certificates: an empty name"))
	}
	if len(cfg.Secrets) == 0 && len(cfg.Certificates) == 0 {
		errs = append(errs, bad("GatewayIdentity: without Certificates or Secrets everybody could say who they are"))
	}
	g.cfg.Claims = map[string]string{}
	for claim, field := range cfg.Claims {
		g.cfg.Claims[claim] = http.CanonicalHeaderKey(field)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *gatewayIdentity) Authenticate(_ context.Context, call *Call) (*Principal, error) {
	ids := call.Header(g.cfg.Field)
	said := len(ids) > 0 || len(call.Header(g.cfg.ScopesField)) > 0
	for _, field := range g.cfg.Claims {
		said = said || len(call.Header(field)) > 0
	}
	if !said {
		return nil, ErrNoCredentials
	}
	if !g.proved(call) {
		return nil, noProof
	}
	if len(ids) == 0 || ids[0] == "" {
		return nil, ErrNoCredentials // the gateway says that it does not know either
	}
	if len(ids) > 1 || len(ids[0]) > identityBytesMax {
		return nil, noProof // the gateway writes one
	}
	p := &Principal{ID: ids[0], By: "gateway"}
	for _, line := range call.Header(g.cfg.ScopesField) {
		p.Scopes = append(p.Scopes, strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' })...)
	}
	for claim, field := range g.cfg.Claims {
		if v := call.Header(field); len(v) == 1 {
			if p.Claims == nil {
				p.Claims = map[string]any{}
			}
			p.Claims[claim] = v[0]
		}
	}
	return p, nil
}

// proved tells whether the call comes from the gateway.
func (g *gatewayIdentity) proved(call *Call) bool {
	if len(g.secrets) > 0 {
		if v := call.Header(g.cfg.SecretField); len(v) == 1 {
			sum, same := sha256.Sum256([]byte(v[0])), 0
			for i := range g.secrets {
				same |= subtle.ConstantTimeCompare(sum[:], g.secrets[i][:])
			}
			if same == 1 {
				return true
			}
		}
	}
	if len(g.cfg.Certificates) == 0 {
		return false
	}
	state := call.TLS()
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return false
	}
	leaf := state.VerifiedChains[0][0]
	for _, name := range leaf.DNSNames {
		if slices.Contains(g.cfg.Certificates, name) {
			return true
		}
	}
	for _, uri := range leaf.URIs {
		if slices.Contains(g.cfg.Certificates, uri.String()) {
			return true
		}
	}
	return false
}

var noProof = unauthenticated(ReasonNoProof, "Fields that only the gateway may send came from somewhere else.")

package chain

import (
	"context"
	"errors"
	"slices"
)

// Auth is who may call.
type Auth struct {
	// Authenticators are asked in this order until one knows the caller or refuses. Whom none knows is refused, but for methods
	// that are Public. Nil: everybody may call, and there is no Principal.
	Authenticators []Authenticator
}

// Authenticator finds out who calls: APIKeys, JWT and GatewayIdentity make one. It returns ErrNoCredentials for a call that has
// none of its kind, a *Refusal for credentials that are not right, and any other error if it cannot tell: the call is
// answered 503 then, and the error logged. It is called by many goroutines at once, and ctx ends with the client's time. What it
// has returned is not changed any more.
//
// One that has a method Challenge() string says with it what the WWW-Authenticate of a 401 should be.
type Authenticator interface {
	Authenticate(ctx context.Context, call *Call) (*Principal, error)
}

// AuthenticatorFunc is a function as an Authenticator.
type AuthenticatorFunc func(ctx context.Context, call *Call) (*Principal, error)

// Authenticate is f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, call *Call) (*Principal, error) {
	return f(ctx, call)
}

// Principal is who calls. It is shared by calls and must not be changed.
type Principal struct {
	// ID names them among all whom the service knows; limits and logs go by it.
	ID string
	// By is how they are known: "api_key", "jwt", "gateway", or a word of the service's own Authenticator.
	By string
	// Scopes are what they may do.
	Scopes []string
	// Claims are what else is known: of JWT those of the token, of GatewayIdentity the fields asked for.
	Claims map[string]any
}

// HasScope tells whether scope is one of theirs.
func (p *Principal) HasScope(scope string) bool { return p != nil && slices.Contains(p.Scopes, scope) }

func (c *Chain) readAuth() error {
	for i, a := range c.cfg.Auth.Authenticators {
		if a == nil {
			return bad("Auth.Authenticators[%d]: there is none", i)
		}
		if says, ok := a.(interface{ Challenge() string }); ok {
			if word := says.Challenge(); !slices.Contains(c.challenge, word) {
				c.challenge = append(c.challenge, word)
			}
		}
	}
	if c.challenge == nil {
		c.challenge = []string{"Bearer"} // RFC 9110, section 15.5.2: a 401 has one
	}
	return nil
}

// authenticate is the stage of Auth. It returns nil if the call may go on.
func (c *Chain) authenticate(ctx context.Context, call *Call) *Refusal {
	rule := call.rule
	if rule.Public {
		return nil
	}
	for _, a := range c.cfg.Auth.Authenticators {
		p, err := a.Authenticate(ctx, call)
		if errors.Is(err, ErrNoCredentials) {
			continue
		}
		if err == nil && p == nil {
			err = errors.New("an Authenticator returned neither Principal nor error")
		}
		if err != nil {
			return call.refusedBy(refusalOf(err, unavailable))
		}
		call.principal = p
		for _, scope := range rule.Scopes {
			if !p.HasScope(scope) {
				return call.refusedBy(scopeMissing)
			}
		}
		if rule.Allow != nil {
			if err := rule.Allow(ctx, call); err != nil {
				return call.refusedBy(refusalOf(err, forbidden))
			}
		}
		return nil
	}
	return call.refusedBy(unknownCaller)
}

func (c *Call) refusedBy(r *Refusal) *Refusal {
	c.refused(StageAuth, r.Reason, r.Cause)
	return r
}

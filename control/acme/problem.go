package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// plain puts an error of an order into words for whoever has to do something about it, and keeps it as the cause.
func (m *Manager) plain(err error) error {
	var (
		problem   *acme.Error
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		dns       *net.DNSError
		op        *net.OpError
	)
	switch {
	case errors.Is(err, errAnswerTooLong):
		return fmt.Errorf("is %s an ACME directory? %w", m.cfg.Directory, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the authority did not come to an end within %v: %w", orderTimeout, err)
	case errors.As(err, &authority):
		return fmt.Errorf("the certificate of the authority's server (%s) is signed by nobody trusted here: name the roots of a private "+
			"authority, or bring the system's up to date: %w", m.cfg.Directory, err)
	case errors.As(err, &host):
		return fmt.Errorf("the certificate of the authority's server is for another name than that in %s: %w",
			m.cfg.Directory, err)
	case errors.As(err, &dns):
		return fmt.Errorf("the name of the authority's server (%s) cannot be resolved: %w", m.cfg.Directory, err)
	case errors.As(err, &op):
		return fmt.Errorf("the authority (%s) cannot be reached: %w", m.cfg.Directory, err)
	case !errors.As(err, &problem):
		return err
	}
	switch kind(problem) {
	case "rateLimited":
		return fmt.Errorf("the authority's rate limit is reached, and only time helps: %w", err)
	case "userActionRequired":
		return fmt.Errorf("the authority asks for something to be done by hand, such as to accept its new terms, at %s: %w",
			problem.Instance, err)
	case "externalAccountRequired":
		return fmt.Errorf("the authority asks for an external account: take key ID and HMAC key from your account there: %w", err)
	case "rejectedIdentifier":
		return fmt.Errorf("the authority gives no certificate for one of the names: %w", err)
	case "caa":
		return fmt.Errorf("the CAA record of one of the names does not allow this authority: %w", err)
	case "invalidContact", "unsupportedContact":
		return fmt.Errorf("the authority does not take the email %q: %w", m.cfg.Email, err)
	case "serverInternal":
		return fmt.Errorf("the authority has trouble of its own: %w", err)
	}
	if problem.StatusCode >= 500 {
		return fmt.Errorf("the authority has trouble of its own: %w", err)
	}
	return err
}

// kind is the last part of a problem's type (RFC 8555, 6.7), without the name space.
func kind(e *acme.Error) string {
	return e.ProblemType[strings.LastIndexByte(e.ProblemType, ':')+1:]
}

// isKind tells whether an error is a problem of the kind.
func isKind(err error, k string) bool {
	var problem *acme.Error
	return errors.As(err, &problem) && kind(problem) == k
}

// refusedChallenge says why the authority could not verify a name, and what would help.
func refusedChallenge(name string, by Challenge, why error) error {
	port := "80"
	if by == TLSALPN01 {
		port = "443"
	}
	hint := ""
	var refused *acme.AuthorizationError
	if errors.As(why, &refused) && len(refused.Errors) > 0 {
		why = errors.Join(refused.Errors...)
		var problem *acme.Error
		errors.As(refused.Errors[0], &problem)
		switch {
		case problem == nil:
		case kind(problem) == "connection":
			hint = ": let port " + port + " of that name reach the gateway from the internet"
		case kind(problem) == "dns":
			hint = ": look after the A and AAAA records of the name"
		case kind(problem) == "unauthorized" || kind(problem) == "incorrectResponse" || kind(problem) == "tls":
			hint = ": does port " + port + " of that name lead to this gateway, at each of its addresses?"
		case kind(problem) == "caa":
			hint = ": the name's CAA record does not allow this authority"
		}
	}
	return fmt.Errorf("the authority could not verify %s by %s%s: %w", name, by, hint, why)
}

// askedToWait is how long the authority asked to wait in the error of an order.
func askedToWait(err error, now time.Time) time.Duration {
	var problem *acme.Error
	if !errors.As(err, &problem) || problem.Header == nil {
		return 0
	}
	return min(retryAfter(problem.Header, now), waitMax)
}

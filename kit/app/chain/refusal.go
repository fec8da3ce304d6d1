package chain

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// The words of refusals and failures, the gateway's where it has one.
const (
	ReasonDeadline    = "deadline_exceeded"   // the time that the client gave is over
	ReasonTimeout     = "request_timeout"     // the time that the service gives is
	ReasonMissing     = "credentials_missing" // none that any Authenticator knows
	ReasonScope       = "scope_missing"       // the Principal lacks one of Method.Scopes
	ReasonForbidden   = "forbidden"           // by Method.Allow
	ReasonUnavailable = "auth_unavailable"    // an Authenticator cannot tell
	ReasonPanic       = "panic"               // of a handler
	ReasonInvalid     = "invalid_request"     // its content breaks rules, or cannot be read
	ReasonTooLarge    = "body_too_large"      // above Validation.BodyMax
	ReasonContentType = "unsupported_content" // a body that is none of those that Bind reads
	ReasonNoProof     = "gateway_not_proved"  // GatewayIdentity: fields that only the gateway may send
	ReasonKeyUnknown  = "api_key_unknown"     // APIKeys
	ReasonAmbiguous   = "api_key_ambiguous"   // APIKeys: more than one
	ReasonKeyTooLong  = "api_key_too_long"    // APIKeys
	ReasonJWTTwice    = "jwt_ambiguous"       // JWT: more than one token
	ReasonJWTTooLarge = "jwt_too_large"       // JWT
	ReasonJWTBad      = "jwt_malformed"       // JWT: no signed token of an accepted algorithm
	ReasonJWTKey      = "jwt_unknown_key"     // JWT
	ReasonJWTSigned   = "jwt_signature"       // JWT
	ReasonJWTExpired  = "jwt_expired"         // JWT
	ReasonJWTEarly    = "jwt_not_yet_valid"   // JWT
	ReasonJWTIssuer   = "jwt_issuer"          // JWT
	ReasonJWTAudience = "jwt_audience"        // JWT
	ReasonJWTClaim    = "jwt_claim"           // JWT: no expiry, or no subject
	ReasonJWTNoKeys   = "jwt_no_keys"         // JWT: the issuer's keys cannot be had
)

// ErrNoCredentials is what an Authenticator returns for a call that has none of its kind: the next is asked.
var ErrNoCredentials = errors.New("chain: no credentials")

// Refusal is an error that says how a call is to be answered. An Authenticator, Method.Allow and handlers of gRPC may
// return one; Refuse answers a request of HTTP with it.
type Refusal struct {
	Status int        // of HTTP, 400 to 599
	Code   codes.Code // of gRPC
	Reason string     // a word in snake_case: for programs, logs and metrics
	Text   string     // a sentence for people, who may be strangers
	// Challenge is the WWW-Authenticate of a 401 (RFC 9110, section 11.6.1). "": that of the chain's Authenticators.
	Challenge string
	// RetryAfter is when to come again; 0: that is not known.
	RetryAfter time.Duration
	// Cause is for the log only.
	Cause error
}

// Error is for logs.
func (r *Refusal) Error() string {
	if r.Cause != nil {
		return r.Reason + ": " + r.Cause.Error()
	}
	return r.Reason
}

// Unwrap returns the Cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// NotSent tells other packages of the kit that the service has not failed.
func (r *Refusal) NotSent() bool { return r.Status < 500 }

// HTTPStatus is the Status.
func (r *Refusal) HTTPStatus() int { return r.Status }

// GRPCStatus is for status.FromError.
func (r *Refusal) GRPCStatus() *status.Status { return r.answer().GRPC() }

func (r *Refusal) answer() *answer.Refusal {
	return &answer.Refusal{Status: r.Status, Code: r.Code, Text: r.Text, Reason: r.Reason, After: r.RetryAfter}
}

// write answers a request as the gateway does.
func (r *Refusal) write(w http.ResponseWriter, challenges []string) {
	if r.Status == http.StatusUnauthorized {
		if r.Challenge != "" {
			challenges = []string{r.Challenge}
		}
		w.Header()["Www-Authenticate"] = challenges
	}
	r.answer().Write(w)
}

// Refuse answers a request of HTTP with an error: a *ValidationError is a problem document (RFC 9457), a *Refusal its line and
// reason, the end of the context 504, and anything else 500 that does not tell strangers what it was.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	c := CallOf(r.Context())
	if invalid := (*ValidationError)(nil); errors.As(err, &invalid) {
		if c != nil {
			c.refused(StageValidation, invalid.Reason, nil)
		}
		invalid.write(w)
		return
	}
	refusal := (*Refusal)(nil)
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, context.DeadlineExceeded):
		refusal = overdue
	default:
		refusal = &Refusal{Status: http.StatusInternalServerError, Code: codes.Internal, Reason: "internal", Text: "Something went wrong here.", Cause: err}
	}
	var challenges []string
	if c != nil {
		c.reason, c.cause = refusal.Reason, refusal.Cause
		challenges = c.chain.challenge
	}
	refusal.write(w, challenges)
}

// refusalOf makes an answer of what an Authenticator or Allow has returned.
func refusalOf(err error, other *Refusal) *Refusal {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return overdue
	}
	r := *other
	r.Cause = err
	return &r
}

var (
	overdue = &Refusal{Status: http.StatusGatewayTimeout, Code: codes.DeadlineExceeded, Reason: ReasonDeadline,
		Text: "The time that the client gave is over."}
	tookTooLong = &Refusal{Status: http.StatusGatewayTimeout, Code: codes.DeadlineExceeded, Reason: ReasonTimeout,
		Text: "This took longer than the service gives it."}
	unknownCaller = &Refusal{Status: http.StatusUnauthorized, Code: codes.Unauthenticated, Reason: ReasonMissing,
		Text: "Say who is calling."}
	scopeMissing = &Refusal{Status: http.StatusForbidden, Code: codes.PermissionDenied, Reason: ReasonScope,
		Text: "The caller has no right to this."}
	forbidden = &Refusal{Status: http.StatusForbidden, Code: codes.PermissionDenied, Reason: ReasonForbidden,
		Text: "The caller may not do this."}
	unavailable = &Refusal{Status: http.StatusServiceUnavailable, Code: codes.Unavailable, Reason: ReasonUnavailable,
		Text: "Who is calling cannot be found out now."}
)

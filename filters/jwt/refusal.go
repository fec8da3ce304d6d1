package jwt

import "github.com/yumen-io/yumen/gateway"

// refusal is one way not to pass. The words are those of header, log and metric; code is RFC 6750 section 3.1's, empty where
// the client did not try to say who it is.
type refusal struct {
	status       int
	reason, code string
	text         string
}

// The refusals there are. A token that is bad in any way is 401 with invalid_token, one that is good and not enough 403, two
// of them 400. Without keys nobody can tell: that is 503, since 401 would have clients throw good tokens away.
var (
	missing     = &refusal{401, "jwt_missing", "", "a token is needed here"}
	ambiguous   = &refusal{400, "jwt_ambiguous", "invalid_request", "the request carries more than one token"}
	tooLarge    = &refusal{401, "jwt_too_large", "invalid_token", "the token is longer than is accepted here"}
	malformed   = &refusal{401, "jwt_malformed", "invalid_token", "the token is no signed JWT"}
	unsupported = &refusal{401, "jwt_unsupported", "invalid_token", "the token is encrypted, or demands what is not understood here"}
	badType     = &refusal{401, "jwt_type", "invalid_token", "the token is of another type"}
	algorithm   = &refusal{401, "jwt_algorithm", "invalid_token", "the token is signed by an algorithm that is not accepted here"}
	unknownKey  = &refusal{401, "jwt_unknown_key", "invalid_token", "the token is signed with a key that is not known"}
	signature   = &refusal{401, "jwt_signature", "invalid_token", "the token's signature is not right"}
	expired     = &refusal{401, "jwt_expired", "invalid_token", "the token has expired"}
	notYet      = &refusal{401, "jwt_not_yet_valid", "invalid_token", "the token is not valid yet"}
	issuer      = &refusal{401, "jwt_issuer", "invalid_token", "the token is from an issuer that is not trusted here"}
	audience    = &refusal{401, "jwt_audience", "invalid_token", "the token is meant for somebody else"}
	scope       = &refusal{403, "jwt_scope", "insufficient_scope", "the token was not given for what is asked here"}
	claim       = &refusal{403, "jwt_claim", "insufficient_scope", "the token does not say what is needed here"}
	noKeys      = &refusal{503, "jwt_no_keys", "", "the key to verify the token with cannot be had at the moment"}
	busy        = &refusal{503, "jwt_busy", "", "too many tokens are being verified"}
)

var refusals = [...]*refusal{missing, ambiguous, tooLarge, malformed, unsupported, badType, algorithm, unknownKey, signature, expired, notYet,
	issuer, audience, scope, claim, noKeys, busy}

// unverified is the word for a token that was not verified in shadow mode, since too many were.
const unverified = "jwt_unverified"

// Reasons returns every word that this guard gives as a reason.
func Reasons() []string {
	list := make([]string, 0, len(refusals)+1)
	for _, r := range refusals {
		list = append(list, r.reason)
	}
	return append(list, unverified)
}

// tellClaim says which issuer or audience the token on the desk names, as far as a record has room for it, and which are accepted.
func tellClaim(j *gateway.Judgement, d *desk, name string, accepted []string) {
	var space [128]byte // more than a record keeps of a word
	c := &d.claims
	if v := c.member(name); v != nil {
		if v.kind == isString || v.kind == isList {
			j.Word(name, c.bytes(v.text)) // of a list its elements, with commas between
		} else {
			j.Word(name, []byte("no text"))
		}
	}
	list := space[:0]
	for i, a := range accepted {
		if i > 0 && len(list)+2 <= cap(list) {
			list = append(list, ", "...)
		}
		list = append(list, a[:min(len(a), cap(list)-len(list))]...)
	}
	j.Word("accepted", list)
}

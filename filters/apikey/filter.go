package apikey

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

// Spec is what a document says.
type Spec struct {
	Places  []Place // in the order in which a key is looked for; none: the header X-API-Key
	Keys    *Keys   // of the document; nil: none
	File    *atomic.Pointer[Keys]
	Path    string // of the file, for people
	Forward bool   // leave the key on the request
	Headers []identity.Field
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// The words of refusals.
const (
	ReasonMissing   = "api_key_missing"
	ReasonUnknown   = "api_key_unknown"
	ReasonAmbiguous = "api_key_ambiguous"
	ReasonTooLong   = "api_key_too_long"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonMissing, ReasonUnknown, ReasonAmbiguous, ReasonTooLong}
}

// Filter is a compiled Spec. It is frozen, but for the keys of a file, and shared by all loops.
type Filter struct {
	guard   *gateway.Guard
	spec    Spec
	told    identity.Forward
	fields  []gateway.Field // of refusals
	scratch gateway.PerLoop[scratch]
}

// scratch is a loop's: a key with its escapes resolved, and who is told in a judgement.
type scratch struct {
	key [KeyBytesMax + 1]byte
	who [identity.NameBytesMax + 16]byte
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard) (*Filter, []Problem) {
	var problems []Problem
	if (s.Keys == nil || s.Keys.Len() == 0) && s.File == nil {
		problems = append(problems, Problem{"keys", "there are no keys, so that nobody could be let in", "write keys: {NAME: {sha256: HEX}}, or file: keys.txt"})
	}
	told, err := identity.NewForward(s.Headers)
	if err != nil {
		problems = append(problems, Problem{"headers", err.Error(), "write headers: {X-Consumer: sub}"})
	}
	if problems != nil {
		return nil, problems
	}
	if len(s.Places) == 0 {
		s.Places = []Place{{InHeader, "x-api-key"}}
	}
	if s.Keys == nil {
		s.Keys = NewKeys()
	}
	// RFC 9110 15.5.2: a 401 says how to do better. There is no registered scheme for keys; this is the usual word.
	return &Filter{guard: guard, spec: s, told: told, fields: []gateway.Field{{Name: "WWW-Authenticate", Value: "ApiKey"}}}, nil
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "api_key", Request: f.Request} }

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	j, s := x.Judgement(f.guard), f.scratch.On(x)
	var key []byte
	n := 0
	for i := range f.spec.Places {
		if key, n = f.spec.Places[i].find(x.Request, s.key[:0]); n > 0 {
			break
		}
	}
	switch {
	case n == 0:
		j.Reason, j.Text = ReasonMissing, "The request has no API key."
	case n > 1:
		j.Reason, j.Text = ReasonAmbiguous, "The request has more than one API key."
	case len(key) > KeyBytesMax:
		j.Reason, j.Text = ReasonTooLong, "The API key is longer than any there is."
		j.Number("key_bytes_max", KeyBytesMax, "B")
	default:
		if id := f.consumer(key); id != nil {
			j.Key = append(append(s.who[:0], "consumer="...), id.Name()...)
			x.SetClaims(id)
			f.clean(x.Request, f.guard.Mode == gateway.Enforce && !f.spec.Forward)
			if f.guard.Mode == gateway.Enforce {
				f.told.Apply(x.Request, id.Claim)
			}
			return x.Judge(j)
		}
		j.Reason, j.Text = ReasonUnknown, "The API key is nobody's."
	}
	f.clean(x.Request, false) // what is no key here may be one elsewhere
	j.Outcome, j.Status, j.Fields = gateway.Refused, 401, f.fields
	j.Key = x.ClientAddr.AppendTo(append(s.who[:0], "client="...))
	return x.Judge(j)
}

// consumer returns whose key it is; nil if nobody's.
func (f *Filter) consumer(key []byte) *identity.Identity {
	sum := Sum(sha256.Sum256(key))
	id := f.spec.Keys.of[sum]
	if id == nil && f.spec.File != nil {
		id = f.spec.File.Load().of[sum]
	}
	return id
}

// clean takes the key off the request, everywhere it could have been, since a second copy is a secret too; and out of what the access
// log will show in any case.
func (f *Filter) clean(h *message.Head, off bool) {
	came := h.Query
	for i := range f.spec.Places {
		p := &f.spec.Places[i]
		if off {
			p.remove(h)
		}
		if p.In == InQuery && came.Len > 0 && hasParameter(h.Bytes(came), p.Name) {
			hideParameter(h, came, p.Name)
		}
	}
}

// String says what the filter does. It has no keys in it.
func (f *Filter) String() string {
	var b strings.Builder
	b.WriteString("API keys from ")
	for i, p := range f.spec.Places {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", inWords[p.In], p.Name)
	}
	fmt.Fprintf(&b, ": %d in the document", f.spec.Keys.Len())
	if f.spec.File != nil {
		fmt.Fprintf(&b, ", %d in %s", f.spec.File.Load().Len(), f.spec.Path)
	}
	if f.spec.Forward {
		b.WriteString("; passed on")
	} else {
		b.WriteString("; taken off the request")
	}
	return b.String()
}

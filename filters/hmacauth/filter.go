package hmacauth

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/identity"
)

// Spec is what a document says.
type Spec struct {
	Keys         *Keys // of the document; nil: none
	File         *atomic.Pointer[Keys]
	Path         string        // of the file, for people
	Components   []string      // what has to be signed; none: @method, @authority, @path, @query
	MaxAge       time.Duration // how old a signature may be; 0: 5 minutes
	Skew         time.Duration // how far into the future a clock may be; 0: 30 seconds
	ReplaysMax   int           // signatures that are remembered, so that none is used twice; 0: none is
	BodyBytesMax int64         // of a signed body, which is held; 0: 1 MiB
	UnsignedBody bool          // let bodies through that are not signed
	Headers      []identity.Field
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// The words of refusals.
const (
	ReasonMissing      = "signature_missing"
	ReasonMalformed    = "signature_malformed"
	ReasonIncomplete   = "signature_incomplete"
	ReasonExpired      = "signature_expired"
	ReasonEarly        = "signature_early"
	ReasonWrong        = "signature_wrong"
	ReasonReplayed     = "signature_replayed"
	ReasonFull         = "signature_memory_full"
	ReasonNoDigest     = "digest_malformed"
	ReasonWrongDigest  = "digest_wrong"
	ReasonBodyTooLarge = "signed_body_too_large"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonMissing, ReasonMalformed, ReasonIncomplete, ReasonExpired, ReasonEarly, ReasonWrong, ReasonReplayed, ReasonFull,
		ReasonNoDigest, ReasonWrongDigest, ReasonBodyTooLarge}
}

// Filter is a compiled Spec. It is frozen, but for the keys of a file and what is remembered, and shared by all loops.
type Filter struct {
	guard     *gateway.Guard
	spec      Spec
	told      identity.Forward
	challenge []gateway.Field
	memory    *memory // nil: signatures are not remembered
	loops     gateway.PerLoop[loopMemory]
}

// loopMemory is a loop's scratch.
type loopMemory struct {
	base []byte // what is signed, behind a block for HMAC
	who  [identity.NameBytesMax + 64]byte
	in   input
	free []*body
}

// memory is what outlives a configuration. A change of what it is made of makes another one, which has forgotten.
type memory struct {
	replays *replays
	period  time.Duration
}

// Start is for gateway.Remembered.
func (m *memory) Start() {}

// Close is for gateway.Remembered.
func (m *memory) Close() {}

// Tick is for gateway.Ticking.
func (m *memory) Tick(_ mono.Time, wall time.Time) { m.replays.turn(wall, m.period) }

// usual are the components that have to be signed, unless the settings say otherwise: whatever decides where a request goes.
var usual = []string{"@method", "@authority", "@path", "@query"}

const contentDigest = "content-digest"

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard, r *gateway.Recollection) (*Filter, []Problem) {
	var problems []Problem
	fail := func(field, cause, fix string) { problems = append(problems, Problem{field, cause, fix}) }
	if s.Keys == nil {
		s.Keys = NewKeys()
	}
	if s.Keys.Len() == 0 && s.File == nil {
		fail("keys", "there are no keys, so that nobody could be let in", "write file: secrets.txt, or keys: {NAME: {secret_env: VARIABLE}}")
	}
	if len(s.Components) == 0 {
		s.Components = usual
	}
	for i, c := range s.Components {
		at := fmt.Sprintf("components[%d]", i)
		switch {
		case strings.HasPrefix(c, "@") && !derived[c]:
			fail(at, fmt.Sprintf("%q is no component that is known here", c), "known: @method, @authority, @path, @query, and names of header fields")
		case strings.ToLower(c) != c || c == "" || strings.ContainsAny(c, "\"\\; "):
			fail(at, fmt.Sprintf("%q is not the name of a component", c), "write names of header fields in lower case")
		}
	}
	told, err := identity.NewForward(s.Headers)
	if err != nil {
		fail("headers", err.Error(), "write headers: {X-Consumer: sub}")
	}
	if problems != nil {
		return nil, problems
	}
	if s.MaxAge == 0 {
		s.MaxAge = 5 * time.Minute
	}
	if s.Skew == 0 {
		s.Skew = 30 * time.Second
	}
	if s.BodyBytesMax == 0 {
		s.BodyBytesMax = 1 << 20
	}
	f := &Filter{guard: guard, spec: s, told: told}
	// RFC 9110 15.5.2 wants a challenge; RFC 9421 5.1 says what has to be signed.
	accept := `sig1=("` + strings.Join(s.Components, `" "`) + `");created;keyid;alg="hmac-sha256"`
	f.challenge = []gateway.Field{{Name: "WWW-Authenticate", Value: "Signature"}, {Name: "Accept-Signature", Value: accept}}
	if s.ReplaysMax > 0 {
		period := s.MaxAge + s.Skew + time.Second // a date has no fractions of a second
		key := fmt.Sprintf("hmac_auth/%s/%d/%s", guard.Name, s.ReplaysMax, period)
		f.memory = gateway.Recall(r, key, func() *memory { return &memory{newReplays(s.ReplaysMax), period} })
	}
	return f, nil
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "hmac_auth", Request: f.Request} }

// Request is the hook: the signature first, and then, if there is one, the body.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	l := f.loops.On(x)
	id, reason := f.verify(x.Request, x.Method(), x.Wall(), l)
	if reason != "" {
		return f.refuse(x, reason)
	}
	x.SetClaims(id)
	if f.guard.Mode == gateway.Enforce {
		f.told.Apply(x.Request, id.Claim)
	}
	if !l.in.covers(contentDigest) {
		return f.pass(x)
	}
	field, _ := x.Request.Field([]byte(contentDigest))
	d, ok := parseDigest(field)
	switch {
	case !ok:
		return f.refuse(x, ReasonNoDigest)
	case x.Request.Length == 0 && d.ofNothing():
		return f.pass(x)
	case x.Request.Length == 0:
		return f.refuse(x, ReasonWrongDigest)
	case x.Request.Length > f.spec.BodyBytesMax:
		return f.refuse(x, ReasonBodyTooLarge)
	}
	b := f.newBody(x, l, d)
	if err := x.AddRequestStage(b); err != nil {
		return f.refuse(x, ReasonNoDigest) // of a stage before this one; ours returns none
	}
	switch {
	case b.shadow:
		return gateway.GoOn // its end is judged as it passes
	case b.settled != unsettled:
		return f.conclude(x, b)
	}
	b.wake, b.waiting = x.Suspend(), true
	x.WantBody()
	return gateway.Waiting
}

// conclude judges by what is known of the body.
func (f *Filter) conclude(x *gateway.Exchange, b *body) gateway.Verdict {
	switch b.settled {
	case right:
		return f.pass(x)
	case tooLarge:
		return f.refuse(x, ReasonBodyTooLarge)
	}
	return f.refuse(x, ReasonWrongDigest)
}

// verify judges the signature of a request: it returns who made it, or why it is no good.
func (f *Filter) verify(h *message.Head, method []byte, now time.Time, l *loopMemory) (id *identity.Identity, reason string) {
	inputs, okInput := only(h, "signature-input")
	signatures, okSignature := only(h, "signature")
	switch {
	case inputs == nil && signatures == nil:
		return nil, ReasonMissing
	case !okInput || !okSignature || len(inputs) > inputBytesMax || len(signatures) > inputBytesMax:
		return nil, ReasonMalformed
	}
	in := &l.in
	if !f.choose(in, inputs) {
		return nil, ReasonMalformed
	}
	for _, c := range f.spec.Components {
		if !in.covers(c) {
			return nil, ReasonIncomplete
		}
	}
	if h.Length != 0 && !f.spec.UnsignedBody && !in.covers(contentDigest) {
		return nil, ReasonIncomplete
	}
	at := now.Unix()
	switch {
	case in.created > at+int64(f.spec.Skew/time.Second):
		return nil, ReasonEarly
	case in.created < at-int64(f.spec.MaxAge/time.Second), in.hasExpires && in.expires < at:
		return nil, ReasonExpired
	}
	var mac [(macBytes + 2) / 3 * 3]byte
	n, ok := byteSequence(signatures, in.label, mac[:])
	if !ok || n < 0 {
		return nil, ReasonMalformed
	}
	if cap(l.base) == 0 {
		l.base = make([]byte, 0, 4<<10)
	}
	base, ok := appendBase(append(l.base[:0], nobody.inner[:]...), in, method, h)
	l.base = base
	if !ok {
		return nil, ReasonIncomplete
	}
	if id = f.signer(in.keyID, base, mac[:n]); id == nil {
		return nil, ReasonWrong
	}
	if f.memory != nil {
		switch f.memory.replays.take(binary.LittleEndian.Uint64(mac[:])) {
		case replayed:
			return nil, ReasonReplayed
		case full:
			return nil, ReasonFull
		}
	}
	return id, ""
}

// only returns the value of a field that may be there once.
func only(h *message.Head, name string) (value []byte, ok bool) {
	value, at := h.NextField(name, 0)
	if at < 0 {
		return nil, false
	}
	_, more := h.NextField(name, at)
	return value, more < 0
}

// choose reads the members of Signature-Input up to the first whose key is known, or the first at all, and whose algorithm is ours.
func (f *Filter) choose(in *input, inputs []byte) bool {
	p := parser{inputs}
	p.spaces()
	var first input
	for i := range signaturesMax {
		if !p.input(in) {
			return false
		}
		if !in.hasAlg || string(in.alg) == "hmac-sha256" {
			if f.known(in.keyID) {
				return true
			}
			if first.keyID == nil {
				first = *in
			}
		}
		more, ok := p.next()
		if !ok || more && i == signaturesMax-1 {
			return false
		}
		if !more {
			break
		}
	}
	*in = first
	return first.keyID != nil
}

func (f *Filter) known(keyID []byte) bool {
	return f.spec.Keys.of[string(keyID)] != nil || f.spec.File != nil && f.spec.File.Load().of[string(keyID)] != nil
}

func (f *Filter) signer(keyID, base, mac []byte) *identity.Identity {
	if f.spec.File != nil && f.spec.Keys.of[string(keyID)] == nil {
		return f.spec.File.Load().signs(keyID, base, mac)
	}
	return f.spec.Keys.signs(keyID, base, mac)
}

func (f *Filter) pass(x *gateway.Exchange) gateway.Verdict {
	j := x.Judgement(f.guard)
	sub, _ := x.Claim(identity.NameClaim)
	j.Key = append(append(f.loops.On(x).who[:0], "consumer="...), sub...)
	return x.Judge(j)
}

// texts are what people are told.
var texts = map[string]string{
	ReasonMissing:      "The request is not signed.",
	ReasonMalformed:    "The signature cannot be read, or is of a kind that is not known here.",
	ReasonIncomplete:   "The signature does not cover all that has to be signed.",
	ReasonExpired:      "The signature is too old.",
	ReasonEarly:        "The signature is from the future: the client's clock is ahead.",
	ReasonWrong:        "The signature is not right.",
	ReasonReplayed:     "The signature was used before.",
	ReasonFull:         "Too many signatures are remembered to tell whether this one is new.",
	ReasonNoDigest:     "The digest of the body cannot be read: sha-256 and sha-512 are known.",
	ReasonWrongDigest:  "The body is not the one that was signed.",
	ReasonBodyTooLarge: "The body is larger than a signed one may be.",
}

func (f *Filter) refuse(x *gateway.Exchange, reason string) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 401, reason, texts[reason]
	switch reason {
	case ReasonFull:
		j.Status = 503
	case ReasonBodyTooLarge:
		j.Status = 413
		j.Number("body_bytes_max", float64(f.spec.BodyBytesMax), "B")
	case ReasonNoDigest, ReasonWrongDigest:
		j.Status = 400
	case ReasonExpired, ReasonEarly:
		j.Number("age", float64(x.Wall().Unix()-f.loops.On(x).in.created), "s")
		j.Number("max_age", f.spec.MaxAge.Seconds(), "s")
	}
	if j.Status == 401 {
		j.Fields = f.challenge
	}
	j.Key = x.ClientAddr.AppendTo(append(f.loops.On(x).who[:0], "client="...))
	return x.Judge(j)
}

// String says what the filter does. It has no secrets in it.
func (f *Filter) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "signed requests, of %d keys in the document", f.spec.Keys.Len())
	if f.spec.File != nil {
		fmt.Fprintf(&b, " and %d in %s", f.spec.File.Load().Len(), f.spec.Path)
	}
	fmt.Fprintf(&b, ": %s, at most %s old", strings.Join(f.spec.Components, " "), f.spec.MaxAge)
	if f.memory == nil {
		b.WriteString(", also twice")
	}
	return b.String()
}

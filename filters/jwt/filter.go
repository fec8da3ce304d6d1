package jwt

import (
	"bytes"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

const (
	// busyMax is how many verifications one loop has under way at most: half of what may wait, so that a flood on one loop
	// leaves room for the others.
	busyMax = verifyingMax / 2
	// shadowMax is how many signatures by public keys a loop checks in a second for filters in shadow mode. They are checked
	// on the loop, since such a filter must not make a request wait: 100 of some 70 us are 0.7 % of its time.
	shadowMax = 100
	// retryAfter is what clients are told where the keys or the time were missing.
	retryAfter = time.Second
)

// Filter is a compiled Spec. It is frozen, but for what it remembers, and shared by all loops.
type Filter struct {
	guard    *gateway.Guard
	rules    rules
	places   []Place
	optional bool
	pass     bool // the token goes on to the upstream
	forward  identity.Forward
	answers  map[*refusal][]gateway.Field
	text     string

	// Remembered.
	keys      *Keys
	fetcher   *Fetcher // nil: the keys are written in the settings
	caches    *caches
	verifiers *verifiers
}

// caches is what each loop knows of tokens.
type caches struct {
	entries       int
	tokenBytesMax int
	loops         gateway.PerLoop[cache]
}

// Start is for gateway.Remembered.
func (c *caches) Start() {}

// Close is for gateway.Remembered.
func (c *caches) Close() {}

func (c *caches) on(x *gateway.Exchange) *cache {
	at := c.loops.On(x)
	if at.mac == nil {
		at.init(c.entries, c.tokenBytesMax)
	}
	return at
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "jwt", Request: f.Request} }

// String says what the filter does.
func (f *Filter) String() string { return f.text }

// State returns how it stands with the keys; false if they are written in the settings.
func (f *Filter) State() (State, bool) {
	if f.fetcher == nil {
		return State{}, false
	}
	return f.fetcher.State(), true
}

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	if f.guard.Mode == gateway.Shadow {
		return f.judge(x, 0)
	}
	return f.judge(x, 2)
}

// onceMore judges a request that has waited for a fetch that somebody else had caused, maybe too early for its key. It may
// wait for another.
func (f *Filter) onceMore(x *gateway.Exchange) gateway.Verdict { return f.judge(x, 1) }

// again judges a request that has waited for a fetch that began after it came. It waits no longer.
func (f *Filter) again(x *gateway.Exchange) gateway.Verdict {
	text, _ := find(x.Request, f.places)
	if set := f.keys.current(x.Now()); set != nil && text != nil && f.fetcher.State().Failures == 0 {
		if t, refused := f.caches.on(x).desk.read(text, x.Wall().Unix(), &f.rules); refused == nil {
			if _, known := set.find(t.kid, t.hasKid, t.method); !known {
				f.fetcher.stranger(t.kid, x.Now())
			}
		}
	}
	return f.judge(x, 0)
}

// judge tells what becomes of a request, which may wait for keys that often.
func (f *Filter) judge(x *gateway.Exchange, waits int) gateway.Verdict {
	text, refused := find(x.Request, f.places)
	switch {
	case refused != nil:
		return f.refuse(x, refused, nil)
	case text == nil && f.optional:
		return f.anonymous(x)
	case text == nil:
		return f.refuse(x, missing, nil)
	}
	c := f.caches.on(x)
	now := c.now(x)
	if len(text) > f.rules.tokenBytesMax {
		return f.refuse(x, tooLarge, nil, amount{"token", int64(len(text)), "B"}, amount{"limit", int64(f.rules.tokenBytesMax), "B"}) // before it is read even once
	}
	set := f.keys.current(x.Now())
	if set != nil {
		i, refused := c.lookup(text, set, now)
		switch {
		case i != nil:
			return f.admit(x, c, i, now)
		case refused != nil:
			return f.refuse(x, refused, nil)
		}
	}
	t, refused := c.desk.read(text, now, &f.rules)
	switch {
	case refused != nil:
		switch { // by the clock: such a token may be good in a second, and how long it has been bad is told each time
		case refused == expired:
			return f.refuse(x, refused, nil, amount{"expired_for", now - (t.until - f.rules.skew), "s"}, amount{"clock_skew", f.rules.skew, "s"})
		case refused == notYet:
			return f.refuse(x, refused, nil, amount{"valid_in", t.from + f.rules.skew - now, "s"}, amount{"clock_skew", f.rules.skew, "s"})
		case refused == issuer, refused == audience: // what the token names is told each time, and reading it is cheap
		case set != nil:
			c.knowBad(text, set, refused, now)
		}
		return f.refuse(x, refused, nil)
	case set == nil:
		return f.ask(x, set, nil, noKeys, waits)
	}
	from, known := set.find(t.kid, t.hasKid, t.method)
	switch {
	case !known:
		return f.ask(x, set, t.kid, unknownKey, waits)
	case from.n == 0 && !t.hasKid, from.more:
		return f.refuse(x, unknownKey, nil)
	case from.n == 0: // the key it names is of another kind, or for another algorithm
		c.knowBad(text, set, algorithm, now)
		return f.refuse(x, algorithm, nil)
	case t.method.family == secret:
		return f.conclude(x, c, text, set, &t, from.verify(t.method, t.signed, t.signature))
	case f.guard.Mode == gateway.Shadow:
		if !c.mayShadow(now) {
			j := x.Judgement(f.guard)
			j.Outcome, j.Reason, j.Text = gateway.Degraded, unverified, "too many tokens to verify them all in shadow mode"
			return x.Judge(j)
		}
		return f.conclude(x, c, text, set, &t, from.verify(t.method, t.signed, t.signature))
	}
	return f.verify(x, c, set, &t, text, from)
}

// verify returns the key by which the signature is right, nil if there is none.
func (c *candidates) verify(m *method, signed, signature []byte) *Key {
	for _, k := range c.list[:c.n] {
		if m.verify(k, signed, signature) {
			return k
		}
	}
	return nil
}

// verify has the signature checked elsewhere: by a public key that takes 30 us to 1 ms, in which the loop serves others.
func (f *Filter) verify(x *gateway.Exchange, c *cache, set *KeySet, t *token, text []byte, from candidates) gateway.Verdict {
	if c.busy.Load() >= busyMax {
		return f.refuse(x, busy, nil)
	}
	// The request may end meanwhile and its memory go to another: what is worked on is a copy.
	text = bytes.Clone(text)
	signed, method, signature := text[:len(t.signed)], t.method, bytes.Clone(t.signature)
	c.busy.Add(1)
	wake := x.Suspend()
	work := func() {
		k := from.verify(method, signed, signature)
		c.busy.Add(-1)
		wake.Post(func(x *gateway.Exchange) gateway.Verdict {
			// The desk has read others since; it may have expired since, too.
			t, refused := c.desk.read(text, x.Wall().Unix(), &f.rules)
			if refused != nil {
				return f.refuse(x, refused, nil)
			}
			return f.conclude(x, c, text, set, &t, k)
		})
	}
	if !f.verifiers.take(work) {
		c.busy.Add(-1)
		wake.Soon(func(x *gateway.Exchange) gateway.Verdict { return f.refuse(x, busy, nil) })
	}
	return gateway.Waiting
}

// conclude notes what came of the verification, by k or by none, of the token on the desk.
func (f *Filter) conclude(x *gateway.Exchange, c *cache, text []byte, set *KeySet, t *token, k *Key) gateway.Verdict {
	now := x.Wall().Unix()
	if k == nil {
		c.knowBad(text, set, signature, now)
		return f.refuse(x, signature, nil)
	}
	i := newPerson(&c.desk, t, k, &f.rules)
	c.know(text, set, i, now)
	return f.admit(x, c, i, now)
}

// ask has a request wait for keys if that can help, and refuses it otherwise.
func (f *Filter) ask(x *gateway.Exchange, set *KeySet, kid []byte, refused *refusal, waits int) gateway.Verdict {
	if f.fetcher == nil {
		return f.refuse(x, refused, nil)
	}
	if refused == unknownKey && f.fetcher.failing.Load() {
		refused = noKeys // the key may be a new one: nobody can tell
	}
	may := f.fetcher.mayAsk(kid, x.Now())
	switch {
	case f.keys.current(x.Now()) != set:
		// A fetch has ended since this one looked: what it brought goes before what it allows.
		return f.judge(x, waits)
	case may == denied:
		return f.refuse(x, refused, nil)
	case waits == 0:
		if may == causing {
			f.fetcher.wakeUp() // for those who come later
		}
		return f.refuse(x, refused, nil)
	}
	then := f.again
	if may == joining && waits > 1 {
		then = f.onceMore
	}
	wake := x.Suspend()
	f.fetcher.wait(func() { wake.Post(then) })
	return gateway.Waiting
}

// anonymous lets a request without a token go on. What it says of itself in the fields that claims go to goes all the same.
func (f *Filter) anonymous(x *gateway.Exchange) gateway.Verdict {
	if f.guard.Mode != gateway.Shadow {
		f.forward.Apply(x.Request, noClaims)
	}
	return x.Judge(x.Judgement(f.guard))
}

func noClaims(string) ([]byte, bool) { return nil, false }

// admit lets a request go on as somebody's, if what his token says suffices. In shadow mode the request is left as it is; who
// asks is made known to guards behind this one all the same, so that they can be tried as well.
func (f *Filter) admit(x *gateway.Exchange, c *cache, i *person, now int64) gateway.Verdict {
	if i.refused != nil {
		return f.refuse(x, i.refused, i.shown)
	}
	x.SetClaims(i.claims)
	if f.guard.Mode != gateway.Shadow {
		if !f.pass {
			c.desk.decoded = strip(x.Request, f.places, c.desk.decoded)
		}
		i.tell(x.Request, &f.forward)
	}
	j := x.Judgement(f.guard)
	j.Key = i.shown
	if i.until != foreverSeconds {
		j.Number("expires_in", float64(i.until-f.rules.skew-now), "s")
	}
	return x.Judge(j)
}

// amount is a number of a refusal's record.
type amount struct {
	name  string
	value int64
	unit  string
}

func (f *Filter) refuse(x *gateway.Exchange, r *refusal, shown []byte, numbers ...amount) gateway.Verdict {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text, j.Key = gateway.Refused, r.status, r.reason, r.text, shown
	j.Fields = f.answers[r]
	if r.status == 503 {
		j.RetryAfter = retryAfter
	}
	for _, n := range numbers {
		j.Number(n.name, float64(n.value), n.unit)
	}
	switch r { // found by reading, and never by the cache: the token is on the desk
	case issuer:
		tellClaim(j, &f.caches.on(x).desk, "iss", f.rules.issuers)
	case audience:
		tellClaim(j, &f.caches.on(x).desk, "aud", f.rules.audiences)
	}
	return x.Judge(j)
}

// mayShadow tells whether one more signature may be checked on the loop in this second.
func (c *cache) mayShadow(now int64) bool {
	if c.second != now {
		c.second, c.spent = now, 0
	}
	c.spent++
	return c.spent <= shadowMax
}

// challenges are the fields of the answers, made once (RFC 6750 section 3). Whoever brought no token is told no error.
func challenges(realm string, scopes []string) map[*refusal][]gateway.Field {
	answers := make(map[*refusal][]gateway.Field, len(refusals))
	for _, r := range refusals {
		if r.status == 503 {
			continue
		}
		var params []string
		if realm != "" {
			params = append(params, `realm="`+realm+`"`)
		}
		if r.code != "" {
			params = append(params, `error="`+r.code+`"`, `error_description="`+r.text+`"`)
		}
		if r == scope {
			params = append(params, `scope="`+strings.Join(scopes, " ")+`"`)
		}
		value := "Bearer"
		if len(params) > 0 {
			value += " " + strings.Join(params, ", ")
		}
		answers[r] = []gateway.Field{{Name: "WWW-Authenticate", Value: value}}
	}
	return answers
}

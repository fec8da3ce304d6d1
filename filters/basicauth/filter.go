package basicauth

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
	Users   *atomic.Pointer[Users]
	Path    string        // of their file, for people
	Realm   string        // empty: "restricted"
	Cache   time.Duration // how long verified credentials are remembered; 0: not at all
	Forward bool          // leave the credentials on the request
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
	ReasonMissing   = "credentials_missing"
	ReasonMalformed = "credentials_malformed"
	ReasonWrong     = "credentials_wrong"
	ReasonPause     = "credentials_pause"
	ReasonBusy      = "credentials_busy"
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonMissing, ReasonMalformed, ReasonWrong, ReasonPause, ReasonBusy}
}

// Filter is a compiled Spec. It is frozen, but for the users and what is remembered, and shared by all loops.
type Filter struct {
	guard     *gateway.Guard
	spec      Spec
	told      identity.Forward
	challenge []gateway.Field
	memory    *memory
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard, r *gateway.Recollection) (*Filter, []Problem) {
	var problems []Problem
	if s.Realm == "" {
		s.Realm = "restricted"
	}
	if strings.ContainsAny(s.Realm, "\"\\") || !identity.FieldValue([]byte(s.Realm)) {
		problems = append(problems, Problem{"realm", "a realm has visible ASCII characters, without quotes and backslashes", "write a plain word"})
	}
	told, err := identity.NewForward(s.Headers)
	if err != nil {
		problems = append(problems, Problem{"headers", err.Error(), "write headers: {X-User: sub}"})
	}
	if problems != nil {
		return nil, problems
	}
	return &Filter{guard: guard, spec: s, told: told,
		// RFC 7617 2.1: the charset says how browsers are to encode names and passwords.
		challenge: []gateway.Field{{Name: "WWW-Authenticate", Value: `Basic realm="` + s.Realm + `", charset="UTF-8"`}},
		memory:    gateway.Recall(r, "basic_auth/"+guard.Name, newMemory),
	}, nil
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "basic_auth", Request: f.Request} }

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	l := f.memory.loops.On(x)
	c, is := read(x.Request, &l.decoded)
	switch is {
	case missing:
		return f.refuse(x, 401, ReasonMissing, "A name and a password are asked for.")
	case malformed:
		return f.refuse(x, 401, ReasonMalformed, "The Authorization field cannot be read.")
	}
	users, now := f.spec.Users.Load(), x.Now()
	s := f.memory.sumOf(l, c)
	if v, ok := f.memory.recall(l, s, users, now); ok {
		return f.conclude(x, v.id)
	}
	if f.guard.Mode == gateway.Shadow {
		f.computeAside(x, users, s, c)
		return gateway.GoOn // nobody waits for a guard that only looks; the next request is judged
	}
	if wait := l.pause(x.ClientAddr, now); wait > 0 {
		j := f.refusal(x, 429, ReasonPause, "There were too many wrong passwords from this client.")
		j.Fields, j.RetryAfter = nil, wait
		j.Number("pause", wait.Seconds(), "s")
		return x.Judge(j)
	}
	return f.compute(x, users, s, c)
}

// compute has the hash computed elsewhere while the exchange waits, or lets it wait for one that is being computed.
func (f *Filter) compute(x *gateway.Exchange, users *Users, s sum, c credentials) gateway.Verdict {
	m := f.memory
	m.shared.Lock()
	fl := m.shared.flights[s]
	if fl != nil {
		if len(fl.waiters) >= waitersMax {
			m.shared.Unlock()
			return f.refuse(x, 503, ReasonBusy, "Too much waits for passwords to be verified.")
		}
		fl.waiters = append(fl.waiters, x.Suspend())
		m.shared.Unlock()
		return gateway.Waiting
	}
	fl = &flight{}
	m.shared.flights[s] = fl
	m.shared.Unlock()

	name, password := string(c.name), append([]byte(nil), c.password...)
	now := x.Now()
	v := x.Offload(func() {
		fl.id = users.Verify(name, password, decoy(s))
		f.remember(s, users, fl.id, now)
		f.land(s, fl)
	}, func(x *gateway.Exchange) gateway.Verdict { return f.landed(x, fl) })
	if v == gateway.Answered { // too much waits: the exchange was told so
		fl.busy = true
		f.land(s, fl)
	}
	return v
}

// decoy is chosen by the credentials' own sum, which nobody outside can know.
func decoy(s sum) uint64 { return binary.LittleEndian.Uint64(s[:]) }

// remember keeps a verdict. Without a cache a right one is not kept, and a wrong one is.
func (f *Filter) remember(s sum, users *Users, id *identity.Identity, now mono.Time) {
	keep := wrongFor
	if id != nil && (f.guard.Mode == gateway.Enforce || f.spec.Cache > keep) { // what is not enforced is judged from memory alone
		keep = f.spec.Cache
	}
	if keep > 0 {
		f.memory.keep(s, verdict{users, id, now.Add(keep)})
	}
}

// land ends a flight and wakes who waits for it.
func (f *Filter) land(s sum, fl *flight) {
	m := f.memory
	m.shared.Lock()
	delete(m.shared.flights, s)
	waiters := fl.waiters
	fl.waiters = nil
	m.shared.Unlock()
	for _, w := range waiters {
		w.Post(func(x *gateway.Exchange) gateway.Verdict { return f.landed(x, fl) })
	}
}

// landed goes on with an exchange whose credentials were computed.
func (f *Filter) landed(x *gateway.Exchange, fl *flight) gateway.Verdict {
	if fl.busy {
		return f.refuse(x, 503, ReasonBusy, "Too much waits for passwords to be verified.")
	}
	l := f.memory.loops.On(x)
	if fl.id == nil {
		l.failed(x.ClientAddr, x.Now())
	} else {
		l.succeeded(x.ClientAddr)
	}
	return f.conclude(x, fl.id)
}

// computeAside computes for a request that goes on meanwhile, if nothing else is computed so.
func (f *Filter) computeAside(x *gateway.Exchange, users *Users, s sum, c credentials) {
	m := f.memory
	m.aside.Lock()
	defer m.aside.Unlock()
	if m.aside.busy {
		return
	}
	m.aside.busy = true
	name, password, now := string(c.name), append([]byte(nil), c.password...), x.Now()
	m.aside.done.Go(func() {
		f.remember(s, users, users.Verify(name, password, decoy(s)), now)
		m.aside.Lock()
		m.aside.busy = false
		m.aside.Unlock()
	})
}

// conclude judges by who it is; nil: nobody.
func (f *Filter) conclude(x *gateway.Exchange, id *identity.Identity) gateway.Verdict {
	if id == nil {
		return f.refuse(x, 401, ReasonWrong, "The name or the password is wrong.")
	}
	j := x.Judgement(f.guard)
	j.Key = append(append(f.memory.loops.On(x).who[:0], "user="...), id.Name()...)
	x.SetClaims(id)
	if f.guard.Mode == gateway.Enforce {
		if !f.spec.Forward {
			x.Request.Remove(message.Authorization)
		}
		f.told.Apply(x.Request, id.Claim)
	}
	return x.Judge(j)
}

func (f *Filter) refuse(x *gateway.Exchange, status int, reason, text string) gateway.Verdict {
	return x.Judge(f.refusal(x, status, reason, text))
}

func (f *Filter) refusal(x *gateway.Exchange, status int, reason, text string) *gateway.Judgement {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, status, reason, text
	if status == 401 {
		j.Fields = f.challenge
	}
	j.Key = x.ClientAddr.AppendTo(append(f.memory.loops.On(x).who[:0], "client="...))
	return j
}

// String says what the filter does.
func (f *Filter) String() string {
	cache := "not remembered"
	if f.spec.Cache > 0 {
		cache = fmt.Sprintf("remembered for %s", f.spec.Cache)
	}
	return fmt.Sprintf("name and password, of %d users in %s, %s", f.spec.Users.Load().Len(), f.spec.Path, cache)
}

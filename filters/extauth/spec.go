package extauth

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
	"github.com/yumen-io/yumen/policy/retry"
)

// Spec is what a document says.
type Spec struct {
	Cluster gateway.ClusterRef
	GRPC    bool // envoy.service.auth.v3.Authorization/Check, in place of HTTP

	// Of HTTP.
	Path      string // of the question; empty: /
	Method    string // of the question; empty: GET
	Redirects bool   // to another page, a login, are given to the client

	Host    string   // empty: the request's
	Headers []string // of the request that the service is told; nil: Authorization and Cookie
	// ToUpstream are fields of the service's answer that the upstream is told. What the client says in them is dropped.
	ToUpstream []string
	// ToClient are fields of the service's answer, when it lets the request pass, that the client is told.
	ToClient []string
	Claims   []Claim
	// RefusalHeaders are fields of a refusal that the client is told; nil: WWW-Authenticate, and Location and Set-Cookie with
	// Redirects.
	RefusalHeaders []string
	// RefusalBodyMax is how much of a body a refusal may have that the client is given; 0: the gateway's own words instead.
	RefusalBodyMax int

	Timeout time.Duration // 0: TimeoutDefault
	Open    bool          // requests pass while the service cannot be asked
	Cache   *Cache        // nil: each request is asked for
}

// Claim is a field of the service's answer that becomes a claim.
type Claim struct{ Name, Field string }

// Cache says how long verdicts are good.
type Cache struct {
	For time.Duration
	// Key is what a verdict depends on; none: on all that the service is told. A request that lacks a part of it, or has a field of
	// it twice, is asked for.
	Key gateway.KeyParts
	// EntriesMax bounds the verdicts that each loop keeps; 0 means EntriesDefault.
	EntriesMax int
}

const (
	// TimeoutDefault is long for a service that every request waits for.
	TimeoutDefault = time.Second
	// RefusalBodyMaxMax is more than a page that says why needs: each refusal under way holds so much.
	RefusalBodyMaxMax = 64 << 10
	// EntriesDefault is 2 to 20 MB for each loop: see entryBytesMax.
	EntriesDefault = 10_000
	// EntriesMaxMax is ten times as much as anybody has asked for yet.
	EntriesMaxMax = 1_000_000
	// fieldsMax bounds each list of fields: all are looked for in every head.
	fieldsMax = 32
)

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// The words of what becomes of requests.
const (
	ReasonDenied      = "auth_denied"      // the service said no
	ReasonRedirected  = "auth_redirected"  // the service sends the client elsewhere
	ReasonUnreachable = "auth_unreachable" // it could not be asked, or did not answer in time
	ReasonBadAnswer   = "auth_bad_answer"  // what it answered is neither yes nor no
	ReasonNotAsked    = "auth_not_asked"   // shadow mode only: too much is being asked
)

// Reasons are the words that the filter answers with.
func Reasons() []string {
	return []string{ReasonBadAnswer, ReasonDenied, ReasonNotAsked, ReasonRedirected, ReasonUnreachable}
}

// usual are the fields that services decide by.
var usual = []string{"authorization", "cookie"}

// always are told to every service, beside those that Spec.Headers lists: they tie its log and its traces to ours.
var always = []string{"x-request-id", "traceparent", "tracestate"}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard, r *gateway.Recollection) (*Filter, []Problem) {
	fill(&s)
	f := &Filter{guard: guard, spec: s}
	problems := f.check()
	var told []identity.Field
	for _, name := range s.ToUpstream {
		told = append(told, identity.Field{Name: name, Claim: strings.ToLower(name)})
	}
	forward, err := identity.NewForward(told)
	if err != nil {
		problems = append(problems, Problem{"to_upstream", err.Error(), "write the names of fields"})
	}
	if problems != nil {
		return nil, problems
	}
	f.forward = forward
	f.sends = append(lower(s.Headers), always...)
	f.takes = takes(&s)
	f.goOn = f.answered
	// A hang is the endpoint's failure, and what is left of the time is for saying so.
	f.retry = retry.New(retry.Config{Attempts: 2, PerTry: s.Timeout - s.Timeout/10, On: retry.OnConnectFailure | retry.OnRefused | retry.OnReset})
	f.memory = gateway.Recall(r, "ext_auth/"+guard.Name+"/"+fingerprint(&s), func() *memory { return new(memory) })
	guard.Tell = f.memory.tell
	return f, nil
}

// fill puts the defaults in.
func fill(s *Spec) {
	if s.Path == "" {
		s.Path = "/"
	}
	if s.Method == "" {
		s.Method = "GET"
	}
	if s.Headers == nil {
		s.Headers = usual
	}
	if s.RefusalHeaders == nil {
		s.RefusalHeaders = []string{"www-authenticate"}
		if s.Redirects {
			s.RefusalHeaders = append(s.RefusalHeaders, "location", "set-cookie")
		}
	}
	if s.Timeout == 0 {
		s.Timeout = TimeoutDefault
	}
	if s.Cache != nil && s.Cache.EntriesMax == 0 {
		c := *s.Cache
		c.EntriesMax = EntriesDefault
		s.Cache = &c
	}
}

func (f *Filter) check() []Problem {
	s := &f.spec
	var problems []Problem
	if s.Path[0] != '/' {
		problems = append(problems, Problem{"path", fmt.Sprintf("the path %q does not begin with a slash", s.Path), "write path: /" + s.Path})
	}
	if s.Timeout < time.Millisecond {
		problems = append(problems, Problem{"timeout", "nobody answers in " + s.Timeout.String(), "write timeout: 1s"})
	}
	if s.RefusalBodyMax < 0 || s.RefusalBodyMax > RefusalBodyMaxMax {
		problems = append(problems, Problem{"refusal_body_max", fmt.Sprintf("%d bytes are not between 0 and %d", s.RefusalBodyMax, RefusalBodyMaxMax), ""})
	}
	for _, list := range []struct {
		field string
		names []string
	}{{"headers", s.Headers}, {"to_upstream", s.ToUpstream}, {"to_client", s.ToClient}, {"refusal_headers", s.RefusalHeaders}} {
		if len(list.names) > fieldsMax {
			problems = append(problems, Problem{list.field, fmt.Sprintf("%d fields are more than %d", len(list.names), fieldsMax), "list fewer"})
		}
		for _, name := range list.names {
			if !mayTell(name) {
				problems = append(problems, Problem{list.field, fmt.Sprintf("the field %q is the gateway's own", name), "remove it"})
			}
		}
	}
	for i, c := range s.Claims {
		if slices.ContainsFunc(s.Claims[:i], func(o Claim) bool { return o.Name == c.Name }) {
			problems = append(problems, Problem{"claims", fmt.Sprintf("the claim %q is there twice", c.Name), "remove one"})
		}
	}
	if c := s.Cache; c != nil && (c.For <= 0 || c.EntriesMax < 1 || c.EntriesMax > EntriesMaxMax) {
		problems = append(problems, Problem{"cache", "a cache keeps 1 to 1000000 verdicts, for some time", "write cache: 10s"})
	}
	return problems
}

// mayTell tells whether a field may be taken from one message into another: those that belong to a connection or to a body may not,
// nor those by which the gateway says for itself where a request comes from.
func mayTell(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "content-encoding",
		"host", "expect", "date", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-method", "x-forwarded-uri",
		"x-yumen-reason":
		return false
	}
	return name != "" && name[0] != ':'
}

func lower(names []string) []string {
	var list []string
	for _, n := range names {
		list = append(list, strings.ToLower(n))
	}
	return list
}

// takes are the fields that are read off the answer for upstream and claims, each once, in lower case.
func takes(s *Spec) []string {
	list := lower(s.ToUpstream)
	for _, c := range s.Claims {
		list = append(list, strings.ToLower(c.Field))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// fingerprint differs where verdicts may: those that are kept are good for settings that ask the same of the same, and take the same
// out of the answer.
func fingerprint(s *Spec) string {
	t := *s
	t.Timeout, t.Open, t.Cluster.Index = 0, false, 0
	t.Cache = nil
	text := fmt.Sprintf("%+v", t)
	if s.Cache != nil {
		text += fmt.Sprintf("%+v", *s.Cache)
	}
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%x", sum[:8])
}

// String says what the filter does.
func (f *Filter) String() string {
	s := &f.spec
	how := "GET " + s.Path
	if s.Method != "GET" {
		how = s.Method + " " + s.Path
	}
	if s.GRPC {
		how = "gRPC Check"
	}
	text := fmt.Sprintf("asks cluster %s by %s, for %s at most", s.Cluster.Name, how, s.Timeout)
	if s.Cache != nil {
		text += fmt.Sprintf(", verdicts are good for %s", s.Cache.For)
	}
	if s.Open {
		return text + "; when it cannot be asked, requests pass"
	}
	return text + "; when it cannot be asked, 503"
}

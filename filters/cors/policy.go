package cors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

// Spec is what a document says.
type Spec struct {
	Origins        []Origin
	Methods        []string // none: GET, HEAD and POST; "*": any
	Headers        []string // none: Content-Type; "*": any
	Expose         []string // "*": all
	Credentials    bool
	MaxAge         time.Duration // 0: none is said
	PrivateNetwork bool
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// Policy is a compiled Spec. It is frozen, and shared by all loops.
type Policy struct {
	origins     []matcher
	anyOrigin   bool
	methods     []string
	anyMethod   bool
	headers     []string // in lower case
	anyHeader   bool
	credentials bool
	private     bool

	allowMethods, allowHeaders, expose, maxAge string // values of fields; empty: none
}

// safelisted are fields that every page may send (https://fetch.spec.whatwg.org/#cors-safelisted-request-header), which browsers
// name in a preflight when their values are unusual.
var safelisted = []string{"accept", "accept-language", "content-language", "range"}

// Compile makes a policy of s, or says everything that is wrong with it.
func Compile(s Spec) (*Policy, []Problem) {
	p := &Policy{credentials: s.Credentials, private: s.PrivateNetwork}
	var problems []Problem
	fail := func(field, cause, fix string) { problems = append(problems, Problem{field, cause, fix}) }
	if len(s.Origins) == 0 {
		fail("origins", "there are no origins", "write origins: https://example.com")
	}
	for i, o := range s.Origins {
		m, isAny, cause, fix := compile(o)
		switch {
		case cause != "":
			fail(fmt.Sprintf("origins[%d]", i), cause, fix)
		case isAny:
			p.anyOrigin = true
		default:
			p.origins = append(p.origins, m)
		}
	}
	if p.anyOrigin && s.Credentials {
		fail("origins", `any origin ("*") with credentials would let every page act for its visitor`, "name the origins, or remove credentials")
	}
	if slices.Contains(s.Expose, "*") && s.Credentials {
		fail("expose", `with credentials "*" is the name of a field, and exposes nothing else`, "name the fields")
	}
	if len(s.Methods) == 0 {
		s.Methods = []string{"GET", "HEAD", "POST"}
	}
	if len(s.Headers) == 0 {
		s.Headers = []string{"Content-Type"}
	}
	p.anyMethod, p.anyHeader = slices.Contains(s.Methods, "*"), slices.Contains(s.Headers, "*")
	p.methods = s.Methods
	for _, h := range s.Headers {
		p.headers = append(p.headers, strings.ToLower(h))
	}
	if problems != nil {
		return nil, problems
	}
	if !p.anyMethod {
		p.allowMethods = strings.Join(s.Methods, ", ")
	}
	if !p.anyHeader {
		p.allowHeaders = strings.Join(s.Headers, ", ")
	}
	p.expose = strings.Join(s.Expose, ", ")
	if s.MaxAge > 0 {
		p.maxAge = strconv.Itoa(int(s.MaxAge / time.Second))
	}
	return p, nil
}

// Allows tells whether pages of an origin may use the route.
func (p *Policy) Allows(origin []byte) bool {
	if p.anyOrigin {
		return true
	}
	for i := range p.origins {
		if p.origins[i].match(origin) {
			return true
		}
	}
	return false
}

// varies tells whether answers differ by origin, so that a cache must keep them apart.
func (p *Policy) varies() bool { return !p.anyOrigin }

// AllowsMethod tells whether a page may use a method. GET, HEAD and POST need no leave (Fetch, CORS-safelisted method).
func (p *Policy) AllowsMethod(method []byte) bool {
	if p.anyMethod {
		return true
	}
	switch string(method) {
	case "GET", "HEAD", "POST":
		return true
	}
	for _, m := range p.methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// DeniedHeader returns the first of the fields in Access-Control-Request-Headers that a page may not send; nil if there is none.
func (p *Policy) DeniedHeader(list []byte) []byte {
	if p.anyHeader {
		return nil
	}
	for len(list) > 0 {
		var name []byte
		name, list = cut(list)
		if len(name) > 0 && !listed(name, p.headers) && !listed(name, safelisted) {
			return name
		}
	}
	return nil
}

func cut(list []byte) (first, rest []byte) {
	first = list
	for i, c := range list {
		if c == ',' {
			first, rest = list[:i], list[i+1:]
			break
		}
	}
	for len(first) > 0 && (first[0] == ' ' || first[0] == '\t') {
		first = first[1:]
	}
	for len(first) > 0 && (first[len(first)-1] == ' ' || first[len(first)-1] == '\t') {
		first = first[:len(first)-1]
	}
	return first, rest
}

func listed(name []byte, list []string) bool {
	for _, l := range list {
		if len(l) != len(name) {
			continue
		}
		same := true
		for i, c := range name {
			same = same && message.Lower(c) == l[i]
		}
		if same {
			return true
		}
	}
	return false
}

// String says what the policy is.
func (p *Policy) String() string {
	var b strings.Builder
	b.WriteString("pages of ")
	switch {
	case p.anyOrigin:
		b.WriteString("any origin")
	case len(p.origins) == 1:
		b.WriteString("1 origin")
	default:
		fmt.Fprintf(&b, "%d origins", len(p.origins))
	}
	if p.anyMethod {
		b.WriteString(" may use any method")
	} else {
		fmt.Fprintf(&b, " may use %s", p.allowMethods)
	}
	if p.credentials {
		b.WriteString(", with credentials")
	}
	return b.String()
}

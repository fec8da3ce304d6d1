package cors

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

func policy(t testing.TB, s Spec) *Policy {
	t.Helper()
	p, problems := Compile(s)
	if p == nil {
		t.Fatal(problems)
	}
	return p
}

func TestOrigins(t *testing.T) {
	exact := Origin{Text: "https://a.test"}
	port := Origin{Text: "http://localhost:3000"}
	below := Origin{Text: "https://*.example.com"}
	belowPort := Origin{Text: "https://*.example.com:8443"}
	regex := Origin{Text: `https://(a|b)\.test`, Regex: true}
	for _, c := range []struct {
		of     Origin
		origin string
		want   bool
	}{
		{exact, "https://a.test", true}, {exact, "http://a.test", false}, {exact, "https://a.test.evil.test", false}, {exact, "https://a.test:443", false},
		{exact, "https://A.test", false}, {exact, "null", false}, {exact, "", false}, {exact, "https://a.tes", false},
		{port, "http://localhost:3000", true}, {port, "http://localhost:3001", false},
		{below, "https://a.example.com", true}, {below, "https://a.b.example.com", true}, {below, "https://example.com", false},
		{below, "https://evilexample.com", false}, {below, "https://.example.com", false}, {below, "http://a.example.com", false},
		{below, "https://evil.test/.example.com", false}, {below, "https://evil.test:1.example.com", false}, {below, "https://u@a.example.com", false},
		{below, "https://a.example.com:8443", false}, {below, "https://a.example.com.evil.test", false}, {below, "https://a\x00.example.com", false},
		{belowPort, "https://a.example.com:8443", true}, {belowPort, "https://a.example.com", false},
		{regex, "https://a.test", true}, {regex, "https://c.test", false}, {regex, "https://a.test.evil", false}, {regex, "xhttps://a.test", false},
		{regex, "https://a.test\n", false}, {regex, "https://axtest", false},
	} {
		if got := policy(t, Spec{Origins: []Origin{c.of}}).Allows([]byte(c.origin)); got != c.want {
			t.Errorf("%s for %s: got %v", c.origin, c.of.Text, got)
		}
	}
}

func TestSettingsThatAreWrongOrInsecure(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, "origins: there are no origins"},
		{Spec{Origins: []Origin{{Text: "*"}}, Credentials: true}, `origins: any origin ("*") with credentials would let every page act for its visitor`},
		{Spec{Origins: []Origin{{Text: "null"}}}, `origins[0]: "null" is the origin of every page that hides its own, such as a sandboxed frame of anybody's`},
		{Spec{Origins: []Origin{{Text: "a.test"}}}, `origins[0]: "a.test" is not an origin: it has no scheme`},
		{Spec{Origins: []Origin{{Text: "https://a.test/"}}}, `origins[0]: "https://a.test/" is a URL, not an origin`},
		{Spec{Origins: []Origin{{Text: "https://A.test"}}}, `origins[0]: "https://A.test" is not in lower case, as browsers write origins`},
		{Spec{Origins: []Origin{{Text: "https://a.test:443"}}}, `origins[0]: "https://a.test:443" has the scheme's own port, which browsers leave out`},
		{Spec{Origins: []Origin{{Text: "https://*.com"}}}, `origins[0]: "https://*.com" takes in every host that ends in "com"`},
		{Spec{Origins: []Origin{{Text: "https://a.*.com"}}}, `origins[0]: "https://a.*.com" is not an origin`},
		{Spec{Origins: []Origin{{Text: "https://"}}}, `origins[0]: "https://" is not an origin`},
		{Spec{Origins: []Origin{{Text: "https://a.test:x"}}}, `origins[0]: "https://a.test:x" is not an origin`},
		{Spec{Origins: []Origin{{Text: ".*", Regex: true}}}, `origins[0]: ".*" takes in origins that nobody means, such as https://stranger.invalid`},
		{Spec{Origins: []Origin{{Text: `https?://[^/]+`, Regex: true}}}, `origins[0]: "https?://[^/]+" takes in origins that nobody means, such as https://stranger.invalid`},
		{Spec{Origins: []Origin{{Text: "(", Regex: true}}}, "origins[0]: \"(\" is no regular expression: error parsing regexp: missing closing ): `\\A(?:()\\z`"},
		{Spec{Origins: []Origin{{Text: "https://a.test"}}, Expose: []string{"*"}, Credentials: true}, `expose: with credentials "*" is the name of a field, and exposes nothing else`},
	} {
		p, problems := Compile(c.spec)
		if p != nil || len(problems) != 1 || problems[0].Field+": "+problems[0].Cause != c.want {
			t.Errorf("%+v: got %v, want %s", c.spec, problems, c.want)
		}
	}
}

// An expression with | in it is anchored as a whole.
func TestExpressionsAreAnchoredAsAWhole(t *testing.T) {
	p := policy(t, Spec{Origins: []Origin{{Text: `https://a\.test|https://b\.test`, Regex: true}}})
	for _, o := range []string{"https://a.test.evil.test", "evil-https://b.test"} {
		if p.Allows([]byte(o)) {
			t.Errorf("%s is allowed", o)
		}
	}
}

func head(lines ...string) *message.Head {
	h := &message.Head{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

func text(h *message.Head) string {
	var out []string
	for _, f := range h.All() {
		if !f.Gone {
			out = append(out, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(out, "\n")
}

func TestAnswersSayThePolicy(t *testing.T) {
	named := Spec{Origins: []Origin{{Text: "https://a.test"}}, Methods: []string{"GET", "PUT"}, Headers: []string{"X-A"}, MaxAge: time.Minute}
	with := func(s Spec, change func(*Spec)) Spec { change(&s); return s }
	const origin = "Origin: https://a.test"
	for _, c := range []struct {
		name      string
		spec      Spec
		request   []string
		answer    []string
		preflight bool
		want      string
	}{
		{"no origin", named, nil, []string{"A: b"}, false, "A: b\nVary: Origin"},
		{"another origin", named, []string{"Origin: https://b.test"}, nil, false, "Vary: Origin"},
		{"an origin", named, []string{origin}, nil, false, "Vary: Origin\nAccess-Control-Allow-Origin: https://a.test"},
		{"the upstream has a policy too", named, []string{"Origin: https://b.test"}, []string{"access-control-allow-origin: *", "ACCESS-CONTROL-ALLOW-CREDENTIALS: true"}, false, "Vary: Origin"},
		{"it varies already", named, nil, []string{"Vary: Accept, origin"}, false, "Vary: Accept, origin"},
		{"it varies by all", named, nil, []string{"Vary: *"}, false, "Vary: *"},
		{"it varies by something else", named, nil, []string{"Vary: Accept"}, false, "Vary: Accept\nVary: Origin"},
		{"any origin", with(named, func(s *Spec) { s.Origins = []Origin{{Text: "*"}} }), []string{"Origin: https://x.test"}, nil, false, "Access-Control-Allow-Origin: *"},
		{"credentials and exposed fields", with(named, func(s *Spec) { s.Credentials, s.Expose = true, []string{"X-B", "X-C"} }), []string{origin}, nil, false,
			"Vary: Origin\nAccess-Control-Allow-Origin: https://a.test\nAccess-Control-Allow-Credentials: true\nAccess-Control-Expose-Headers: X-B, X-C"},
		{"a preflight", named, []string{origin, "Access-Control-Request-Method: PUT"}, nil, true,
			"Vary: Origin\nAccess-Control-Allow-Origin: https://a.test\nAccess-Control-Allow-Methods: GET, PUT\nAccess-Control-Allow-Headers: X-A\nAccess-Control-Max-Age: 60"},
		{"a preflight for anything", with(named, func(s *Spec) { s.Methods, s.Headers, s.MaxAge = []string{"*"}, []string{"*"}, 0 }),
			[]string{origin, "Access-Control-Request-Method: PURGE", "Access-Control-Request-Headers: x-b,x-c"}, nil, true,
			"Vary: Origin\nAccess-Control-Allow-Origin: https://a.test\nAccess-Control-Allow-Methods: PURGE\nAccess-Control-Allow-Headers: x-b,x-c"},
		{"a private network", with(named, func(s *Spec) { s.PrivateNetwork, s.MaxAge = true, 0 }),
			[]string{origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Private-Network: true"}, nil, true,
			"Vary: Origin\nAccess-Control-Allow-Origin: https://a.test\nAccess-Control-Allow-Methods: GET, PUT\nAccess-Control-Allow-Headers: X-A\nAccess-Control-Allow-Private-Network: true"},
	} {
		h := head(c.answer...)
		policy(t, c.spec).apply(head(c.request...), h, c.preflight)
		if got := text(h); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestPreflightsAreJudged(t *testing.T) {
	f := NewFilter(policy(t, Spec{Origins: []Origin{{Text: "https://a.test"}}, Methods: []string{"PUT"}, Headers: []string{"X-A", "Content-Type"}}), nil)
	for _, c := range []struct{ origin, method, headers, private, want string }{
		{"https://a.test", "PUT", "", "", ""},
		{"https://a.test", "GET", "", "", ""},
		{"https://a.test", "POST", " x-a , CONTENT-TYPE,, accept", "", ""},
		{"https://b.test", "PUT", "", "", ReasonOrigin},
		{"https://a.test", "DELETE", "", "", ReasonMethod},
		{"https://a.test", "put", "", "", ReasonMethod},
		{"https://a.test", "PUT", "x-a,authorization", "", ReasonHeader},
		{"https://a.test", "PUT", "", "true", ReasonPrivateNetwork},
	} {
		h := head()
		if c.private != "" {
			h.AddString("Access-Control-Request-Private-Network", c.private)
		}
		if got, _ := f.judge(h, []byte(c.origin), []byte(c.method), []byte(c.headers)); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
	for _, r := range []string{ReasonOrigin, ReasonMethod, ReasonHeader, ReasonPrivateNetwork} {
		if !slices.Contains(Reasons(), r) {
			t.Errorf("%s is not listed", r)
		}
	}
}

func TestApplyAllocatesNothing(t *testing.T) {
	p := policy(t, Spec{Origins: []Origin{{Text: "https://*.a.test"}}, Credentials: true, Expose: []string{"X-B"}})
	request, h := head("Origin: https://b.a.test"), &message.Head{}
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.AddString("Access-Control-Allow-Origin", "*")
		p.apply(request, h, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a wildcard takes in is an origin below its host, as a browser would write it.
func FuzzWildcard(f *testing.F) {
	for _, s := range []string{"https://a.example.com", "https://evil.test/.example.com", "https://a.example.com.evil"} {
		f.Add([]byte(s))
	}
	p := policy(f, Spec{Origins: []Origin{{Text: "https://*.example.com"}}})
	f.Fuzz(func(t *testing.T, origin []byte) {
		if !p.Allows(origin) {
			return
		}
		host, ok := strings.CutPrefix(string(origin), "https://")
		if !ok || !strings.HasSuffix(host, ".example.com") || strings.ContainsAny(host, "/:@?#\\ ") {
			t.Errorf("%q is allowed", origin)
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add("https://a.test", false)
	f.Add(`https://.*\.a\.test`, true)
	f.Fuzz(func(t *testing.T, text string, regex bool) {
		p, problems := Compile(Spec{Origins: []Origin{{text, regex}}})
		if (p == nil) != (len(problems) > 0) {
			t.Error(fmt.Sprint(p, problems))
		}
		if p != nil && !regex && !strings.Contains(text, "*") && !p.Allows([]byte(text)) {
			t.Errorf("%q does not allow itself", text)
		}
	})
}

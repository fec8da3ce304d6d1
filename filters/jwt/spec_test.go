package jwt

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

// usual is settings that are right.
func usual() Spec {
	return Spec{Algorithms: []Algorithm{ES256}, Issuers: []string{"i"}, Audiences: []string{"a"}, Set: jwks(pairs()[ES256])}
}

func TestSettingsThatAreWrong(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "keys")
		must(0, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	f := func(change func(*Spec), want string) {
		t.Helper()
		s := usual()
		change(&s)
		filter, problems := Compile(s, nil, nil)
		got := fmt.Sprint(problems)
		if filter != nil {
			got = filter.String()
		}
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	rs := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(pairs()[RS256])})
	f(func(*Spec) {}, "tokens of i for a, signed by ES256 with keys from the document")
	f(func(s *Spec) { s.Algorithms = nil }, "algorithms is needed")
	f(func(s *Spec) { s.Issuers = nil }, "issuer is needed")
	f(func(s *Spec) { s.Audiences = nil }, "audience is needed")
	f(func(s *Spec) { s.Algorithms = []Algorithm{"none"} }, "a token that is not signed says nothing")
	f(func(s *Spec) { s.Algorithms = []Algorithm{"XX"} }, `there is no algorithm "XX" here`)
	f(func(s *Spec) { s.Algorithms = []Algorithm{ES256, ES256} }, "listed twice")
	f(func(s *Spec) { s.Algorithms = []Algorithm{ES256, RS256} }, "there is no key for RS256")
	f(func(s *Spec) { s.Set, s.PEM = nil, rs }, "there is no key for ES256")
	f(func(s *Spec) { s.Set, s.PEM, s.Algorithms = nil, rs, []Algorithm{RS256, PS512} }, "signed by RS256, PS512")
	f(func(s *Spec) { s.Set = jwks(pairs()[ES256], pairs()[RS256]) }, "key 2 is of the kind RSA, and no algorithm listed uses it")
	f(func(s *Spec) { s.PEM = rs }, "keys come from one place, found 2")
	f(func(s *Spec) { s.Set = nil }, "keys come from one place, found 0")
	f(func(s *Spec) { s.Set = jwks(pairs()[HS256]) }, "a secret, in a key set that is published")
	f(func(s *Spec) { s.Set, s.Secret, s.Algorithms = nil, []byte("short"), []Algorithm{HS256} }, "the secret has 5 bytes")
	f(func(s *Spec) { s.Set, s.Secret, s.Algorithms = nil, make([]byte, 32), []Algorithm{HS256, HS512} }, "the secret has 32 bytes, and HS512 needs 64 (RFC 7518 section 3.2)")
	f(func(s *Spec) { s.Set, s.Secret, s.Algorithms = nil, make([]byte, 64), []Algorithm{HS256, HS512} }, "signed by HS256, HS512")
	f(func(s *Spec) { s.Set, s.Fetch.URL = nil, "http://idp.test/" }, "plain HTTP")
	f(func(s *Spec) { s.Set, s.Fetch.URL, s.Algorithms = nil, "https://idp.test/", []Algorithm{HS256} }, "HS256 needs a secret, and what a URL gives is none")
	f(func(s *Spec) { s.Set, s.Fetch.File = nil, "/nowhere/keys" }, "no such file")
	f(func(s *Spec) { s.Set, s.Fetch.File = nil, file("{}") }, `it has no list "keys"`)
	f(func(s *Spec) { s.Set, s.Fetch = nil, Fetch{File: file("x"), Secret: PlainSecret} }, "there is no key for ES256: what the file holds is a secret")
	f(func(s *Spec) {
		s.Set, s.Fetch, s.Algorithms = nil, Fetch{File: file("x\n"), Secret: PlainSecret}, []Algorithm{HS256}
	}, "the secret has 1 bytes")
	f(func(s *Spec) {
		s.Set, s.Fetch, s.Algorithms = nil, Fetch{File: file("!"), Secret: Base64Secret}, []Algorithm{HS256}
	}, "the secret is not base64")
	f(func(s *Spec) {
		s.Set, s.Fetch, s.Algorithms = nil, Fetch{File: file("_-A="), Secret: Base64Secret}, []Algorithm{HS256}
	}, "the secret has 2 bytes")
	f(func(s *Spec) { s.TokenBytesMax = 10 }, "a token may be bounded by 256 to 65536 bytes")
	f(func(s *Spec) { s.Places = []Place{{InHeader, "cookie"}} }, "no token can be in the field cookie")
	f(func(s *Spec) { s.Places = []Place{{InHeader, "authorization"}} }, "is a place of its own")
	f(func(s *Spec) { s.Places = []Place{{}, {}} }, "listed twice")
	f(func(s *Spec) { s.Headers = []identity.Field{{Name: "a b", Claim: "sub"}} }, "is not the name of a header field")
	f(func(s *Spec) { s.Headers = []identity.Field{{Name: "Authorization", Claim: "sub"}} }, "has a meaning of its own")
}

// What is known of tokens is kept over a change that it does not follow from, and lost with one that it does.
func TestWhatAChangeLoses(t *testing.T) {
	memory := gateway.NewMemory()
	var before *Filter
	var held *gateway.Recollection
	next := func(s Spec) (sameTokens, sameKeys bool) {
		t.Helper()
		r := memory.Recollect()
		f, problems := Compile(s, nil, r)
		if f == nil {
			t.Fatal(problems)
		}
		r.Hold()
		if held != nil {
			held.Drop()
		}
		held = r
		if before != nil {
			sameTokens, sameKeys = f.caches == before.caches, f.keys == before.keys
		}
		before = f
		return sameTokens, sameKeys
	}
	defer func() { held.Drop() }()
	f := func(name string, change func(*Spec), tokens, keys bool) {
		t.Helper()
		s := usual()
		next(s)
		change(&s)
		if gotTokens, gotKeys := next(s); gotTokens != tokens || gotKeys != keys {
			t.Errorf("%s: the tokens are kept: %v, want %v; the keys: %v, want %v", name, gotTokens, tokens, gotKeys, keys)
		}
	}
	f("nothing", func(*Spec) {}, true, true)
	f("headers", func(s *Spec) { s.Headers = []identity.Field{{Name: "x-user", Claim: "sub"}} }, true, true)
	f("required", func(s *Spec) { s.Optional = true }, true, true)
	f("places", func(s *Spec) { s.Places = []Place{{InCookie, "a"}} }, true, true)
	f("issuer", func(s *Spec) { s.Issuers = []string{"j"} }, false, false)
	f("audience", func(s *Spec) { s.Audiences = []string{"i"} }, false, false)
	f("scopes", func(s *Spec) { s.Scopes = []string{"x"} }, false, false)
	f("skew", func(s *Spec) { s.Skew = -1 }, false, false)
	f("claims", func(s *Spec) { s.Claims = []Requirement{{"a", nil}} }, false, false)
	f("keys", func(s *Spec) { s.Set = jwks(pairs()[ES384]); s.Algorithms = []Algorithm{ES384} }, false, false)

	// Keys of a file, which is read before anybody asks, outlive all but their place.
	path := filepath.Join(t.TempDir(), "keys.json")
	must(0, os.WriteFile(path, jwks(pairs()[ES256]), 0o600))
	s := usual()
	s.Set, s.Fetch.File = nil, path
	next(s)
	if before.keys.current(before.fetcher.clock()) == nil {
		t.Error("the file was not read")
	}
	s.Fetch.AskEvery = time.Minute
	s.Audiences = []string{"b"}
	if tokens, keys := next(s); tokens || !keys {
		t.Errorf("another audience: tokens %v, keys %v", tokens, keys)
	}
}

func TestReasonsAreWordsEachOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if seen[r] || !strings.HasPrefix(r, "jwt_") || strings.ToLower(r) != r {
			t.Errorf("%q", r)
		}
		seen[r] = true
	}
	for _, r := range refusals {
		if strings.ContainsAny(r.text, `"\`) || r.status/100 == 4 != (challenges("", nil)[r] != nil) {
			t.Errorf("%s: %q", r.reason, r.text)
		}
	}
}

package jwt

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func TestClaimsThatMustBeRight(t *testing.T) {
	p := pairs()[ES256]
	r := testRules(ES256)
	f := func(changes map[string]any, want string) {
		t.Helper()
		if got := accept(p.sign(nil, with(changes)), now, keySet(t, p), &r); got != want {
			t.Errorf("%v: got %s, want %s", changes, got, want)
		}
	}
	type m = map[string]any
	f(m{}, "sub=alice")
	f(m{"sub": nil}, "sub=")

	f(m{"iss": nil}, "jwt_issuer")
	f(m{"iss": "https://idp.test"}, "jwt_issuer") // compared byte by byte (RFC 7519 section 4.1.1)
	f(m{"iss": "HTTPS://idp.test/"}, "jwt_issuer")
	f(m{"iss": []string{"https://idp.test/"}}, "jwt_issuer")
	f(m{"iss": 1}, "jwt_issuer")

	f(m{"aud": nil}, "jwt_audience")
	f(m{"aud": "API"}, "jwt_audience")
	f(m{"aud": []string{"other", "api"}}, "sub=alice")
	f(m{"aud": []string{"other"}}, "jwt_audience")
	f(m{"aud": []string{}}, "jwt_audience")
	f(m{"aud": "other,api"}, "jwt_audience")
	f(m{"aud": []any{map[string]string{"x": "api"}}}, "jwt_audience")
	f(m{"aud": []any{[]string{"api"}}}, "jwt_audience")
	f(m{"aud": m{"api": "api"}}, "jwt_audience")
	f(m{"aud": true}, "jwt_audience")

	f(m{"exp": nil}, "jwt_malformed")
	f(m{"exp": "1800000600"}, "jwt_malformed")
	f(m{"exp": m{}}, "jwt_malformed")
	f(m{"exp": []int{1800000600}}, "jwt_malformed")
	f(m{"exp": true}, "jwt_malformed")
	f(m{"exp": -1}, "jwt_malformed")
	f(m{"exp": int64(253402300799)}, "sub=alice")
	f(m{"exp": int64(253402300800)}, "jwt_malformed")
	f(m{"exp": int64(1800000600000)}, "jwt_malformed") // in milliseconds
	f(m{"exp": 1e30}, "jwt_malformed")
	f(m{"exp": 1800000600.5}, "sub=alice")
	f(m{"nbf": "now"}, "jwt_malformed")
	f(m{"iat": m{"a": 1}}, "jwt_malformed")

	for _, null := range []string{"exp", "nbf", "iat", "iss", "aud"} {
		text := strings.Replace(goodClaims, "{", `{"`+null+`x":1,"`+null+`":null,`, 1)
		text = strings.Replace(text, `,"`+null+`":`, `,"n`+null+`":`, 1)
		text = strings.Replace(text, `"n`+null+`":null`, `"`+null+`":null`, 1)
		if got := accept(p.sign(nil, text), now, keySet(t, p), &r); strings.HasPrefix(got, "sub=") {
			t.Errorf("%s: null: %s", null, got)
		}
	}

	r.expiryMay = true
	f(m{"exp": nil}, "sub=alice")
	f(m{"exp": now - 31}, "jwt_expired")
}

// RFC 7519 sections 4.1.4 to 4.1.6, with a skew of 30 s.
func TestTimesHoldWithinTheSkew(t *testing.T) {
	p := pairs()[ES256]
	r := testRules(ES256)
	f := func(claim string, at float64, want string) {
		t.Helper()
		if got := accept(p.sign(nil, with(map[string]any{claim: at})), now, keySet(t, p), &r); got != want {
			t.Errorf("%s now%+g: got %s, want %s", claim, at-now, got, want)
		}
	}
	f("exp", now+1, "sub=alice")
	f("exp", now, "sub=alice")
	f("exp", now-29, "sub=alice")
	f("exp", now-29.5, "jwt_expired")
	f("exp", now-30, "jwt_expired")
	f("exp", 0, "jwt_expired")
	f("nbf", now+30, "sub=alice")
	f("nbf", now+30.5, "jwt_not_yet_valid")
	f("nbf", now+31, "jwt_not_yet_valid")
	f("iat", now+30, "sub=alice")
	f("iat", now+31, "jwt_not_yet_valid")
	r.skew = 0
	f("exp", now, "jwt_expired")
	f("exp", now+1, "sub=alice")
	f("nbf", now, "sub=alice")
	f("nbf", now+1, "jwt_not_yet_valid")
}

func TestHeadersThatAreRefused(t *testing.T) {
	p := pairs()[ES256]
	r := testRules(ES256)
	f := func(header map[string]any, want string) {
		t.Helper()
		if got := accept(p.sign(header, goodClaims), now, keySet(t, p), &r); got != want {
			t.Errorf("%v: got %s, want %s", header, got, want)
		}
	}
	type m = map[string]any
	// RFC 7515 section 4.1.11: what is critical must be understood, and nothing critical is.
	f(m{"crit": []string{"exp"}, "exp": 1}, "jwt_unsupported")
	f(m{"crit": []string{}}, "jwt_unsupported")
	f(m{"crit": m{}}, "jwt_unsupported")
	f(m{"crit": "exp"}, "jwt_unsupported")
	f(m{"crit": []string{"b64"}, "b64": false}, "jwt_unsupported") // RFC 7797
	f(m{"b64": false}, "jwt_unsupported")
	f(m{"enc": "A256GCM"}, "jwt_unsupported")

	// Keys that a token brings along, and where it says to find them, are not looked at.
	f(m{"jwk": m{"kty": "oct", "k": "AAAA"}, "jku": "https://evil.test/", "x5u": "https://evil.test/", "x5c": []string{"AAAA"}}, "sub=alice")

	// kid games.
	f(m{"kid": nil}, "sub=alice") // one key that fits
	f(m{"kid": "other"}, "jwt_unknown_key")
	f(m{"kid": ""}, "jwt_unknown_key")
	f(m{"kid": 7}, "jwt_malformed")
	f(m{"kid": []string{p.kid}}, "jwt_malformed")
	f(m{"kid": m{"kid": p.kid}}, "jwt_malformed")
	f(m{"kid": strings.Repeat("k", kidBytesMax+1)}, "jwt_malformed")
	for _, kid := range []string{"../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "https://evil.test/jwks.json", p.kid + "\x00", strings.ToUpper(p.kid)} {
		f(m{"kid": kid}, "jwt_unknown_key")
	}

	f(m{"typ": "anything"}, "sub=alice")
	r.types = []string{"at+jwt"} // RFC 9068 section 4
	f(m{"typ": "at+jwt"}, "sub=alice")
	f(m{"typ": "AT+JWT"}, "sub=alice")
	f(m{"typ": "application/at+jwt"}, "sub=alice")
	f(m{"typ": "application/x/at+jwt"}, "jwt_type")
	f(m{"typ": "JWT"}, "jwt_type")
	f(m{"typ": nil}, "jwt_type")
	f(m{"typ": []string{"at+jwt"}}, "jwt_type")
}

func TestATokenCutAnywhereIsRefused(t *testing.T) {
	for _, name := range []Algorithm{HS256, ES256, EdDSA} {
		p := pairs()[name]
		r, set := testRules(name), keySet(t, pairs()[name])
		whole := p.sign(nil, goodClaims)
		for n := range len(whole) {
			if got := accept(whole[:n], now, set, &r); !strings.HasPrefix(got, "jwt_") {
				t.Fatalf("%s: the first %d bytes of %d: %s", name, n, len(whole), got)
			}
			if got := accept(whole[n:], now, set, &r); n > 0 && !strings.HasPrefix(got, "jwt_") {
				t.Fatalf("%s: from byte %d: %s", name, n, got)
			}
		}
	}
}

// No other spelling of a token is the token: the last character of a part has bits that say nothing, and libraries skip line ends.
func TestATokenHasOneSpelling(t *testing.T) {
	p := pairs()[ES256]
	r, set := testRules(ES256), keySet(t, pairs()[ES256])
	whole := p.sign(nil, goodClaims)
	for n := range len(whole) {
		for _, c := range []byte("AQgw_-=. \n\r\t\x00\xff+/") {
			if changed := whole[:n] + string(c) + whole[n+1:]; changed != whole {
				if got := accept(changed, now, set, &r); !strings.HasPrefix(got, "jwt_") {
					t.Fatalf("byte %d is %q: %s", n, c, got)
				}
			}
			if got := accept(whole[:n]+string(c)+whole[n:], now, set, &r); !strings.HasPrefix(got, "jwt_") {
				t.Fatalf("%q before byte %d: %s", c, n, got)
			}
		}
	}
}

func TestShapesThatAreNoToken(t *testing.T) {
	r, set := testRules(ES256), keySet(t, pairs()[ES256])
	for _, c := range []struct{ text, want string }{
		{"", "jwt_malformed"}, {".", "jwt_malformed"}, {"..", "jwt_malformed"}, {"...", "jwt_malformed"}, {"....", "jwt_unsupported"},
		{"a.b.c.d.e", "jwt_unsupported"}, {strings.Repeat(".", 1000), "jwt_malformed"}, {"e30.e30.AA", "jwt_malformed"},
		{b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`[]`)) + ".AA", "jwt_malformed"},
		{b64([]byte(`[{"alg":"ES256"}]`)) + "." + b64([]byte(`{}`)) + ".AA", "jwt_malformed"},
		{base64.StdEncoding.EncodeToString([]byte(`{"alg": "ES256"}`)) + "." + b64([]byte(`{}`)) + ".AA", "jwt_malformed"}, // padded
		{strings.Repeat("A", 8<<10+1), "jwt_too_large"},
	} {
		if got := accept(c.text, now, set, &r); got != c.want {
			t.Errorf("%.40q: got %s, want %s", c.text, got, c.want)
		}
	}
}

// jwt_too_large: the bound is held before anything is read.
func TestATokenOverTheBoundIsNotRead(t *testing.T) {
	p := pairs()[ES256]
	whole := p.sign(nil, goodClaims)
	r, set := testRules(ES256), keySet(t, p)
	for d := -1; d <= 1; d++ {
		r.tokenBytesMax = len(whole) + d
		want := "sub=alice"
		if d < 0 {
			want = "jwt_too_large"
		}
		if got := accept(whole, now, set, &r); got != want {
			t.Errorf("bound %+d: %s", d, got)
		}
	}
}

func TestScopesAndRequirements(t *testing.T) {
	p := pairs()[ES256]
	f := func(r rules, changes map[string]any, want string) {
		t.Helper()
		if got := accept(p.sign(nil, with(changes)), now, keySet(t, p), &r); got != want {
			t.Errorf("%v: got %s, want %s", changes, got, want)
		}
	}
	type m = map[string]any
	r := testRules(ES256)
	r.scopes = []string{"read", "write"}
	f(r, m{"scope": "read write"}, "sub=alice")
	f(r, m{"scope": "write other read"}, "sub=alice")
	f(r, m{"scope": "read"}, "jwt_scope")
	f(r, m{"scope": "reads writes"}, "jwt_scope")
	f(r, m{"scope": []string{"read", "write"}}, "sub=alice")
	f(r, m{"scp": []string{"read", "write"}}, "sub=alice")
	f(r, m{"scp": "read write"}, "sub=alice")
	f(r, m{"scope": "", "scp": "read write"}, "jwt_scope") // scope goes before scp
	f(r, m{}, "jwt_scope")
	f(r, m{"scope": m{"read": 1}}, "jwt_scope")

	r = testRules(ES256)
	r.claims = []Requirement{{"org.tenant", []string{"a", "b"}}, {"email_verified", []string{"true"}}, {"jti", nil}}
	good := m{"org": m{"tenant": "b"}, "email_verified": true, "jti": "1"}
	f(r, good, "sub=alice")
	f(r, m{"org": m{"tenant": []string{"x", "a"}}, "email_verified": true, "jti": "1"}, "sub=alice")
	f(r, m{"org": m{"tenant": "c"}, "email_verified": true, "jti": "1"}, "jwt_claim")
	f(r, m{"org": m{"tenant": "a,b"}, "email_verified": true, "jti": "1"}, "jwt_claim")
	f(r, m{"org": m{"tenant": "b"}, "email_verified": false, "jti": "1"}, "jwt_claim")
	f(r, m{"org": m{"tenant": "b"}, "email_verified": true}, "jwt_claim")
	f(r, m{"org": []any{m{"tenant": "b"}}, "email_verified": true, "jti": "1"}, "jwt_claim")
}

func TestReadingATokenAllocatesNothing(t *testing.T) {
	whole := []byte(pairs()[ES256].sign(nil, goodClaims))
	r := testRules(ES256)
	d := &desk{}
	n := testing.AllocsPerRun(100, func() {
		if _, refused := d.read(whole, now, &r); refused != nil {
			t.Fatal(refused.reason)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzToken: no token is good that the issuer did not sign, and no text makes the reader fail.
func FuzzToken(f *testing.F) {
	p := pairs()[HS256]
	r, set := testRules(HS256, ES256, RS256), keySet(f, p)
	r.expiryMay = true
	good := p.sign(nil, goodClaims)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add("a.b.c")
	f.Add("a.b.c.d.e")
	f.Add(p.sign(map[string]any{"crit": []string{"x"}}, goodClaims))
	f.Add(p.sign(nil, `{"iss":"https://idp.test/","aud":["api"],"a":{"b":[1,2.5e3,null,true,"\ud83d\ude00"]}}`))
	f.Add(fmt.Sprintf("%s.%s.AA", b64([]byte(`{"alg":"HS256"}`)), b64([]byte(goodClaims))))
	f.Fuzz(func(t *testing.T, text string) {
		if got := accept(text, now, set, &r); strings.HasPrefix(got, "sub=") {
			parts := strings.Split(text, ".")
			if b64(signRaw(HS256, p.private, []byte(parts[0]+"."+parts[1]))) != parts[2] {
				t.Fatalf("accepted: %q", text)
			}
		}
	})
}

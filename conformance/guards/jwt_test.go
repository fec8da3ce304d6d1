//go:build linux

package guards

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/yumen-io/yumen/conformance/gateway"
)

// tokenIssuer signs tokens and publishes keys, by another library than the gateway's own code.
type tokenIssuer struct {
	t      *testing.T
	server *httptest.Server
	ca     string

	mu       sync.Mutex
	keys     []jose.JSONWebKey // as published
	down     bool
	requests atomic.Int32
}

func newTokenIssuer(t *testing.T, keys ...jose.JSONWebKey) *tokenIssuer {
	i := &tokenIssuer{t: t, keys: keys}
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.requests.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		set := jose.JSONWebKeySet{}
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		_ = json.NewEncoder(w).Encode(set)
	}))
	i.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	i.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(i.ca, []byte(certificatePEM(i.server.Certificate().Raw)), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *tokenIssuer) publish(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	i.keys = keys
	i.mu.Unlock()
}

func (i *tokenIssuer) setDown(down bool) {
	i.mu.Lock()
	i.down = down
	i.mu.Unlock()
}

// newECKey is a key for ES256.
func newECKey(t *testing.T, kid string) jose.JSONWebKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}

func newRSAKey(t *testing.T, kid string) jose.JSONWebKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: kid, Algorithm: "RS256", Use: "sig"}
}

type claims map[string]any

// mint signs a token for alice, with these claims in place of the usual ones; nil removes one.
func mint(t testing.TB, key jose.JSONWebKey, changes claims) string {
	all := claims{"iss": "https://idp.test/", "aud": "api", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "org": claims{"tenant": "t1"}, "scope": "read"}
	for k, v := range changes {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// echoUpstream answers with the query and the fields of the request that may matter.
func echoUpstream(t *testing.T) string {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var seen []string
		if r.URL.RawQuery != "" {
			seen = append(seen, "?"+r.URL.RawQuery)
		}
		for _, name := range []string{"Authorization", "Cookie", "X-Token", "X-User", "X_user", "X_User", "X-Tenant"} {
			for _, v := range r.Header[name] {
				if len(v) > 40 {
					v = "long"
				}
				seen = append(seen, name+"="+v)
			}
		}
		_, _ = io.WriteString(w, strings.Join(seen, " "))
	}))
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// jwtDocument has a filter jwt under each name, with settings beside those that all share.
func jwtDocument(addr, upstream, keys string, filters ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: l, address: %q, protocols: [http1, h2c]}]\nclusters: {app: {endpoints: [%q]}}\nfilters:\n", addr, upstream)
	for i := 0; i < len(filters); i += 2 {
		fmt.Fprintf(&b, "  %s: {jwt: {issuer: https://idp.test/, audience: api, algorithms: [ES256, RS256], keys: %s%s}}\n", filters[i], keys, filters[i+1])
	}
	b.WriteString("routes:\n")
	for i := 0; i < len(filters); i += 2 {
		fmt.Fprintf(&b, "- {name: %[1]s, path: /%[1]s/*, cluster: app, filters: [%[1]s]}\n", filters[i])
	}
	return b.String()
}

func (i *tokenIssuer) source(settings string) string {
	return fmt.Sprintf("{url: %q, ca: %q%s}", i.server.URL, i.ca, settings)
}

// said is status, reason, challenge and, of a good answer, what the upstream saw.
func said(a *gateway.Answer) string {
	if a.Status == http.StatusOK {
		return strings.TrimSpace("200 " + a.Body)
	}
	text := fmt.Sprintf("%d %s", a.Status, a.Header.Get("X-Yumen-Reason"))
	if c := a.Header.Get("WWW-Authenticate"); c != "" {
		c, _, _ = strings.Cut(c, ", error_description")
		text += " [" + c + "]"
	}
	return text
}

// jwtGet asks once; lines are fields.
func jwtGet(t *testing.T, addr, target string, lines ...string) *gateway.Answer {
	t.Helper()
	c, err := gateway.Dial(addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := "GET " + target + " HTTP/1.1\r\nHost: exam.test\r\n"
	for _, l := range lines {
		request += l + "\r\n"
	}
	a, err := c.Do(request+"\r\n", patience)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return a
}

func TestWhoPassesByAToken(t *testing.T) {
	ec, rs, stranger := newECKey(t, "ec"), newRSAKey(t, "rs"), newECKey(t, "ec")
	issuer := newTokenIssuer(t, ec, rs)
	addr := gateway.FreeAddr(t)
	const headers = ", headers: {X-User: sub, X-Tenant: org.tenant}"
	p := gateway.Start(t, jwtDocument(addr, echoUpstream(t), issuer.source(""),
		"plain", headers+", realm: shop",
		"optional", headers+", required: off",
		"scoped", ", scopes: [read, write]",
		"claims", ", claims: {org.tenant: [t1, t2]}",
		"kept", ", forward: on",
		"cookie", ", from: {cookie: session}",
		"query", ", from: {query: access_token}",
		"field", ", from: {header: X-Token}",
		"short", ", max_token: 256B",
		"typed", ", types: at+jwt",
		"tried", headers+", mode: shadow",
	), gateway.Options{})

	good := mint(t, ec, nil)
	bearer := func(token string) string { return "Authorization: Bearer " + token }
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := b64([]byte(`{"alg":"none","kid":"ec"}`)) + "." + parts[1] + "."
	// The public key's text as the secret of an HMAC.
	der, _ := x509.MarshalPKIXPublicKey(rs.Public().Key)
	confused := b64([]byte(`{"alg":"HS256","kid":"rs"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(confused))
	confused += "." + b64(mac.Sum(nil))

	for _, c := range []struct {
		name, target string
		lines        []string
		want         string
	}{
		{"good", "/plain/", []string{bearer(good)}, "200 X-User=alice X-Tenant=t1"},
		{"good, once more", "/plain/", []string{bearer(good)}, "200 X-User=alice X-Tenant=t1"},
		{"good, by RSA", "/plain/", []string{bearer(mint(t, rs, nil))}, "200 X-User=alice X-Tenant=t1"},
		{"a client names itself", "/plain/", []string{bearer(good), "X-User: root", "x_user: root", "X-Tenant: t9", "X-TENANT: t8"}, "200 X-User=alice X-Tenant=t1"},
		{"a client names itself, and has no tenant", "/plain/", []string{bearer(mint(t, ec, claims{"org": nil})), "X-Tenant: t9"}, "200 X-User=alice"},
		{"a client has our field dropped", "/plain/", []string{bearer(good), "Connection: X-User, X-Tenant, Authorization"}, "401 jwt_missing [Bearer realm=\"shop\"]"},
		{"a client has our fields dropped", "/plain/", []string{bearer(good), "Connection: X-User, X-Tenant"}, "200 X-User=alice X-Tenant=t1"},
		{"a claim that is no field", "/plain/", []string{bearer(mint(t, ec, claims{"sub": "a\r\nX-Tenant: t9"}))}, "200 X-Tenant=t1"},
		{"no token", "/plain/", nil, `401 jwt_missing [Bearer realm="shop"]`},
		{"another scheme", "/plain/", []string{"Authorization: Basic YTpi"}, `401 jwt_missing [Bearer realm="shop"]`},
		{"rubbish", "/plain/", []string{bearer("rubbish")}, `401 jwt_malformed [Bearer realm="shop", error="invalid_token"]`},
		{"expired", "/plain/", []string{bearer(mint(t, ec, claims{"exp": time.Now().Unix() - 60}))}, `401 jwt_expired [Bearer realm="shop", error="invalid_token"]`},
		{"expired, within the skew", "/plain/", []string{bearer(mint(t, ec, claims{"exp": time.Now().Unix() - 5}))}, "200 X-User=alice X-Tenant=t1"},
		{"not yet", "/plain/", []string{bearer(mint(t, ec, claims{"nbf": time.Now().Unix() + 60}))}, `401 jwt_not_yet_valid [Bearer realm="shop", error="invalid_token"]`},
		{"another issuer", "/plain/", []string{bearer(mint(t, ec, claims{"iss": "https://evil.test/"}))}, `401 jwt_issuer [Bearer realm="shop", error="invalid_token"]`},
		{"another audience", "/plain/", []string{bearer(mint(t, ec, claims{"aud": "web"}))}, `401 jwt_audience [Bearer realm="shop", error="invalid_token"]`},
		{"another's signature", "/plain/", []string{bearer(mint(t, stranger, nil))}, `401 jwt_signature [Bearer realm="shop", error="invalid_token"]`},
		{"another's signature, once more", "/plain/", []string{bearer(parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86))}, `401 jwt_signature [Bearer realm="shop", error="invalid_token"]`},
		{"not signed", "/plain/", []string{bearer(unsigned)}, `401 jwt_algorithm [Bearer realm="shop", error="invalid_token"]`},
		{"signed with a public key", "/plain/", []string{bearer(confused)}, `401 jwt_algorithm [Bearer realm="shop", error="invalid_token"]`},
		{"encrypted", "/plain/", []string{bearer("a.b.c.d.e")}, `401 jwt_unsupported [Bearer realm="shop", error="invalid_token"]`},
		{"two tokens", "/plain/", []string{bearer(good), bearer(good)}, `400 jwt_ambiguous [Bearer realm="shop", error="invalid_request"]`},

		{"optional: none", "/optional/", []string{"X-User: root", "X_User: root"}, "200"},
		{"optional: good", "/optional/", []string{bearer(good)}, "200 X-User=alice X-Tenant=t1"},
		{"optional: bad", "/optional/", []string{bearer("rubbish")}, `401 jwt_malformed [Bearer error="invalid_token"]`},

		{"scopes: one of two", "/scoped/", []string{bearer(good)}, `403 jwt_scope [Bearer error="insufficient_scope"]`},
		{"scopes: both", "/scoped/", []string{bearer(mint(t, ec, claims{"scope": "write read"}))}, "200"},
		{"claims: as wanted", "/claims/", []string{bearer(good)}, "200"},
		{"claims: another", "/claims/", []string{bearer(mint(t, ec, claims{"org": claims{"tenant": "t3"}}))}, `403 jwt_claim [Bearer error="insufficient_scope"]`},

		{"forwarded", "/kept/", []string{bearer(good)}, "200 Authorization=long"},
		{"in a cookie", "/cookie/", []string{"Cookie: a=1; session=" + good + "; b=2"}, "200 Cookie=a=1; b=2"},
		{"in a cookie only", "/cookie/", []string{bearer(good)}, "401 jwt_missing [Bearer]"},
		{"in the query", "/query/?a=1&access_token=" + good + "&b=2", nil, "200 ?a=1&b=2"},
		{"in a field", "/field/", []string{"X-Token: " + good}, "200"},
		{"too long", "/short/", []string{bearer(mint(t, ec, claims{"x": strings.Repeat("x", 200)}))}, `401 jwt_too_large [Bearer error="invalid_token"]`},
		{"another type", "/typed/", []string{bearer(good)}, `401 jwt_type [Bearer error="invalid_token"]`},

		{"tried: bad", "/tried/", []string{bearer("rubbish"), "X-User: root"}, "200 Authorization=Bearer rubbish X-User=root"},
		{"tried: none", "/tried/", []string{"X-User: root"}, "200 X-User=root"},
		{"tried: good", "/tried/", []string{bearer(good), "X-User: root"}, "200 Authorization=long X-User=root"},
	} {
		if got := said(jwtGet(t, addr, c.target, c.lines...)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if n, err := p.Metric("yumen_guard_decisions_total", `guard="tried"`, `mode="shadow"`, `outcome="refused"`); err != nil || n != 2 {
		t.Errorf("in shadow mode %v refusals are counted: %v", n, err)
	}
	if n, err := p.Metric("yumen_guard_number", `guard="plain"`, `number="keys"`); err != nil || n != 2 {
		t.Errorf("the metrics know of %v keys: %v", n, err)
	}

	t.Run("a refusal is explained", func(t *testing.T) {
		a := jwtGet(t, addr, "/scoped/", bearer(good))
		status, text, err := p.AdminGet("/api/decisions?request_id=" + a.Header.Get("X-Request-Id"))
		if err != nil || status != 200 {
			t.Fatal(status, err)
		}
		for _, want := range []string{"jwt_scope", "sub=alice", "scoped"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
		if strings.Contains(string(text), parts[2]) {
			t.Error("the token is in the record")
		}
	})
	t.Run("a call is told by its status", func(t *testing.T) {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		for target, want := range map[string]string{"/plain/S/M": "16", "/scoped/S/M": "7"} {
			req, _ := http.NewRequest("POST", "http://"+addr+target, strings.NewReader("\x00\x00\x00\x00\x00"))
			req.Header.Set("Content-Type", "application/grpc")
			req.Header.Set("Te", "trailers")
			if want == "7" {
				req.Header.Set("Authorization", "Bearer "+good)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			got := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
			if resp.StatusCode != 200 || got != want {
				t.Errorf("%s: status %d, grpc-status %s, want %s", target, resp.StatusCode, got, want)
			}
		}
	})
}

// The issuer is out of order when the gateway starts: nobody can tell whether a token is right, and clients should not throw
// theirs away. Then it comes back; then it breaks again, which nobody notices.
func TestAnIssuerThatIsDown(t *testing.T) {
	key := newECKey(t, "a")
	issuer := newTokenIssuer(t, key)
	issuer.setDown(true)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, jwtDocument(addr, echoUpstream(t), issuer.source(""), "users", ""), gateway.Options{})
	token := "Authorization: Bearer " + mint(t, key, nil)
	a := jwtGet(t, addr, "/users/", token)
	if got := said(a); got != "503 jwt_no_keys" || a.Header.Get("Retry-After") == "" {
		t.Errorf("got %s, Retry-After %q", got, a.Header.Get("Retry-After"))
	}
	if got := said(jwtGet(t, addr, "/users/")); got != "401 jwt_missing [Bearer]" {
		t.Errorf("without a token: %s", got)
	}
	if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer rubbish")); !strings.HasPrefix(got, "401 jwt_malformed") {
		t.Errorf("rubbish: %s", got)
	}
	if n, err := p.Metric("yumen_guard_number", `guard="users"`, `number="key_fetch_failures"`); err != nil || n == 0 {
		t.Errorf("%v failures are told: %v", n, err)
	}
	issuer.setDown(false)
	gateway.Eventually(t, patience, "the keys are had", func() error {
		if got := said(jwtGet(t, addr, "/users/", token)); got != "200" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	issuer.setDown(true)
	if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer "+mint(t, key, nil))); got != "200" {
		t.Errorf("down again: %s", got)
	}
}

// Keys come and go while clients send: a new key is had when it is first used, an old one goes, and no good token is refused.
// Then all other settings change, again and again.
func TestRotationAndChangesUnderLoadFailNoRequest(t *testing.T) {
	first, second := newECKey(t, "first"), newECKey(t, "second")
	issuer := newTokenIssuer(t, first)
	addr, upstream := gateway.FreeAddr(t), echoUpstream(t)
	const asked = ", unknown_kid_interval: 1s"
	document := func(n int) string {
		return jwtDocument(addr, upstream, issuer.source(asked), "users", fmt.Sprintf(", headers: {X-User: sub, X-Tenant: org.tenant}, clock_skew: %ds", 10+n)) +
			fmt.Sprintf("- {name: generation, path: /generation, respond: {status: 200, body: \"%d\"}}\n", n)
	}
	p := gateway.Start(t, document(0), gateway.Options{})
	var signs atomic.Pointer[jose.JSONWebKey]
	signs.Store(&first)
	var fixed [4]string // half of the requests come with a token that was seen before
	for i := range fixed {
		fixed[i] = mint(t, first, claims{"jti": i})
	}
	var known atomic.Pointer[[4]string]
	known.Store(&fixed)
	load := gateway.Load{Addr: addr, Clients: 4,
		Request: func(client, n int) string {
			token := known.Load()[client]
			if n%2 == 0 {
				token = mint(t, *signs.Load(), claims{"jti": fmt.Sprint(client, "-", n)})
			}
			return "GET /users/ HTTP/1.1\r\nHost: exam.test\r\nAuthorization: Bearer " + token + "\r\n\r\n"
		},
		Check: func(_, _ int, a *gateway.Answer) error {
			if got := said(a); got != "200 X-User=alice X-Tenant=t1" {
				return fmt.Errorf("%s", got)
			}
			return nil
		},
	}.Start(0)
	more := func(n int) {
		t.Helper()
		from := load.Done()
		gateway.Eventually(t, patience, "the load goes on", func() error {
			if load.Done() < from+n {
				return fmt.Errorf("%d of %d", load.Done()-from, n)
			}
			return nil
		})
	}
	more(100)
	issuer.publish(first, second)
	signs.Store(&second)
	more(100)
	for i := range fixed {
		fixed[i] = mint(t, second, claims{"jti": -i})
	}
	renewed := fixed
	known.Store(&renewed)
	more(100)
	for n := 1; n <= 10; n++ {
		p.WriteConfig(document(n))
		gateway.Eventually(t, patience, "the change is in force", func() error {
			if got := jwtGet(t, addr, "/generation").Body; got != fmt.Sprint(n) {
				return fmt.Errorf("still %s", got)
			}
			return nil
		})
		more(20)
	}
	tally := load.Stop()
	t.Logf("%v", tally)
	if tally.Failures() > 0 {
		t.Error("good tokens were refused")
	}

	// The old key goes: what it signed is worth nothing any more, known or not.
	old := mint(t, first, nil)
	if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer "+old)); !strings.HasPrefix(got, "200") {
		t.Fatal(got)
	}
	issuer.publish(second)
	gateway.Eventually(t, patience, "the old key is gone", func() error {
		// An unknown name causes the fetch.
		jwtGet(t, addr, "/users/", "Authorization: Bearer "+mint(t, newECKey(t, rand.Text()), nil))
		if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer "+old)); !strings.HasPrefix(got, "401 jwt_unknown_key") {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer "+mint(t, second, nil))); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
}

// A flood of tokens with invented keys is answered, and the issuer does not notice.
func TestInventedKeysDoNotReachTheIssuer(t *testing.T) {
	key, other := newECKey(t, "a"), newECKey(t, "other")
	issuer := newTokenIssuer(t, key)
	addr := gateway.FreeAddr(t)
	gateway.Start(t, jwtDocument(addr, echoUpstream(t), issuer.source(", unknown_kid_interval: 1h"), "users", ""), gateway.Options{})
	good := mint(t, key, nil)
	if got := said(jwtGet(t, addr, "/users/", "Authorization: Bearer "+good)); got != "200" {
		t.Fatal(got)
	}
	tally := gateway.Load{Addr: addr, Clients: 8,
		Request: func(client, n int) string {
			if n%10 == 0 {
				return "GET /users/ HTTP/1.1\r\nHost: exam.test\r\nAuthorization: Bearer " + good + "\r\n\r\n"
			}
			o := other
			o.KeyID = rand.Text()
			return "GET /users/ HTTP/1.1\r\nHost: exam.test\r\nAuthorization: Bearer " + mint(t, o, nil) + "\r\n\r\n"
		},
		Check: func(_, n int, a *gateway.Answer) error {
			want := `401 jwt_unknown_key [Bearer error="invalid_token"]`
			if n%10 == 0 {
				want = "200"
			}
			if got := said(a); got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		},
	}.Run(2000)
	if tally.Failures() > 0 {
		t.Errorf("%v", tally)
	}
	if n := issuer.requests.Load(); n > 4 { // the first, two for unknown names, and one that was on its way
		t.Errorf("the issuer was asked %d times", n)
	}
}

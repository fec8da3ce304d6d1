package chain_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/yumen-io/yumen/kit/app/chain"
)

// ask has one Authenticator judge a request of HTTP.
func ask(t testing.TB, a chain.Authenticator, r *http.Request) (string, *chain.Principal) {
	t.Helper()
	var p *chain.Principal
	c := must(t, chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{a}}})
	w := httptest.NewRecorder()
	c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p = chain.PrincipalOf(r.Context()) })).ServeHTTP(w, r)
	if w.Code == 200 {
		return "200", p
	}
	return fmt.Sprint(w.Code, " ", reasonIn(w.Body.String())), p
}

func request(fields ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestAPIKeys(t *testing.T) {
	in := func(field string) chain.Authenticator {
		a, err := chain.APIKeys(chain.APIKeysConfig{Field: field, Keys: []chain.APIKey{{SHA256: chain.HashAPIKey(key), Principal: chain.Principal{ID: "acme"}}},
			Lookup: func(_ context.Context, sum [32]byte) (*chain.Principal, error) {
				switch fmt.Sprintf("%x", sum) {
				case chain.HashAPIKey("from the table"):
					return &chain.Principal{ID: "other"}, nil
				case chain.HashAPIKey("from no table"):
					return nil, errors.New("the database is gone")
				}
				return nil, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		field string
		r     *http.Request
		want  string
		id    string
	}{
		{"", request("x-api-key: " + key), "200", "acme"},
		{"", request("x-api-key: from the table"), "200", "other"},
		{"", request("x-api-key: from no table"), "503 auth_unavailable", ""},
		{"", request("x-api-key: "), "401 api_key_unknown", ""},
		{"", request("x-api-key: "+key, "x-api-key: "+key), "400 api_key_ambiguous", ""},
		{"", request(), "401 credentials_missing", ""},
		{"authorization", request("authorization: APIKEY  " + key), "200", "acme"},
		{"authorization", request("authorization: Bearer " + key), "401 credentials_missing", ""},
	} {
		got, p := ask(t, in(c.field), c.r)
		id := ""
		if p != nil {
			id = p.ID
		}
		if got != c.want || id != c.id {
			t.Errorf("%v: got %s %q, want %s %q", c.r.Header, got, id, c.want, c.id)
		}
	}
}

func TestTheGatewaysWordByASecret(t *testing.T) {
	g, err := chain.GatewayIdentity(chain.GatewayConfig{Secrets: []string{"the old secret..", "the new secret.."}, Claims: map[string]string{"plan": "x-user-plan"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r    *http.Request
		want string
	}{
		{request("x-user-id: 7", "x-user-scopes: a b,c", "x-user-plan: gold", "x-gateway-secret: the new secret.."), "200 {7 gateway [a b c] map[plan:gold]}"},
		{request("x-user-id: 7", "x-gateway-secret: the old secret.."), "200 {7 gateway [] map[]}"},
		{request("x-user-id: 7"), "401 gateway_not_proved"},
		{request("x-user-plan: gold"), "401 gateway_not_proved"},
		{request("x-user-id: 7", "x-gateway-secret: the wrong secret"), "401 gateway_not_proved"},
		{request("x-user-id: 7", "x-user-id: 8", "x-gateway-secret: the new secret.."), "401 gateway_not_proved"},
		{request("x-user-id: "+strings.Repeat("7", 513), "x-gateway-secret: the new secret.."), "401 gateway_not_proved"},
		{request("x-user-scopes: a", "x-gateway-secret: the new secret.."), "401 credentials_missing"},
		{request("x-gateway-secret: the new secret.."), "401 credentials_missing"},
	} {
		got, p := ask(t, g, c.r)
		if p != nil {
			got += fmt.Sprintf(" %v", *p)
		}
		if got != c.want {
			t.Errorf("%v: got %s, want %s", c.r.Header, got, c.want)
		}
	}
}

// authority signs certificates of servers and clients.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, a.cert = a.sign("ca", true)
	return a
}

func (a *authority) sign(name string, ca bool) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer = template, k
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return k, cert
}

func (a *authority) pair(name string) tls.Certificate {
	k, cert := a.sign(name, false)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: k, Leaf: cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func TestTheGatewaysWordByItsCertificate(t *testing.T) {
	g, err := chain.GatewayIdentity(chain.GatewayConfig{Certificates: []string{"gateway"}})
	if err != nil {
		t.Fatal(err)
	}
	c := must(t, chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{g}}})
	ca := newAuthority(t)
	s := httptest.NewUnstartedServer(c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, chain.PrincipalOf(r.Context()).ID)
	})))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair("localhost")}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool()}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.StartTLS()
	defer s.Close()
	for _, one := range []struct {
		with []tls.Certificate
		want int
	}{
		{[]tls.Certificate{ca.pair("gateway")}, 200},
		{[]tls.Certificate{ca.pair("other-service")}, 401}, // known, and not the gateway
		{nil, 401},
	} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", Certificates: one.with}}
		r, _ := http.NewRequest("GET", s.URL, nil)
		r.Header.Set("X-User-Id", "7")
		resp, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.StatusCode != one.want {
			t.Errorf("got %d, want %d", resp.StatusCode, one.want)
		}
	}
}

// signer is an issuer.
type signer struct {
	t   testing.TB
	alg jose.SignatureAlgorithm
	kid string
	key any
	pub any
}

func newSigner(t testing.TB, alg jose.SignatureAlgorithm, kid string) *signer {
	t.Helper()
	s := &signer{t: t, alg: alg, kid: kid}
	switch alg {
	case jose.HS256:
		s.key = []byte("0123456789abcdef0123456789abcdef")
	case jose.RS256:
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		s.key, s.pub = k, k.Public()
	case jose.ES256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key, s.pub = k, k.Public()
	case jose.EdDSA:
		pub, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key, s.pub = k, pub
	}
	return s
}

func (s *signer) token(payload string) string {
	s.t.Helper()
	options := &jose.SignerOptions{}
	if s.kid != "" {
		options.WithHeader("kid", s.kid)
	}
	of, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, options)
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := of.Sign([]byte(payload))
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func set(t testing.TB, of ...*signer) []byte {
	t.Helper()
	list := jose.JSONWebKeySet{}
	for _, s := range of {
		list.Keys = append(list.Keys, jose.JSONWebKey{Key: s.pub, KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"})
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var jwtTime = time.Unix(1_800_000_000, 0)

const claims = `{"iss":"https://login","aud":["shop"],"sub":"7","exp":1800000060,"scope":"orders admin"}`

func TestTokens(t *testing.T) {
	secret, rs, es, ed := newSigner(t, jose.HS256, ""), newSigner(t, jose.RS256, "r"), newSigner(t, jose.ES256, "e"), newSigner(t, jose.EdDSA, "d")
	stranger := newSigner(t, jose.ES256, "e")
	unnamed := *es
	unnamed.kid = ""
	other := *es
	other.kid = "x"
	now := jwtTime
	make := func(cfg chain.JWTConfig) chain.Authenticator {
		t.Helper()
		cfg.Issuer, cfg.Audience, cfg.Clock = "https://login", []string{"shop", "till"}, func() time.Time { return now }
		a, err := chain.JWT(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	public := make(chain.JWTConfig{Keys: set(t, rs, es, ed)})
	shared := make(chain.JWTConfig{Secret: secret.key.([]byte)})
	confused := *secret
	confused.key = set(t, rs) // the public key, which all know, as the secret of an HMAC
	confused.kid = "r"
	with := func(old, new string) string { return strings.Replace(claims, old, new, 1) }
	for _, c := range []struct {
		name  string
		a     chain.Authenticator
		token string
		want  string
	}{
		{"RS256", public, rs.token(claims), "200"},
		{"ES256", public, es.token(claims), "200"},
		{"ES256 again, from memory", public, es.token(claims), "200"},
		{"EdDSA", public, ed.token(claims), "200"},
		{"HS256", shared, secret.token(claims), "200"},
		{"no kid", public, unnamed.token(claims), "200"},
		{"HS256 with a public key", public, confused.token(claims), "401 jwt_malformed"},
		{"RS256 to a secret", shared, rs.token(claims), "401 jwt_malformed"},
		{"alg none", public, "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.", "401 jwt_malformed"},
		{"text", public, "abc", "401 jwt_malformed"},
		{"another's signature", public, stranger.token(claims), "401 jwt_signature"},
		{"unknown key", public, other.token(claims), "401 jwt_unknown_key"},
		{"too long", public, strings.Repeat("a", 8<<10+1), "401 jwt_too_large"},
		{"issuer", public, es.token(with("https://login", "https://l0gin")), "401 jwt_issuer"},
		{"audience", public, es.token(with("shop", "bank")), "401 jwt_audience"},
		{"expired", public, es.token(with("1800000060", "1799999969")), "401 jwt_expired"},
		{"expired within the leeway", public, es.token(with("1800000060", "1799999971")), "200"},
		{"not yet", public, es.token(with(`"exp"`, `"nbf":1800000040,"exp"`)), "401 jwt_not_yet_valid"},
		{"no exp", public, es.token(with(`"exp":1800000060,`, "")), "401 jwt_claim"},
		{"no sub", public, es.token(with(`"sub":"7",`, "")), "401 jwt_claim"},
		{"two subs", public, es.token(with(`"sub":"7"`, `"sub":"7","sub":"8"`)), "401 jwt_malformed"},
	} {
		got, p := ask(t, c.a, request("Authorization: Bearer "+c.token))
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if p != nil && (p.ID != "7" || p.By != "jwt" || !p.HasScope("admin") || p.Claims["iss"] != "https://login") {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	if got, _ := ask(t, public, request("Authorization: Bearer a", "Authorization: Bearer b")); got != "400 jwt_ambiguous" {
		t.Error(got)
	}
	token := es.token(claims)
	if got, _ := ask(t, public, request("Authorization: Bearer "+token)); got != "200" {
		t.Error(got)
	}
	now = now.Add(91 * time.Second)
	if got, _ := ask(t, public, request("Authorization: bearer "+token)); got != "401 jwt_expired" { // memory does not outlive it
		t.Error(got)
	}
}

// An issuer changes its keys, cannot be reached, and comes back.
func TestKeysThatChange(t *testing.T) {
	first, second := newSigner(t, jose.ES256, "1"), newSigner(t, jose.ES256, "2")
	var served atomic.Pointer[[]byte]
	var fetches atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		if b := served.Load(); b != nil {
			w.Write(*b)
			return
		}
		w.WriteHeader(503)
	}))
	defer issuer.Close()
	defer http.DefaultClient.CloseIdleConnections()
	serve := func(b []byte) { served.Store(&b) }
	var at atomic.Int64
	log := &lines{}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	a, err := chain.JWT(chain.JWTConfig{Issuer: "https://login", Audience: []string{"shop"}, URL: issuer.URL, Client: &http.Client{Transport: tr},
		Logger: slog.New(slog.NewJSONHandler(log, nil)), Clock: func() time.Time { return jwtTime.Add(time.Duration(at.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	wants := func(s *signer, want string) {
		t.Helper()
		payload := strings.Replace(claims, "1800000060", "1900000000", 1)
		if got, _ := ask(t, a, request("Authorization: Bearer "+s.token(payload))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	wants(first, "503 jwt_no_keys")
	wants(first, "503 jwt_no_keys") // not asked again within a second
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	at.Add(int64(time.Second))
	serve(set(t, first))
	wants(first, "200")
	wants(first, "200")
	wants(second, "401 jwt_unknown_key") // no fetch: the last was just now
	if n := fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	at.Add(int64(30 * time.Second))
	serve(set(t, second))
	wants(second, "200")
	wants(first, "401 jwt_unknown_key") // also what was remembered of it
	served.Store(nil)
	at.Add(int64(11 * time.Minute))
	wants(second, "200") // with the keys that there are; the fetch is beside it
	for fetches.Load() < 4 {
		select {
		case <-t.Context().Done():
			t.Fatal("no fetch")
		default:
			wants(second, "200")
		}
	}
}

func TestWrongAuthenticators(t *testing.T) {
	es := newSigner(t, jose.ES256, "e")
	keyErr := func(cfg chain.APIKeysConfig) error { _, err := chain.APIKeys(cfg); return err }
	gateway := func(cfg chain.GatewayConfig) error { _, err := chain.GatewayIdentity(cfg); return err }
	token := func(cfg chain.JWTConfig) error {
		cfg.Issuer, cfg.Audience = "i", []string{"a"}
		_, err := chain.JWT(cfg)
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{keyErr(chain.APIKeysConfig{}), "chain: APIKeys: there are neither Keys nor a Lookup, so that nobody could call"},
		{keyErr(chain.APIKeysConfig{Keys: []chain.APIKey{{SHA256: "abc"}}}), "chain: APIKeys: Keys[0].SHA256: it must have 64 hexadecimal digits"},
		{gateway(chain.GatewayConfig{}), "chain: GatewayIdentity: without Certificates or Secrets everybody could say who they are"},
		{gateway(chain.GatewayConfig{Secrets: []string{"short"}}), "chain: GatewayIdentity: Secrets[0]: it has 5 bytes, fewer than 16"},
		{token(chain.JWTConfig{}), "chain: JWT: one of Secret, Keys and URL is needed, and there are 0"},
		{token(chain.JWTConfig{Secret: []byte("short")}), "chain: JWT: Secret: it has 5 bytes, fewer than 32"},
		{token(chain.JWTConfig{Keys: set(t, es), Algorithms: []string{"HS256"}}), "chain: JWT: Algorithms: HS256 does not go with what there is of keys"},
		{token(chain.JWTConfig{Keys: set(t, es), Algorithms: []string{"none"}}), `chain: JWT: Algorithms: "none" is none`},
		{token(chain.JWTConfig{Keys: []byte(`{"keys":[]}`)}), "chain: JWT: Keys: it has no public key that can be used"},
		{token(chain.JWTConfig{URL: "issuer"}), `chain: JWT: URL: "issuer" is not like https://issuer.example/keys`},
		{token(chain.JWTConfig{Keys: set(t, es), Leeway: time.Hour}), "chain: JWT: Leeway: 1h0m0s is not between 0 and 5m0s"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("got %v, want %s", c.err, c.want)
		}
	}
}

func FuzzTokens(f *testing.F) {
	es := newSigner(f, jose.ES256, "e")
	a, err := chain.JWT(chain.JWTConfig{Issuer: "https://login", Audience: []string{"shop"}, Keys: set(f, es), Clock: func() time.Time { return jwtTime }})
	if err != nil {
		f.Fatal(err)
	}
	good := es.token(claims)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.")
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, token string) {
		r := request()
		r.Header.Set("Authorization", "Bearer "+token)
		if got, _ := ask(t, a, r); got == "200" && !strings.HasPrefix(strings.TrimLeft(token, " "), good[:strings.LastIndexByte(good, '.')]) {
			t.Errorf("%q passes", token)
		}
	})
}

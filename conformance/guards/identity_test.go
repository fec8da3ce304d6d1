//go:build linux

package guards

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
	"golang.org/x/crypto/bcrypt"
)

const (
	acmeKey  = "0123456789abcdef-acme"
	betaKey  = "0123456789abcdef-beta"
	password = "open sesame, it is me"
)

// told answers with what an upstream is told of who asks, and with what it should not be told.
func told(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://upstream.test")
		body, err := io.ReadAll(r.Body)
		var said []string
		if r.URL.RawQuery != "" {
			said = append(said, r.URL.RawQuery)
		}
		for _, name := range []string{"X-Consumer", "X-Plan", "X_Consumer", "X-Api-Key", "Cookie", "Authorization"} {
			for _, v := range r.Header[http.CanonicalHeaderKey(name)] {
				said = append(said, name+"="+v)
			}
		}
		if len(body) > 0 || err != nil {
			said = append(said, fmt.Sprintf("body=%s %v", body, err))
		}
		_, _ = io.WriteString(w, strings.Join(said, " "))
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func sumOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// outcome is what an answer says: its status and what the upstream was told, or why it was refused.
func outcome(t *testing.T, resp *http.Response) string {
	t.Helper()
	if reason := resp.Header.Get("X-Yumen-Reason"); reason != "" {
		return fmt.Sprint(resp.StatusCode, " ", reason)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", string(body)))
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	keys := write(t, filepath.Join(dir, "keys"), "acme sha256:"+sumOf(acmeKey)+" plan=gold\n")
	users := write(t, filepath.Join(dir, "users"), "alice:"+string(hash)+"\n")
	blocked := write(t, filepath.Join(dir, "blocked"), "192.0.2.0/24\n")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
trust: {forwarded_from: 127.0.0.0/8}
access_log: {path: %s, fields: [path, query, status, reason, guard, shadow]}
clusters: {app: {endpoints: [%q]}}
filters:
  keys: {api_key: {file: %s, keys: {beta: {key: "${BETA_KEY}"}}, headers: {X-Consumer: sub, X-Plan: plan}}}
  asked: {api_key: {file: %s, from: {query: key, cookie: key, header: Authorization}, headers: {X-Consumer: sub}}}
  people: {basic_auth: {users: %s, headers: {X-Consumer: sub}, realm: staff}}
routes:
  - {path: /office, cluster: app, filters: [ip: {allow: [10.0.0.0/8, "2001:db8::/32"], deny: 10.1.0.0/16}]}
  - {path: /open, cluster: app, filters: [ip: {deny_files: %s}]}
  - {path: /watched, cluster: app, filters: [ip: {deny_files: %s, mode: shadow}]}
  - {path: /keys, cluster: app, filters: [keys]}
  - {path: /asked, cluster: app, filters: [asked]}
  - {path: /kept, cluster: app, filters: [api_key: {file: %s, forward: on}]}
  - {path: /people, cluster: app, filters: [people]}
  - {path: /pages, cluster: app, filters: [cors: {origins: [https://a.test, "https://*.b.test"], methods: [GET, PUT], credentials: on}, keys]}
  - {path: /anypage, cluster: app, filters: [cors: {origins: "*"}]}
`, addr, filepath.Join(dir, "access"), told(t), keys, keys, users, blocked, blocked, keys), gateway.Options{ExtraEnv: []string{"BETA_KEY=" + betaKey}})
	c := plainClient(t)
	f := func(request, fields, want string) {
		t.Helper()
		if got := outcome(t, ask(t, c, addr, request, fields, nil)); got != want {
			t.Errorf("%s, %s: got %q, want %q", request, fields, got, want)
		}
	}

	f("GET /office", "X-Forwarded-For: 10.2.0.1", "200")
	f("GET /office", "X-Forwarded-For: ::ffff:10.2.0.1", "200")
	f("GET /office", "X-Forwarded-For: 10.1.0.1", "403 address_denied")
	f("GET /office", "X-Forwarded-For: 2001:db8::1", "200")
	f("GET /office", "X-Forwarded-For: 10.2.0.1, 192.0.2.1", "403 address_not_allowed") // a client's own word about itself
	f("GET /office", "", "403 address_not_allowed")
	f("GET /open", "", "200")
	f("GET /open", "X-Forwarded-For: 192.0.2.9", "403 address_denied")
	f("GET /watched", "X-Forwarded-For: 192.0.2.9", "200")

	f("GET /keys", "", "401 api_key_missing")
	f("GET /keys", "X-API-Key: nonsense", "401 api_key_unknown")
	f("GET /keys", "X-API-Key: "+acmeKey, "200 X-Consumer=acme X-Plan=gold")
	f("GET /keys", "X-API-Key: "+betaKey+"; X-Plan: platinum; X_Consumer: root; X-Consumer: root", "200 X-Consumer=beta")
	f("GET /keys", "X-API-Key: "+acmeKey+"; X-Api-Key: "+betaKey, "401 api_key_ambiguous")
	f("GET /keys", "X-API-Key: "+strings.Repeat("x", 600), "401 api_key_too_long")
	f("GET /asked?a=1&key="+acmeKey+"&b=2", "", "200 a=1&b=2 X-Consumer=acme")
	f("GET /asked", "Cookie: a=b; key="+acmeKey, "401 api_key_missing") // ask separates fields at "; "
	f("GET /asked", "Cookie: key="+acmeKey, "200 X-Consumer=acme")
	f("GET /asked", "Authorization: Bearer "+acmeKey, "200 X-Consumer=acme")
	f("GET /kept", "X-API-Key: "+acmeKey, "200 X-Api-Key="+acmeKey)

	f("GET /people", "", "401 credentials_missing")
	f("GET /people", "Authorization: Basic !", "401 credentials_malformed")
	f("GET /people", basic("alice", "wrong"), "401 credentials_wrong")
	f("GET /people", basic("nobody", password), "401 credentials_wrong")
	for range 3 { // computed, remembered
		f("GET /people", basic("alice", password), "200 X-Consumer=alice")
	}
	if got := ask(t, c, addr, "GET /people", "", nil).Header.Get("WWW-Authenticate"); got != `Basic realm="staff", charset="UTF-8"` {
		t.Errorf("the challenge is %s", got)
	}

	page := func(request, fields, want string) {
		t.Helper()
		resp := ask(t, c, addr, request, fields, nil)
		got := []string{fmt.Sprint(resp.StatusCode)}
		for _, name := range []string{"X-Yumen-Reason", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods", "Access-Control-Max-Age", "Vary"} {
			got = append(got, resp.Header.Values(name)...)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s, %s: got %v, want %s", request, fields, got, want)
		}
	}
	page("GET /pages", "X-API-Key: "+acmeKey, "200 Origin")
	page("GET /pages", "Origin: https://a.test; X-API-Key: "+acmeKey, "200 https://a.test true Origin")
	page("GET /pages", "Origin: https://evil.test; X-API-Key: "+acmeKey, "200 Origin")
	page("GET /pages", "Origin: https://x.b.test", "401 api_key_missing https://x.b.test true Origin") // a page may see why
	page("OPTIONS /pages", "Origin: https://a.test; Access-Control-Request-Method: PUT", "204 cors_preflight https://a.test true GET, PUT 600 Origin")
	page("OPTIONS /pages", "Origin: https://evil.test; Access-Control-Request-Method: PUT", "403 cors_origin Origin")
	page("OPTIONS /pages", "Origin: https://a.test; Access-Control-Request-Method: DELETE", "403 cors_method https://a.test true Origin")
	page("OPTIONS /pages", "Origin: https://a.test; Access-Control-Request-Method: PUT; Access-Control-Request-Headers: x-secret", "403 cors_header https://a.test true Origin")
	page("GET /anypage", "Origin: https://x.test", "200 *")

	// Files that change count at once, and one with a mistake does not count.
	changed := func(path, text, request, fields, want string) {
		t.Helper()
		write(t, path, text)
		gateway.Eventually(t, patience, want, func() error {
			if got := outcome(t, ask(t, c, addr, request, fields, nil)); got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	changed(keys, "other sha256:"+sumOf(acmeKey)+"\n", "GET /keys", "X-API-Key: "+acmeKey, "200 X-Consumer=other")
	changed(users, "# nobody\n", "GET /people", basic("alice", password), "401 credentials_wrong")
	changed(blocked, "127.0.0.1\n", "GET /open", "", "403 address_denied")
	write(t, blocked, "nonsense\n")
	gateway.Eventually(t, patience, "the mistake is told", func() error {
		if !strings.Contains(p.Log(), `\"nonsense\" is not a network`) {
			return errors.New("nothing is said")
		}
		return nil
	})
	f("GET /open", "", "403 address_denied")

	// What the log and the records say has no secret in it.
	_, decisions, err := p.AdminGet("/api/decisions?max=1000")
	if err != nil {
		t.Fatal(err)
	}
	gateway.Eventually(t, patience, "the access log is written", func() error {
		text, err := os.ReadFile(filepath.Join(dir, "access"))
		if err == nil && !strings.Contains(string(text), "/anypage") {
			err = errors.New("it is not complete")
		}
		for _, secret := range []string{acmeKey, betaKey, password, base64.StdEncoding.EncodeToString([]byte("alice:" + password))} {
			for where, text := range map[string]string{"access log": string(text), "log": p.Log(), "decisions": string(decisions)} {
				if strings.Contains(text, secret) {
					t.Errorf("the %s has %q", where, secret)
				}
			}
		}
		return err
	})
	var list []struct{ Guard, Kind, Mode, Outcome, Reason, Key string }
	if err := json.Unmarshal(decisions, &list); err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, d := range list {
		said[strings.Join([]string{d.Kind, d.Mode, d.Outcome, d.Reason, d.Key}, " ")] = true
	}
	for _, want := range []string{
		"ip shadow refused address_denied client=192.0.2.9", "ip enforce refused address_not_allowed client=127.0.0.1",
		"api_key enforce refused api_key_unknown client=127.0.0.1", "basic_auth enforce refused credentials_wrong client=127.0.0.1",
		"cors enforce refused cors_origin origin=https://evil.test",
	} {
		if !said[want] {
			t.Errorf("no decision %q in %v", want, said)
		}
	}
}

// A client that guesses has to pause; one that is right is not kept from it by others that wait for the same.
func TestWrongPasswords(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := write(t, filepath.Join(t.TempDir(), "users"), "alice:"+string(hash)+"\n")
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf("listen: %q\ntrust: {forwarded_from: 127.0.0.0/8}\nlimits: {loops: 1}\nroutes: [{path: /*, respond: 204, filters: [basic_auth: %s]}]\n", addr, users), gateway.Options{})
	c := plainClient(t)
	var got []string
	for i := range 8 {
		resp := ask(t, c, addr, "GET /", "X-Forwarded-For: 192.0.2.1; "+basic("alice", fmt.Sprint("guess", i)), nil)
		got = append(got, resp.Header.Get("X-Yumen-Reason"))
	}
	const wrong, pause = "credentials_wrong", "credentials_pause"
	if want := []string{wrong, wrong, wrong, wrong, wrong, wrong, pause, pause}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	answers := make(chan int, 20)
	for range cap(answers) {
		go func() {
			req, _ := http.NewRequest("GET", "http://"+addr+"/", nil)
			req.SetBasicAuth("alice", password)
			resp, err := c.Do(req)
			if err != nil {
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
	}
	for range cap(answers) {
		if status := <-answers; status != 204 {
			t.Errorf("somebody else got %d", status)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	site, ca, client := gateway.NewIdentity(t), filepath.Join(t.TempDir(), "clients.pem"), clientCertificate(t, "spiffe://mesh/ns/prod/web")
	write(t, ca, certificatePEM(client.Certificate[0]))
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listeners:
  - {name: web, address: %q, tls: {cert: %s, key: %s, client_certificates: {ca: %s, mode: optional}}}
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /open, cluster: app}
  - {path: /any, cluster: app, filters: [mtls: on]}
  - {path: /named, cluster: app, filters: [mtls: {uris: spiffe://mesh/ns/prod/*, headers: {X-Consumer: sub}}]}
  - {path: /other, cluster: app, filters: [mtls: {common_names: somebody}]}
  - {path: /shadow, cluster: app, filters: [mtls: {common_names: somebody, mode: shadow}]}
`, addr, site.CertFile, site.KeyFile, ca, told(t)), gateway.Options{})
	of := func(certificates ...tls.Certificate) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: site.Roots, ServerName: "localhost", Certificates: certificates},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: patience}
	}
	with, without := of(client), of()
	for _, c := range []struct {
		client *http.Client
		path   string
		want   string
	}{
		{without, "/open", "200"}, {without, "/any", "403 client_cert_missing"}, {without, "/named", "403 client_cert_missing"}, {without, "/shadow", "200 X-Consumer=root"},
		{with, "/any", "200 X-Consumer=root"}, {with, "/named", "200 X-Consumer=spiffe://mesh/ns/prod/web"}, {with, "/other", "403 client_cert_denied"}, {with, "/shadow", "200 X-Consumer=root"},
	} {
		req, _ := http.NewRequest("GET", "https://localhost"+c.path, nil)
		if c.path != "/open" {
			req.Header.Set("X-Consumer", "root")
		}
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		if got := outcome(t, resp); got != c.want {
			t.Errorf("%s: got %s, want %s", c.path, got, c.want)
		}
		resp.Body.Close()
	}
}

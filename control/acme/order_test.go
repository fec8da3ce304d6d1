package acme

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

func TestIssue(t *testing.T) {
	for _, challenge := range []Challenge{HTTP01, TLSALPN01} {
		t.Run(string(challenge), func(t *testing.T) {
			a := newAuthority(t, 0)
			s := newStage(t, a, t.TempDir(), func(c *Config) {
				c.Challenge = challenge
				c.Groups = [][]string{{"Site.test", "www.site.test"}, {"other.test"}}
			}).start()
			s.idle()
			for i, names := range [][]string{{"site.test", "www.site.test"}, {"other.test"}} {
				c := s.Certificates()[i]
				if c == nil {
					t.Fatalf("no certificate for %v: %s", names, s.said())
				}
				between := x509.NewCertPool()
				for _, der := range c.Certificate[1:] {
					x, err := x509.ParseCertificate(der)
					do(t, err)
					between.AddCert(x)
				}
				for _, name := range names {
					if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: a.Root(), Intermediates: between}); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				st := s.Statuses()[i]
				if st.State != StateReady || !st.NotAfter.Equal(c.Leaf.NotAfter) || st.LastError != nil {
					t.Errorf("status %+v", st)
				}
			}
			if n := a.site.answered.Load(); n != 3*3 { // Pebble asks three times about each name
				t.Errorf("%d answers", n)
			}
			if n := a.site.left(); n != 0 {
				t.Errorf("%d answers were not removed", n)
			}
			if o, acc := a.Orders.Load(), a.Accounts.Load(); o != 2 || acc != 1 {
				t.Errorf("%d orders, %d accounts", o, acc)
			}
			<-s.changed
			if all := <-s.changed; all[0] == nil || all[1] == nil {
				t.Error("called back without a certificate")
			}
			if !strings.Contains(s.said(), "terms=data:") {
				t.Errorf("the terms are not in the log: %s", s.said())
			}
		})
	}
}

// A fifth of all good nonces is refused (RFC 8555, 6.5): requests are repeated, orders are not.
func TestBadNonces(t *testing.T) {
	a := newAuthority(t, 20)
	s := newStage(t, a, t.TempDir(), func(c *Config) { c.Groups = [][]string{{"a.test", "b.test"}, {"c.test"}, {"d.test"}} }).start()
	s.idle()
	for _, st := range s.Statuses() {
		if st.State != StateReady {
			t.Errorf("status %+v", st)
		}
	}
	if s.said() == "" || strings.Contains(s.said(), "ERROR") {
		t.Error(s.said())
	}
}

func TestDirectoryNobodyVouchesFor(t *testing.T) {
	a := newAuthority(t, 0)
	s := newStage(t, a, t.TempDir(), func(c *Config) { c.Roots = x509.NewCertPool() }).start()
	s.idle()
	s.want(StateFailing, 1, "is signed by nobody trusted here", "name the roots of a private authority")
	if a.Orders.Load()+a.Accounts.Load() > 0 {
		t.Error("something was asked of it")
	}
}

// The error says which name failed, how and why; the other name's proof is not mentioned.
func TestChallengeThatFails(t *testing.T) {
	for _, c := range []struct {
		name      string
		challenge Challenge
		names     []string
		spoil     func(*Config)
		want      []string
	}{
		{"nothing answers", HTTP01, []string{"good.test", "bad.test"}, func(c *Config) {
			real, n := c.Answers.SetHTTP01, 0
			c.Answers.SetHTTP01 = func(token, keyAuth string) {
				if n++; n == 1 {
					real(token, keyAuth)
				}
			}
		}, []string{"could not verify", ".test by http-01: does port 80 of that name lead to this gateway", "404"}},
		{"wrong answer", HTTP01, []string{"bad.test"}, func(c *Config) {
			real := c.Answers.SetHTTP01
			c.Answers.SetHTTP01 = func(token, keyAuth string) { real(token, "hello") }
		}, []string{"could not verify bad.test by http-01", "did not match"}},
		{"no handshake", TLSALPN01, []string{"bad.test"}, func(c *Config) {
			c.Answers.SetTLSALPN01 = func(string, *tls.Certificate) {}
		}, []string{"could not verify bad.test by tls-alpn-01: does port 443"}},
		{"no address", TLSALPN01, []string{"nowhere.test"}, nil, []string{"could not verify nowhere.test by tls-alpn-01", "resolve"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, 0)
			s := newStage(t, a, t.TempDir(), func(cfg *Config) {
				cfg.Challenge, cfg.Groups = c.challenge, [][]string{c.names}
				if c.spoil != nil {
					c.spoil(cfg)
				}
			}).start()
			s.idle()
			s.want(StateFailing, 1, c.want...)
			if n := strings.Count(s.Statuses()[0].LastError.Error(), "could not verify"); n != 1 {
				t.Errorf("%d names are said to have failed: %v", n, s.Statuses()[0].LastError)
			}
			if n := a.site.left(); n != 0 {
				t.Errorf("%d answers were not removed", n)
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	a := newAuthority(t, 0)
	a.answerBefore(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		w.Header().Set("Retry-After", "90000")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"5 certificates for site.test this week"}`)
		return true
	})
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	s.want(StateFailing, 1, "the authority's rate limit is reached", "5 certificates for site.test this week")
	if next := s.Statuses()[0].NextAttempt; next != s.now().Add(90000*time.Second) {
		t.Errorf("next attempt after %v", next.Sub(s.now()))
	}
}

// Stop ends an order in the middle, removes its answers and gives the lease back.
func TestStopInAnOrder(t *testing.T) {
	a := newAuthority(t, 0)
	asked, over := make(chan struct{}, 100), make(chan struct{})
	defer close(over)
	a.answerBefore(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/chalZ/") {
			return false
		}
		asked <- struct{}{}
		<-over
		return true
	})
	s := newStage(t, a, t.TempDir(), nil).make()
	s.Start()
	<-asked
	if a.site.left() != 1 {
		t.Error("no answer is set")
	}
	s.Stop()
	if a.site.left() != 0 {
		t.Error("the answer stays")
	}
	s.want(StateOrdering, 0)
	do(t, (&lease{s.lease.path, "another"}).take(s.now()))
}

func TestAnswerTooLong(t *testing.T) {
	a := newAuthority(t, 0)
	a.answerBefore(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Write([]byte(`{"newOrder":"`))
		w.Write(bytes.Repeat([]byte("x"), answerBytesMax))
		return true
	})
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	s.want(StateFailing, 1, "longer than 1 MB", "is "+a.Directory()+" an ACME directory?")
}

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		token string
		good  bool
	}{
		{"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", true}, {"a_-", true}, {"", false}, {"a/b", false}, {"../a", false}, {"a b", false},
		{"a%2f", false}, {strings.Repeat("a", tokenBytesMax), true}, {strings.Repeat("a", tokenBytesMax+1), false},
	} {
		if err := checkToken(c.token); (err == nil) != c.good {
			t.Errorf("%q: %v", c.token, err)
		}
	}
}

// What an authority may say that makes no sense. Nothing of it is followed; nothing is asked twice.
func TestAnswersThatMakeNoSense(t *testing.T) {
	stranger, err := StandIn([]string{"site.test"}, time.Now())
	do(t, err)
	for _, c := range []struct {
		name, path, answer, want string
	}{
		{"a proof about another name", "/authZ/", `{"status":"pending","identifier":{"type":"dns","value":"bank.test"}}`, `a proof about "bank.test", which was not ordered`},
		{"no such challenge", "/authZ/", `{"status":"pending","identifier":{"type":"dns","value":"site.test"},"challenges":[{"type":"dns-01"}]}`,
			"prove that site.test leads here: the authority offers dns-01, and not http-01"},
		{"a path for a token", "/authZ/", `{"status":"pending","identifier":{"type":"dns","value":"site.test"},"challenges":[{"type":"http-01","token":"../x"}]}`,
			`token "../x" is none`},
		{"a proof that expired", "/authZ/", `{"status":"expired","identifier":{"type":"dns","value":"site.test"}}`, "proof about site.test is expired"},
		{"no JSON", "/authZ/", `<html>`, "ask what to prove"},
		{"too many proofs", "/order-plz", `{"status":"pending","authorizations":["https://a.test/1","https://a.test/2"]}`, "asks for 2 proofs about 1 names"},
		{"somebody else's certificate", "/certZ/", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.Certificate[0]})),
			"what the authority issued cannot be used: the key in the order does not belong"},
		{"no certificate", "/certZ/", "hello", "certificate chain is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, 0)
			a.answerBefore(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, c.path) {
					return false
				}
				if c.path == "/order-plz" {
					w.WriteHeader(http.StatusCreated)
				}
				w.Write([]byte(c.answer))
				return true
			})
			s := newStage(t, a, t.TempDir(), nil).start()
			s.idle()
			s.want(StateFailing, 1, c.want)
			if n := a.site.left(); n != 0 {
				t.Errorf("%d answers were not removed", n)
			}
			if s.Certificates()[0] != nil || len(s.changed) > 0 {
				t.Error("there is a certificate")
			}
		})
	}
}

func TestProblemsInPlainWords(t *testing.T) {
	m := &Manager{cfg: Config{Directory: "https://ca.test/dir", Email: "me@site.test"}}
	for _, c := range []struct {
		problem acme.Error
		want    string
	}{
		{acme.Error{ProblemType: "urn:ietf:params:acme:error:userActionRequired", Instance: "https://ca.test/terms"}, "accept its new terms, at https://ca.test/terms"},
		{acme.Error{ProblemType: "urn:ietf:params:acme:error:rejectedIdentifier"}, "gives no certificate for one of the names"},
		{acme.Error{ProblemType: "urn:ietf:params:acme:error:caa"}, "CAA record"},
		{acme.Error{ProblemType: "urn:ietf:params:acme:error:invalidContact"}, `does not take the email "me@site.test"`},
		{acme.Error{ProblemType: "urn:ietf:params:acme:error:serverInternal", StatusCode: 500}, "trouble of its own"},
		{acme.Error{StatusCode: 503, Detail: "Service busy"}, "trouble of its own: open the order: 503 : Service busy"},
		{acme.Error{StatusCode: 400, Detail: "malformed"}, "open the order: 400 : malformed"},
	} {
		err := m.plain(fmt.Errorf("open the order: %w", &c.problem))
		var cause *acme.Error
		if !strings.Contains(err.Error(), c.want) || !errors.As(err, &cause) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

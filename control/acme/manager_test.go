package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// stage is a Manager whose clock the test plays.
type stage struct {
	t *testing.T
	*Manager
	config  Config
	changed chan []*tls.Certificate
	waits   chan time.Duration // how long the manager wants to wait: it has nothing to do now
	ticks   chan time.Time

	mu struct {
		sync.Mutex
		now time.Time
		log bytes.Buffer
	}
}

func (s *stage) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.log.Write(p)
}

func (s *stage) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.log.String()
}

func (s *stage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.now
}

// newStage makes a stage that has not begun. The authority's clock is real and cannot be moved; here the time begins with
// it, and then passes as the test says.
func newStage(t *testing.T, a *authority, folder string, change func(*Config)) *stage {
	s := &stage{t: t, changed: make(chan []*tls.Certificate, 10), waits: make(chan time.Duration), ticks: make(chan time.Time)}
	s.mu.now = time.Now()
	s.config = Config{
		Directory: a.directory(), Roots: a.roots(), Email: "me@site.test", AcceptTerms: true, Folder: folder,
		Groups: [][]string{{"site.test"}}, Answers: a.site.answers(),
		Changed: func(list []*tls.Certificate) { s.changed <- list },
		Logger:  slog.New(slog.NewTextHandler(s, nil)),
		Clock:   Clock{Now: s.now, After: s.after, Random: func() float64 { return 0.5 }},
	}
	if change != nil {
		change(&s.config)
	}
	return s
}

// make makes the Manager.
func (s *stage) make() *stage {
	s.t.Helper()
	var err error
	s.Manager, err = New(s.config)
	do(s.t, err)
	s.pollMin = -time.Second // the library waits for no time then
	return s
}

// start starts it as well, and sees to its end.
func (s *stage) start() *stage {
	s.t.Helper()
	s.make()
	s.Start()
	s.t.Cleanup(s.Stop)
	return s
}

func (s *stage) after(d time.Duration) <-chan time.Time {
	select {
	case s.waits <- d:
	case <-s.ctx.Done():
	}
	return s.ticks
}

// idle waits until the manager has nothing to do, and returns for how long.
func (s *stage) idle() time.Duration {
	s.t.Helper()
	select {
	case d := <-s.waits:
		return d
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the manager does not come to an end: %+v\n%s", s.Statuses(), s.said())
		return 0
	}
}

// pass lets time pass for an idle manager.
func (s *stage) pass(d time.Duration) {
	s.mu.Lock()
	s.mu.now = s.mu.now.Add(d)
	s.mu.Unlock()
	s.ticks <- time.Time{}
}

// one is the certificate of the only group; it fails the test if there is none.
func (s *stage) one() *x509.Certificate {
	s.t.Helper()
	c := s.Certificates()[0]
	if c == nil {
		s.t.Fatalf("there is no certificate: %+v\n%s", s.Statuses(), s.said())
	}
	return c.Leaf
}

// want holds the state of the first group against what it should be, and its error.
func (s *stage) want(state State, failures int, lastError ...string) {
	s.t.Helper()
	st := s.Statuses()[0]
	if st.State != state || st.Failures != failures || (st.LastError == nil) != (len(lastError) == 0) {
		s.t.Fatalf("status %+v, want %s after %d failures\n%s", st, state, failures, s.said())
	}
	for _, w := range lastError {
		if !strings.Contains(st.LastError.Error(), w) {
			s.t.Errorf("error %v\nwant %s", st.LastError, w)
		}
	}
}

func TestIssue(t *testing.T) {
	for _, challenge := range []Challenge{HTTP01, TLSALPN01} {
		t.Run(string(challenge), func(t *testing.T) {
			a := newAuthority(t, "0")
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
					if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: a.root, Intermediates: between}); err != nil {
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
			if o, acc := a.orders.Load(), a.accounts.Load(); o != 2 || acc != 1 {
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

// Nobody but the owner may read what is kept.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	s := newStage(t, newAuthority(t, "0"), filepath.Join(t.TempDir(), "acme"), nil).start()
	s.idle()
	var names []string
	do(t, filepath.Walk(s.config.Folder, func(path string, info os.FileInfo, err error) error {
		do(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !info.IsDir() {
			names = append(names, filepath.Base(path))
		}
		return nil
	}))
	if got, want := fmt.Sprint(names), "[account.json account.key order.lock site.test-"; !strings.HasPrefix(got, want) || len(names) != 4 {
		t.Errorf("files %s", got)
	}
}

// A fifth of all good nonces is refused (RFC 8555, 6.5): requests are repeated, orders are not.
func TestBadNonces(t *testing.T) {
	a := newAuthority(t, "20")
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

func TestRenewal(t *testing.T) {
	a := newAuthority(t, "0")
	s := newStage(t, a, t.TempDir(), nil).start()
	if d := s.idle(); d != lookMax {
		t.Errorf("waits %v without a look at the clock", d)
	}
	first := s.one()
	due := s.Statuses()[0].NextAttempt
	if d := due.Sub(first.NotBefore); d < life*2/3 || d > life*2/3+life/20 {
		t.Errorf("renewal %v after it was issued", d)
	}
	s.pass(life*2/3 - time.Hour)
	s.idle()
	if !s.one().Equal(first) {
		t.Fatal("renewed too soon")
	}
	s.pass(due.Sub(s.now()))
	s.idle()
	second := s.one()
	if second.Equal(first) || a.orders.Load() != 2 || a.accounts.Load() != 1 {
		t.Errorf("%d orders, %d accounts; the same certificate: %v", a.orders.Load(), a.accounts.Load(), second.Equal(first))
	}
	if bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Error("the same key")
	}
	s.want(StateReady, 0)
	// By the clock here the new one is due already. It is not ordered again at once.
	if next := s.Statuses()[0].NextAttempt; next != s.now().Add(renewalPauseMax) {
		t.Errorf("next order %v after the last", next.Sub(s.now()))
	}
}

// A renewal that fails takes nothing away, is put off further and further, and made up for.
func TestRenewalThatFails(t *testing.T) {
	a := newAuthority(t, "0")
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	first := s.one()
	a.answerBefore(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no database", http.StatusInternalServerError)
		return true
	})
	s.pass(life * 7 / 10)
	for n, want := range []time.Duration{backoffMin + 2*time.Minute, backoffMin + 4*time.Minute, backoffMin + 8*time.Minute} {
		if d := s.idle(); d != want {
			t.Errorf("waits %v after %d failures, want %v", d, n+1, want)
		}
		s.want(StateFailing, n+1, "the authority has trouble of its own", "no database")
		if !s.one().Equal(first) {
			t.Fatal("the certificate is gone")
		}
		if n < 2 {
			s.pass(want)
		}
	}
	a.before.Store(nil)
	s.pass(time.Hour)
	s.idle()
	s.want(StateReady, 0)
	if s.one().Equal(first) {
		t.Error("not renewed")
	}
}

// A restart while the authority is down serves what is stored.
func TestAuthorityDownAtStart(t *testing.T) {
	a := newAuthority(t, "0")
	folder := t.TempDir()
	s := newStage(t, a, folder, nil).start()
	s.idle()
	stored := s.one()
	s.Manager.Stop()
	a.server.Close()
	again := newStage(t, a, folder, func(c *Config) { c.Groups = append(c.Groups, []string{"new.test"}) }).make()
	if !again.one().Equal(stored) {
		t.Error("another certificate")
	}
	again.want(StateReady, 0)
	again.Start()
	defer again.Stop()
	again.idle()
	again.want(StateReady, 0)
	st := again.Statuses()[1]
	if st.State != StateFailing || !strings.Contains(st.LastError.Error(), "cannot be reached") {
		t.Errorf("status %+v", st)
	}
}

func TestDirectoryNobodyVouchesFor(t *testing.T) {
	a := newAuthority(t, "0")
	s := newStage(t, a, t.TempDir(), func(c *Config) { c.Roots = x509.NewCertPool() }).start()
	s.idle()
	s.want(StateFailing, 1, "is signed by nobody trusted here", "name the roots of a private authority")
	if a.orders.Load()+a.accounts.Load() > 0 {
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
			a := newAuthority(t, "0")
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
	a := newAuthority(t, "0")
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

// Two processes of one folder, as during an upgrade: one orders, the other takes over what it got.
func TestTwoManagersIssueOnce(t *testing.T) {
	a := newAuthority(t, "0")
	folder := t.TempDir()
	inOrder, goOn := make(chan struct{}), make(chan struct{})
	a.answerBefore(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			inOrder <- struct{}{}
			<-goOn
		}
		return false
	})
	first := newStage(t, a, folder, nil).start()
	<-inOrder
	second := newStage(t, a, folder, nil).start()
	if d := second.idle(); d != leasePoll {
		t.Errorf("looks again after %v", d)
	}
	second.want(StateWaiting, 0)
	close(goOn)
	first.idle()
	second.pass(leasePoll)
	second.idle()
	second.want(StateReady, 0)
	if !first.one().Equal(second.one()) || a.orders.Load() != 1 || a.accounts.Load() != 1 {
		t.Errorf("%d orders, %d accounts", a.orders.Load(), a.accounts.Load())
	}
	if all := <-second.changed; !all[0].Leaf.Equal(first.one()) {
		t.Error("called back with another certificate")
	}
	// The renewal, too, is made once.
	a.before.Store(nil)
	due := first.Statuses()[0].NextAttempt
	first.pass(due.Sub(first.now()))
	first.idle()
	second.pass(due.Sub(second.now()))
	second.idle()
	if a.orders.Load() != 2 {
		t.Errorf("%d orders", a.orders.Load())
	}
}

// What a process left behind that died while ordering, or whose clock was wrong.
func TestLeaseOfTheDead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "order.lock")
	mine := &lease{path, "me"}
	for _, c := range []struct {
		text string
		free bool
	}{
		{"", true}, {"{}\n", true}, {"{\"owner\":", true},
		{`{"owner":"other","until":"2026-03-01T12:03:00Z"}`, false},
		{`{"owner":"other","until":"2026-03-01T12:00:00Z"}`, true},
		{`{"owner":"other","until":"2036-03-01T12:00:00Z"}`, true},
		{`{"owner":"me","until":"2026-03-01T12:03:00Z"}`, true},
	} {
		do(t, os.WriteFile(path, []byte(c.text), 0o600))
		err := mine.take(now)
		var leased *errLeased
		if (err == nil) != c.free || err != nil && (!errors.As(err, &leased) || leased.Owner != "other") {
			t.Errorf("%s: %v", c.text, err)
		}
		if err == nil {
			if err := (&lease{path, "you"}).take(now.Add(leaseTime - 1)); !errors.As(err, &leased) {
				t.Errorf("taken twice: %v", err)
			}
			do(t, (&lease{path, "you"}).release()) // not his to give back
			do(t, mine.take(now))
			do(t, mine.release())
			do(t, (&lease{path, "you"}).take(now))
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	a := newAuthority(t, "0")
	for _, c := range []struct {
		file             string
		text             string
		orders, accounts int32 // that it costs, with requests for an account that finds the one there is
		said             string
	}{
		{accountKeyFile, "hello", 1, 1, "the key of the ACME account is damaged"},
		{accountKeyFile, "", 1, 1, "the key of the ACME account is damaged"},
		{accountFile, "{", 1, 1, "the record of the ACME account is damaged"},
		{accountFile, `{"directory":"https://else.test","url":"https://else.test/1"}`, 1, 1, "the record of the ACME account is damaged"},
		{"order.lock", "\x00\x00", 1, 0, "issued"},
		{fileName([]string{"site.test"}), "hello", 1, 0, "a stored certificate cannot be used"},
		{fileName([]string{"site.test"}), "", 1, 0, "a stored certificate cannot be used"},
	} {
		t.Run(c.file, func(t *testing.T) {
			folder := t.TempDir()
			s := newStage(t, a, folder, nil).start()
			s.idle()
			s.Manager.Stop()
			orders, accounts := a.orders.Load(), a.accounts.Load()
			do(t, os.WriteFile(filepath.Join(s.store.path, c.file), []byte(c.text), 0o600))
			// Due, so that everything is needed.
			s = newStage(t, a, folder, nil)
			s.mu.now = s.mu.now.Add(life * 9 / 10)
			s.start()
			s.idle()
			s.want(StateReady, 0)
			if o, acc := a.orders.Load()-orders, a.accounts.Load()-accounts; o != c.orders || acc != c.accounts {
				t.Errorf("%d orders, %d accounts, want %d, %d", o, acc, c.orders, c.accounts)
			}
			if !strings.Contains(s.said(), c.said) {
				t.Errorf("said %s\nwant %s", s.said(), c.said)
			}
			if c.file != "order.lock" {
				if kept, err := os.ReadFile(filepath.Join(s.store.path, c.file+".damaged")); err != nil || string(kept) != c.text {
					t.Errorf("set aside: %q, %v", kept, err)
				}
			}
		})
	}
}

// An authority that has forgotten the account gets a new one, one that was deactivated a new key as well.
func TestAccountThatIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(a *authority, s *stage)
		said string
	}{
		{"forgotten", func(a *authority, _ *stage) { a.reset("0", false) }, "does not know the account"},
		{"deactivated", func(_ *authority, s *stage) {
			client := s.newClient()
			do(s.t, s.signIn(context.Background(), client))
			do(s.t, client.DeactivateReg(context.Background()))
			client.HTTPClient.CloseIdleConnections()
		}, "was deactivated or revoked"},
		{"deactivated, and its record lost", func(_ *authority, s *stage) {
			client := s.newClient()
			do(s.t, s.signIn(context.Background(), client))
			do(s.t, client.DeactivateReg(context.Background()))
			client.HTTPClient.CloseIdleConnections()
			do(s.t, os.Remove(filepath.Join(s.store.path, accountFile)))
		}, "was deactivated or revoked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, "0")
			s := newStage(t, a, t.TempDir(), nil).start()
			s.idle()
			first := s.one()
			c.lose(a, s)
			s.pass(life * 7 / 10)
			s.idle()
			s.want(StateReady, 0)
			if s.one().Equal(first) || !strings.Contains(s.said(), c.said) {
				t.Error(s.said())
			}
		})
	}
}

func TestExternalAccount(t *testing.T) {
	a := newAuthority(t, "0")
	a.reset("0", true)
	do(t, a.pebble.Load().db.AddExternalAccountKeyByID("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"))
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	s.want(StateFailing, 1, "asks for an external account")
	key := []byte{0xcd, 0x63, 0x43, 0x64, 0xce, 0x9e, 0x40, 0x61, 0xd6, 0xa5, 0x24, 0x53, 0x3d, 0xa9, 0x79, 0x78, 0x85, 0x18, 0x15, 0x3b, 0xbb, 0x11,
		0xa8, 0xd5, 0x22, 0x88, 0x2e, 0xca, 0xca, 0x99, 0xf7, 0x01, 0xb8, 0xe2, 0x73, 0x04, 0xb7, 0x1d, 0xcc, 0x50, 0x0b, 0x14, 0x0e, 0x43, 0x13, 0x43, 0x5d, 0x96}
	s = newStage(t, a, t.TempDir(), func(c *Config) { c.Binding = &Binding{KeyID: "kid-1", Key: key} }).start()
	s.idle()
	s.want(StateReady, 0)
}

// A new email reaches the authority with the next order.
func TestNewEmail(t *testing.T) {
	a := newAuthority(t, "0")
	folder := t.TempDir()
	s := newStage(t, a, folder, nil).start()
	s.idle()
	s.Manager.Stop()
	s = newStage(t, a, folder, func(c *Config) { c.Email, c.Groups = "you@site.test", [][]string{{"next.test"}} }).start()
	s.idle()
	s.want(StateReady, 0)
	client := s.newClient()
	do(t, s.signIn(context.Background(), client))
	reg, err := client.GetReg(context.Background(), "")
	do(t, err)
	client.HTTPClient.CloseIdleConnections()
	if fmt.Sprint(reg.Contact) != "[mailto:you@site.test]" {
		t.Errorf("contact %v", reg.Contact)
	}
}

// Stop ends an order in the middle, removes its answers and gives the lease back.
func TestStopInAnOrder(t *testing.T) {
	a := newAuthority(t, "0")
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
	a := newAuthority(t, "0")
	a.answerBefore(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Write([]byte(`{"newOrder":"`))
		w.Write(bytes.Repeat([]byte("x"), answerBytesMax))
		return true
	})
	s := newStage(t, a, t.TempDir(), nil).start()
	s.idle()
	s.want(StateFailing, 1, "longer than 1 MB", "is "+a.directory()+" an ACME directory?")
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	a := newAuthority(t, "0")
	folder := t.TempDir()
	do(t, os.WriteFile(filepath.Join(folder, "file"), nil, 0o600))
	if _, err := New(newStage(t, a, filepath.Join(folder, "file"), nil).config); err == nil || !strings.Contains(err.Error(), "make the folder for certificates") {
		t.Errorf("error %v", err)
	}
	s := newStage(t, a, folder, nil).make()
	do(t, os.RemoveAll(s.store.path))
	s.Start()
	defer s.Stop()
	s.idle()
	s.want(StateFailing, 1, "take the lease to order")
}

func TestStandIn(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c, err := StandIn([]string{"site.test", "www.site.test"}, now)
	do(t, err)
	if err := carries(c.Leaf, []string{"site.test", "www.site.test"}); err != nil {
		t.Error(err)
	}
	if d := c.Leaf.NotAfter.Sub(now); d != standInTime || c.Leaf.IsCA || !c.Leaf.NotBefore.Before(now) {
		t.Errorf("valid for %v, authority %v", d, c.Leaf.IsCA)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Directory = "http://ca.test/dir" }, "is no https URL"},
		{func(c *Config) { c.AcceptTerms = false }, "terms of service"},
		{func(c *Config) { c.Email = "me" }, "is no address"},
		{func(c *Config) { c.Email = "me@a.test?bcc=you@b.test" }, "is no address"},
		{func(c *Config) { c.Folder = "" }, "no folder"},
		{func(c *Config) { c.Groups = nil }, "0 groups"},
		{func(c *Config) { c.Groups = make([][]string, groupsMax+1) }, "1001 groups"},
		{func(c *Config) { c.Groups = [][]string{{}} }, "group 1 has 0 names"},
		{func(c *Config) { c.Groups = [][]string{make([]string, namesMax+1)} }, "101 names"},
		{func(c *Config) { c.Groups = [][]string{{"*.site.test"}} }, "is a wildcard: it needs the challenge dns-01"},
		{func(c *Config) { c.Groups = [][]string{{"10.0.0.1"}} }, "is an address"},
		{func(c *Config) { c.Groups = [][]string{{"localhost"}} }, "no public host name"},
		{func(c *Config) { c.Groups = [][]string{{"bücher.test"}} }, "xn-- form"},
		{func(c *Config) { c.Groups = [][]string{{"-a.test"}} }, "no host name"},
		{func(c *Config) { c.Groups = [][]string{{"a..test"}} }, "no host name"},
		{func(c *Config) { c.Groups = [][]string{{"a.test", "A.test"}} }, "named twice"},
		{func(c *Config) { c.Groups = [][]string{{"a.test", "b.test"}, {"b.test", "a.test"}} }, "same names"},
		{func(c *Config) { c.Challenge = "dns-01" }, `"dns-01" is unknown`},
		{func(c *Config) { c.Answers = Answers{} }, "nobody answers the challenge http-01"},
		{func(c *Config) { c.Challenge, c.Answers = TLSALPN01, Answers{} }, "nobody answers the challenge tls-alpn-01"},
	} {
		cfg := Config{AcceptTerms: true, Folder: t.TempDir(), Groups: [][]string{{"a.test"}}, Answers: (&site{}).answers()}
		if _, err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
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

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures int
		random   float64
		want     time.Duration
	}{
		{1, 0, backoffMin}, {1, 1, backoffMin + 4*time.Minute}, {2, 1, backoffMin + 8*time.Minute}, {6, 0.5, backoffMin + 64*time.Minute},
		{7, 1, backoffMin + backoffMax}, {16, 1, backoffMin + backoffMax}, {17, 1, backoffMin + backoffMax}, {1 << 40, 1, backoffMin + backoffMax},
	} {
		if got := backoff(c.failures, c.random); got != c.want {
			t.Errorf("after %d failures: %v, want %v", c.failures, got, c.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"5", 5 * time.Second}, {"-5", 0}, {"5s", 0}, {"4294967295", 4294967295 * time.Second}, {"99999999999999999999", 0},
		{"Sun, 01 Mar 2026 12:01:00 GMT", time.Minute}, {"Sun, 01 Mar 2026 11:00:00 GMT", 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.header)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q: %v, want %v", c.header, got, c.want)
		}
		if got := askedToWait(&acme.Error{Header: h}, now); got != min(c.want, waitMax) {
			t.Errorf("%q: asked to wait %v", c.header, got)
		}
	}
}

func FuzzStoredFiles(f *testing.F) {
	_, key, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key)
	f.Add([]byte(`{"directory":"https://a.test/dir","url":"https://a.test/1"}`))
	f.Add([]byte(`{"owner":"x","until":"2026-03-01T12:03:00Z"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := parseAccountKey(text); (k == nil) == (err == nil) {
			t.Errorf("key %v, error %v", k, err)
		}
		if a, err := parseAccount(text, "https://a.test/dir"); err == nil && !strings.HasPrefix(a.URL, "https:") {
			t.Errorf("account %+v", a)
		}
		parseLease(text)
	})
}

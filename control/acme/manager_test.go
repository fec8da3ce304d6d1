package acme

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
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
		Directory: a.Directory(), Roots: a.roots(), Email: "me@site.test", AcceptTerms: true, Folder: folder,
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

func TestRenewal(t *testing.T) {
	a := newAuthority(t, 0)
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
	if second.Equal(first) || a.Orders.Load() != 2 || a.Accounts.Load() != 1 {
		t.Errorf("%d orders, %d accounts; the same certificate: %v", a.Orders.Load(), a.Accounts.Load(), second.Equal(first))
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
	a := newAuthority(t, 0)
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
	a.Before.Store(nil)
	s.pass(time.Hour)
	s.idle()
	s.want(StateReady, 0)
	if s.one().Equal(first) {
		t.Error("not renewed")
	}
}

// A restart while the authority is down serves what is stored.
func TestAuthorityDownAtStart(t *testing.T) {
	a := newAuthority(t, 0)
	folder := t.TempDir()
	s := newStage(t, a, folder, nil).start()
	s.idle()
	stored := s.one()
	s.Manager.Stop()
	a.CloseDirectory()
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

// Two processes of one folder, as during an upgrade: one orders, the other takes over what it got.
func TestTwoManagersIssueOnce(t *testing.T) {
	a := newAuthority(t, 0)
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
	if !first.one().Equal(second.one()) || a.Orders.Load() != 1 || a.Accounts.Load() != 1 {
		t.Errorf("%d orders, %d accounts", a.Orders.Load(), a.Accounts.Load())
	}
	if all := <-second.changed; !all[0].Leaf.Equal(first.one()) {
		t.Error("called back with another certificate")
	}
	// The renewal, too, is made once.
	a.Before.Store(nil)
	due := first.Statuses()[0].NextAttempt
	first.pass(due.Sub(first.now()))
	first.idle()
	second.pass(due.Sub(second.now()))
	second.idle()
	if a.Orders.Load() != 2 {
		t.Errorf("%d orders", a.Orders.Load())
	}
}

package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage is a keeper on real files whose clock the test plays.
type stage struct {
	folder
	*Keeper
	changed chan Set
	polls   chan time.Time // that it is time to look
	settles chan time.Time // that it is time to say
	asked   chan struct{}  // a settling time was asked for

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

// said returns what was logged since it was asked last, without the times.
func (s *stage) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.mu.log.String()
	s.mu.log.Reset()
	return text
}

func (s *stage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.now
}

func (s *stage) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.now = s.mu.now.Add(d)
}

// after is the clock of keeper and watches. Without events nothing moves on but by poll and settled.
func (s *stage) after(d time.Duration) <-chan time.Time {
	switch d {
	case poll:
		return s.polls
	case settle:
		s.asked <- struct{}{}
		return s.settles
	case 50 * time.Millisecond: // a watch, after an event; real, because the events are
		return time.After(time.Millisecond)
	}
	return nil
}

func open(f folder, cfg Config) (*stage, error) {
	s := &stage{folder: f, changed: make(chan Set, 100), polls: make(chan time.Time), settles: make(chan time.Time), asked: make(chan struct{}, 100)}
	s.mu.now = noon
	cfg.Clock = Clock{Now: s.now, After: s.after}
	cfg.Changed = func(set Set) { s.changed <- set }
	cfg.Logger = slog.New(slog.NewTextHandler(s, nil))
	var err error
	s.Keeper, err = Open(cfg)
	return s, err
}

func openStage(f folder, cfg Config) *stage {
	f.t.Helper()
	s, err := open(f, cfg)
	do(f.t, err)
	f.t.Cleanup(s.Close)
	return s
}

// poll makes the keeper look, and returns when it has.
func (s *stage) poll() {
	s.polls <- time.Time{}
	s.polls <- time.Time{}
}

// waitFor waits until the keeper has called back with a set that is meant.
func (s *stage) waitFor(meant func(Set) bool) {
	s.t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case set := <-s.changed:
			if meant(set) {
				return
			}
		case <-deadline:
			s.t.Fatal("nothing was called back")
		}
	}
}

func (s *stage) serves(i *issued) func(Set) bool {
	return func(set Set) bool { return set.Certificates[0].Leaf.Equal(i.cert) }
}

// settled lets the settling time of what looks wrong pass.
func (s *stage) settled() {
	s.t.Helper()
	select {
	case <-s.asked:
	case <-time.After(5 * time.Second):
		s.t.Fatal("nothing looks wrong")
	}
	s.pass(settle)
	s.settles <- time.Time{}
	s.poll()
}

func (f folder) pair(name string, i *issued) Pair {
	return Pair{Cert: f.put(name+".pem", i.pem()), Key: f.put(name+".key", i.keyPEM())}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s: %s\nwant %s", what, got, want)
	}
}

func TestPairReplacedOneFileAfterTheOther(t *testing.T) {
	f := newFolder(t)
	root := issue(t, nil, "root", authority)
	first, second, other := issue(t, root, "site.test", nil), issue(t, root, "site.test", nil), issue(t, root, "other.test", nil)
	s := openStage(f, Config{Pairs: []Pair{f.pair("site", first), f.pair("other", other)}, Bundles: []string{f.put("roots.pem", root.pem())}})
	before := s.Set()
	f.put("site.pem", second.pem())
	<-s.asked // it looks wrong
	s.poll()
	if got := s.said(); got != "" {
		t.Errorf("said too soon: %s", got)
	}
	if st := s.Statuses()[0]; st.LastError != nil {
		t.Errorf("in the status too soon: %v", st.LastError)
	}
	f.put("site.key", second.keyPEM())
	s.waitFor(s.serves(second))
	after := s.Set()
	if before.Certificates[0] == after.Certificates[0] || before.Certificates[1] != after.Certificates[1] || before.Pools[0] != after.Pools[0] {
		t.Error("what changed is the same pointer, or what did not is another")
	}
	want(t, "log", s.said(), "a certificate file was replaced and is in use")
	s.pass(settle)
	s.settles <- time.Time{} // was running; nothing is wrong any more
	s.poll()
	if got := s.said(); got != "" {
		t.Errorf("said afterwards: %s", got)
	}
}

// A Kubernetes secret: both files are links through a link that turns.
func TestSecretThatTurns(t *testing.T) {
	f := newFolder(t)
	first, second := issue(t, nil, "site.test", nil), issue(t, nil, "site.test", nil)
	for name, i := range map[string]*issued{"..1": first, "..2": second} {
		do(t, os.Mkdir(f.in(name), 0o700))
		sub := folder{t, f.in(name)}
		sub.put("tls.crt", i.pem())
		sub.put("tls.key", i.keyPEM())
	}
	do(t, os.Symlink("..1", f.in("..data")))
	do(t, os.Symlink(filepath.Join("..data", "tls.crt"), f.in("tls.crt")))
	do(t, os.Symlink(filepath.Join("..data", "tls.key"), f.in("tls.key")))
	s := openStage(f, Config{Pairs: []Pair{{Cert: f.in("tls.crt"), Key: f.in("tls.key")}}})
	do(t, os.Symlink("..2", f.in("..new")))
	do(t, os.Rename(f.in("..new"), f.in("..data")))
	s.waitFor(s.serves(second))
}

// Bad files: what was held stays, it is said once, stands in the status, and goes away when the file is mended.
func TestBadFilesTakeNothingAway(t *testing.T) {
	root := issue(t, nil, "root", authority)
	good, next := issue(t, root, "site.test", nil), issue(t, root, "site.test", nil)
	expired := issue(t, root, "site.test", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Hour) })
	early := issue(t, root, "site.test", func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Hour) })
	for _, c := range []struct {
		name  string
		spoil func(folder)
		want  string
	}{
		{"another's key", func(f folder) { f.put("site.key", root.keyPEM()) }, "does not belong"},
		{"half a file", func(f folder) { f.put("site.pem", good.pem()[:300]) }, "cut off"},
		{"no file", func(f folder) { do(t, os.Remove(f.in("site.key"))) }, "site.key does not exist"},
		{"expired", func(f folder) { f.put("site.key", expired.keyPEM()); f.put("site.pem", expired.pem()) }, "expired at"},
		{"not valid yet", func(f folder) { f.put("site.key", early.keyPEM()); f.put("site.pem", early.pem()) }, "not valid before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFolder(t)
			s := openStage(f, Config{Pairs: []Pair{f.pair("site", good)}})
			c.spoil(f)
			s.poll() // sees all of it, whatever the watches saw of it before
			s.settled()
			said := s.said()
			want(t, "log", said, "cannot be used, the certificate before it stays in use")
			want(t, "log", said, c.want)
			s.pass(settle)
			s.poll()
			if again := s.said(); again != "" {
				t.Errorf("said twice: %s", again)
			}
			st := s.Statuses()[0]
			if st.LastError == nil || st.Since != noon.Add(settle) || !st.NotAfter.Equal(good.cert.NotAfter) || st.Names[0] != "site.test" {
				t.Errorf("status %+v", st)
			}
			f.put("site.pem", next.pem())
			f.put("site.key", next.keyPEM())
			s.waitFor(s.serves(next))
			if st := s.Statuses()[0]; st.LastError != nil || st.Since != noon.Add(2*settle) {
				t.Errorf("mended, status %+v", st)
			}
		})
	}
}

func TestFilePutBackAsItWas(t *testing.T) {
	f := newFolder(t)
	site := issue(t, nil, "site.test", nil)
	s := openStage(f, Config{Pairs: []Pair{f.pair("site", site)}})
	f.put("site.pem", "hello")
	s.settled()
	s.said()
	f.put("site.pem", site.pem())
	s.poll()
	want(t, "log", s.said(), "is as it was before")
	if st := s.Statuses()[0]; st.LastError != nil || len(s.changed) > 0 {
		t.Errorf("status %+v, called back %d times", st, len(s.changed))
	}
}

// A certificate that waits for its time is taken when it comes.
func TestCertificateInAdvance(t *testing.T) {
	f := newFolder(t)
	now, next := issue(t, nil, "site.test", nil), issue(t, nil, "site.test", func(c *x509.Certificate) { c.NotBefore = noon.Add(day) })
	s := openStage(f, Config{Pairs: []Pair{f.pair("site", now)}})
	f.pair("site", next)
	s.poll()
	s.settled()
	want(t, "log", s.said(), "not valid before")
	s.pass(day)
	s.poll()
	s.waitFor(s.serves(next))
}

// Each warning is said once, an end that comes is an error, and a short-lived certificate is not warned of all its life.
func TestWarnings(t *testing.T) {
	f := newFolder(t)
	long := issue(t, nil, "long.test", nil)
	week := issue(t, nil, "week.test", func(c *x509.Certificate) { c.NotAfter = noon.Add(6 * day) })
	s := openStage(f, Config{Pairs: []Pair{f.pair("long", long), f.pair("week", week)}})
	for _, c := range []struct {
		at   time.Duration // since noon
		want []string
	}{
		{0, nil},
		{4 * day, nil},
		{5 * day, []string{"level=WARN", "week.test", "left=24h0m0s"}},
		{6*day + time.Second, []string{"level=ERROR", "week.test", "outside its time is in use"}},
		{7 * day, nil},
		{60*day - time.Second, nil},
		{60 * day, []string{"level=WARN", "long.test", "left=720h0m0s"}},
		{61 * day, nil},
		{83 * day, []string{"level=WARN", "left=168h0m0s"}},
		{89*day + 12*time.Hour, []string{"level=WARN", "left=12h0m0s"}},
		{89*day + 13*time.Hour, nil},
		{91 * day, []string{"level=ERROR", "long.test"}},
		{92 * day, nil},
	} {
		s.pass(noon.Add(c.at).Sub(s.now()))
		s.poll()
		said := s.said()
		for _, w := range c.want {
			want(t, c.at.String(), said, w)
		}
		if lines := strings.Count(said, "\n"); lines != min(1, len(c.want)) {
			t.Errorf("%v: %d lines: %s", c.at, lines, said)
		}
	}
	if st := s.Statuses()[0]; !errors.Is(st.LastError, ErrExpired) || st.Since != noon.Add(91*day) {
		t.Errorf("status %+v", st)
	}
	if len(s.changed) > 0 {
		t.Error("called back although no file changed")
	}
}

// Only the most urgent warning is said about a certificate that is met late.
func TestMetLate(t *testing.T) {
	f := newFolder(t)
	s := openStage(f, Config{Pairs: []Pair{f.pair("site", issue(t, nil, "site.test", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = noon.Add(-360*day), noon.Add(5*day)
	}))}})
	if said := s.said(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "left=120h0m0s") {
		t.Errorf("said %s", said)
	}
}

func TestBeginningWithBadFiles(t *testing.T) {
	f := newFolder(t)
	expired := f.pair("expired", issue(t, nil, "expired.test", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Hour) }))
	_, err := open(f, Config{Pairs: []Pair{expired, {Cert: f.in("none.pem"), Key: f.in("none.key")}}, Bundles: []string{f.put("roots.pem", "hello")}})
	for _, w := range []string{"expired.pem (expired.test) expired at", "none.pem does not exist", "roots.pem holds nothing in PEM"} {
		want(t, "error", err.Error(), w)
	}
	s := openStage(f, Config{Pairs: []Pair{expired}, AllowExpired: true})
	want(t, "log", s.said(), "outside its time is in use")
	if st := s.Statuses()[0]; !errors.Is(st.LastError, ErrExpired) {
		t.Errorf("status %+v", st)
	}
	good := issue(t, nil, "expired.test", nil)
	f.pair("expired", good)
	s.waitFor(s.serves(good))
	if st := s.Statuses()[0]; st.LastError != nil {
		t.Errorf("status %+v", st)
	}
}

// More files than watches: those beyond are found by looking.
func TestMoreFilesThanWatches(t *testing.T) {
	f := newFolder(t)
	site, next := issue(t, nil, "site.test", nil), issue(t, nil, "site.test", nil)
	var pairs []Pair
	for n := range watchesMax {
		name := string(rune('a'+n%26)) + string(rune('a'+n/26))
		pairs = append(pairs, f.pair(name, site))
	}
	s := openStage(f, Config{Pairs: pairs})
	want(t, "log", s.said(), "not every certificate file is watched")
	if len(s.watchers) != watchesMax {
		t.Errorf("%d watches", len(s.watchers))
	}
	last := pairs[watchesMax-1]
	f.put(filepath.Base(last.Cert), next.pem())
	f.put(filepath.Base(last.Key), next.keyPEM())
	s.poll()
	s.waitFor(func(set Set) bool { return set.Certificates[watchesMax-1].Leaf.Equal(next.cert) })
}

func TestBundleReplaced(t *testing.T) {
	f := newFolder(t)
	first, second := issue(t, nil, "first", authority), issue(t, nil, "second", authority)
	site := issue(t, second, "site.test", nil)
	path := f.put("roots.pem", first.pem())
	s := openStage(f, Config{Bundles: []string{path}})
	f.put("roots.pem", first.pem()+second.pem())
	s.waitFor(func(set Set) bool {
		_, err := site.cert.Verify(x509.VerifyOptions{Roots: set.Pools[0], CurrentTime: noon})
		return err == nil
	})
	if st := s.Statuses()[0]; !st.Bundle || st.Path != path || st.Names != nil || st.NotAfter.IsZero() {
		t.Errorf("status %+v", st)
	}
}

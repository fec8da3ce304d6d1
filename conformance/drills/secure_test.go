//go:build linux

package drills

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// secureSite is a gateway's folder with a certificate that drills replace, and clients that trust all it will have.
type secureSite struct {
	t      *testing.T
	folder string
	all    []*gateway.Identity
	config *tls.Config
}

func newSecureSite(t *testing.T, certificates int) *secureSite {
	t.Helper()
	s := &secureSite{t: t, folder: t.TempDir(), config: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}}
	for range certificates {
		id := gateway.NewIdentity(t)
		s.all = append(s.all, id)
		s.config.RootCAs.AddCert(id.Certificate.Leaf)
	}
	s.use(0)
	return s
}

func (s *secureSite) path(name string) string { return filepath.Join(s.folder, name) }

// use puts a certificate where the gateway looks for it: the key, and then the certificate.
func (s *secureSite) use(n int) {
	s.t.Helper()
	for name, from := range map[string]string{"site.key": s.all[n].KeyFile, "site.pem": s.all[n].CertFile} {
		text, err := os.ReadFile(from)
		if err != nil {
			s.t.Fatal(err)
		}
		replaceFile(s.t, s.path(name), text)
	}
}

// document is a gateway with a TLS listener; more are routes.
func (s *secureSite) document(addr, up, more string) string {
	return fmt.Sprintf(`listeners: [{name: web, address: %q, tls: {cert: %s, key: %s}}]
drain: {timeout: 10s, idle: 500ms}
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /*, cluster: app}
%s`, addr, s.path("site.pem"), s.path("site.key"), up, more)
}

// awaitShown waits until new clients are shown a certificate.
func (s *secureSite) awaitShown(addr string, n int) {
	s.t.Helper()
	gateway.Eventually(s.t, patience, "the certificate is shown", func() error {
		c, err := tls.Dial("tcp", addr, s.config)
		if err != nil {
			return err
		}
		defer c.Close()
		if !c.ConnectionState().PeerCertificates[0].Equal(s.all[n].Certificate.Leaf) {
			return fmt.Errorf("another is shown")
		}
		return nil
	})
}

// awaitDone waits until a load has done that many requests more.
func (l *secureLoad) awaitDone(t *testing.T, more int64) {
	t.Helper()
	until := l.done.Load() + more
	gateway.Eventually(t, patience, fmt.Sprintf("%d more requests are done", more), func() error {
		if done := l.done.Load(); done < until {
			return fmt.Errorf("%d of %d", done, until)
		}
		return nil
	})
}

// unharmed fails the test if a request failed.
func (t *secureTally) unharmed(tb *testing.T) {
	tb.Helper()
	tb.Logf("%v", t)
	for reason, n := range t.failed {
		tb.Errorf("%d requests failed: %s", n, reason)
	}
	for kind := range secureKinds {
		if t.ok[kind] == 0 {
			tb.Errorf("no request of kind %s was answered", kind)
		}
	}
}

// A certificate is replaced on the disk six times while clients ask over TLS. Each is shown to new connections; those that
// are open go on as if nothing had been, and no request fails.
func TestCertificateReplacedUnderLoadFailsNoRequest(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	addr, up, s := gateway.FreeAddr(t), startLocal(t, "up", nil), newSecureSite(t, 7)
	p := gateway.Start(t, s.document(addr, up, ""), gateway.Options{})
	load := (&secureLoad{addr: addr, config: s.config}).start()
	for n := 1; n < len(s.all); n++ {
		load.awaitDone(t, 100)
		s.use(n)
		s.awaitShown(addr, n)
	}
	load.awaitDone(t, 100)
	tally := load.end()
	tally.unharmed(t)
	if tally.announce+tally.goaways > 0 {
		t.Errorf("connections were ended by a certificate: %v", tally)
	}
	var status struct {
		Certificates []struct {
			Path, State string
			NotAfter    time.Time `json:"not_after"`
		}
	}
	code, body, err := p.AdminGet("/api/status")
	if err != nil || code != http.StatusOK || json.Unmarshal(body, &status) != nil || len(status.Certificates) != 1 {
		t.Fatalf("/api/status: %d %s %v", code, body, err)
	}
	last := s.all[len(s.all)-1].Certificate.Leaf
	if c := status.Certificates[0]; c.Path != s.path("site.pem") || c.State != "valid" || !c.NotAfter.Equal(last.NotAfter) {
		t.Errorf("status: %+v", c)
	}
	ends, err := p.Metric("yumen_certificate_not_after_seconds", fmt.Sprintf("path=%q", s.path("site.pem")))
	if err != nil || int64(ends) != last.NotAfter.Unix() {
		t.Errorf("the metric says %v, want %d: %v", ends, last.NotAfter.Unix(), err)
	}
}

// The file is rewritten 20 times while clients ask over HTTPS and HTTP/2: no request fails and no connection is ended.
func TestReloadUnderSecureLoadFailsNoRequest(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	addr, up, s := gateway.FreeAddr(t), startLocal(t, "up", nil), newSecureSite(t, 1)
	document := func(n int) string {
		return s.document(addr, up, fmt.Sprintf("  - {path: /generation, respond: {body: \"generation %d\"}}\n", n))
	}
	p := gateway.Start(t, document(0), gateway.Options{})
	load := (&secureLoad{addr: addr, config: s.config}).start()
	for n := 1; n <= 20; n++ {
		load.awaitDone(t, 20)
		p.WriteConfig(document(n))
		gateway.Eventually(t, patience, "the document is in force", func() error {
			revision, err := p.Metric("yumen_config_revision")
			if err == nil && int(revision) != n+1 {
				err = fmt.Errorf("revision %v", revision)
			}
			return err
		})
	}
	load.awaitDone(t, 100)
	tally := load.end()
	tally.unharmed(t)
	if tally.announce+tally.goaways > 0 {
		t.Errorf("connections were ended by a change: %v", tally)
	}
}

// SIGTERM comes while clients ask over HTTPS and HTTP/2, and streams wait for their upstream. Clients of HTTP/2 are told by
// GOAWAY; every stream that was begun is answered, or given back untouched; the waiting ones are waited for; exit is 0.
func TestDrainOfStreamsLosesNothing(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	gate, waiting := make(chan struct{}), make(chan struct{}, streamsOpen)
	up := startLocal(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/waits" {
			waiting <- struct{}{}
			<-gate
		}
		fmt.Fprintln(w, "ok")
	}))
	addr, s := gateway.FreeAddr(t), newSecureSite(t, 1)
	p := gateway.Start(t, s.document(addr, up, ""), gateway.Options{})
	load := &secureLoad{addr: addr, config: s.config, untilRefused: true}
	c, err := load.dial("h2")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	type end struct {
		outcome
		answered int
		err      error
	}
	waited := make(chan end, 1)
	go func() {
		patient := newStreams(c, "/waits")
		begun, answered := 0, 0
		o, err := patient.run(func() bool { begun++; return begun <= streamsOpen }, func() { answered++ })
		waited <- end{o, answered, err}
	}()
	for range streamsOpen {
		<-waiting
	}
	load.start()
	load.awaitDone(t, 200)

	p.Signal(syscall.SIGTERM)

	tally := load.wait() // each client ends when it is refused a new connection
	tally.unharmed(t)
	if tally.goaways == 0 || tally.announce == 0 {
		t.Errorf("clients were not told: %v", tally)
	}
	close(gate)
	if w := <-waited; w.err != nil || w.answered != streamsOpen || !w.goaway || w.refused > 0 {
		t.Errorf("streams that waited: %+v", w)
	}
	p.AwaitExit(patience)
}

// SIGUSR2 comes twice while clients ask over HTTPS and HTTP/2: no request fails; the old process sends its clients away.
func TestUpgradeUnderSecureLoadFailsNoRequest(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	addr, up, s := gateway.FreeAddr(t), startLocal(t, "up", nil), newSecureSite(t, 2)
	p := gateway.Start(t, s.document(addr, up, ""), gateway.Options{})
	load := (&secureLoad{addr: addr, config: s.config}).start()
	for range 2 {
		load.awaitDone(t, 100)
		next := p.Upgrade()
		p.AwaitExit(patience)
		p = next
	}
	load.awaitDone(t, 100)
	s.use(1)
	s.awaitShown(addr, 1) // the process that serves now watches the files too
	tally := load.end()
	tally.unharmed(t)
	if tally.goaways < 2 {
		t.Errorf("clients of HTTP/2 were not sent away: %v", tally)
	}
}

package control

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/acme/acmetest"
)

// ordered is a gateway that has its certificate from an authority in this process.
type ordered struct {
	*acmetest.Authority
	t                *testing.T
	folder           string
	origin           *origin
	plain, secure    string // addresses
	ca, storage, doc string
}

func newOrdered(t *testing.T, challenge string) *ordered {
	t.Helper()
	o := &ordered{t: t, folder: t.TempDir(), origin: startOrigin(t, "app"), plain: freeAddr(t), secure: freeAddr(t)}
	var err error
	if o.Authority, err = acmetest.New(portOf(t, o.plain), portOf(t, o.secure), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Authority.Close)
	o.ca, o.storage = o.folder+"/directory.pem", o.folder+"/acme"
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.Certificate().Raw})
	if err := os.WriteFile(o.ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	o.doc = fmt.Sprintf(`
listeners:
  - {name: plain, address: %q}
  - {name: secure, address: %q, tls: {certificates: [{acme: [site.test, www.site.test]}]}}
admin: off
acme: {directory: %q, ca: %s, accept_terms: true, challenge: %s, storage: %s}
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /*, cluster: app}
`, o.plain, o.secure, o.Directory(), o.ca, challenge, o.storage, o.origin.addr)
	return o
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// hold lets no order through until it is called.
func (o *ordered) hold() (letGo func()) {
	gate := make(chan struct{})
	before := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			<-gate
		}
		return false
	}
	o.Before.Store(&before)
	return func() { close(gate) }
}

// trusted waits until a client that trusts the authority is served.
func (o *ordered) trusted() {
	o.t.Helper()
	cfg := &tls.Config{RootCAs: o.Root(), ServerName: "www.site.test"}
	eventually(o.t, "the certificate is there", func() bool { return askTLS(o.secure, cfg, "/") == "200 app" })
}

// A certificate is had from an authority: first another stands in, then the authority asks the gateway's own listeners, and
// its certificate is shown, without a change of the configuration. After a restart, with the authority out of reach, the
// stored one is shown at once.
func TestCertificateFromAnAuthority(t *testing.T) {
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			o := newOrdered(t, challenge)
			letGo := o.hold()
			g := start(t, o.doc, Options{})
			if got := shown(t, o.secure, "site.test"); !strings.Contains(got.Subject.CommonName, "stand-in") {
				t.Errorf("before the order: %v", got.Subject)
			}
			ready, deps := g.Ready()
			if text := fmt.Sprint(deps); !ready || !strings.Contains(text, "certificate site.test www.site.test") || !strings.Contains(text, "no client trusts") {
				t.Errorf("ready %v: %s", ready, text)
			}
			if st := g.Certificates()[0]; st.Kind != CertificateACME || !st.NotAfter.IsZero() || st.OK() {
				t.Errorf("status: %+v", st)
			}
			letGo()
			o.trusted()
			eventually(t, "the status says so", func() bool {
				st := g.Certificates()[0]
				return st.State == "ready" && st.OK() && !st.NextAttempt.IsZero()
			})
			if _, deps := g.Ready(); strings.Contains(fmt.Sprint(deps), "certificate") {
				t.Errorf("still said: %v", deps)
			}
			// Without an order under way a token is like any other path.
			want(t, get(t, o.plain, "/.well-known/acme-challenge/x"), "200 app")

			// A change that leaves the certificate alone orders no other.
			g.apply(o.doc + "  - {path: /more, respond: {body: more}}\n")
			o.trusted()
			g.Stop()

			o.CloseDirectory()
			g = start(t, o.doc, Options{})
			cfg := &tls.Config{RootCAs: o.Root(), ServerName: "site.test"}
			if got := askTLS(o.secure, cfg, "/"); got != "200 app" {
				t.Errorf("after a restart: %s", got)
			}
			if n := o.Orders.Load(); n != 1 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

// The gateway is stopped in the middle of an order, and a change takes the authority away in the middle of one: neither waits,
// and nothing is left of the order.
func TestOrderThatIsGivenUp(t *testing.T) {
	o := newOrdered(t, "http-01")
	arrived, left, gate := make(chan struct{}, 10), make(chan struct{}, 10), make(chan struct{})
	defer close(gate)
	before := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/order-plz" {
			_, _ = io.Copy(io.Discard, r.Body) // from then on the server watches whether the client leaves
			arrived <- struct{}{}
			select {
			case <-gate:
			case <-r.Context().Done():
				left <- struct{}{}
			}
		}
		return false
	}
	o.Before.Store(&before)
	g := start(t, o.doc, Options{})
	<-arrived
	g.apply(strings.Replace(document(o.origin), "127.0.0.1:0", o.plain, 1))
	want(t, get(t, o.plain, "/"), "200 app")
	if len(g.Certificates()) != 0 {
		t.Errorf("certificates: %+v", g.Certificates())
	}
	g.apply(o.doc)
	<-arrived

	// A gateway that drains orders nothing any more: who asks for the answer would ask its successor.
	waiting, err := dial(o.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	fmt.Fprint(waiting, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-o.origin.waiting
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	<-left
	<-left
	close(o.origin.gate)
	if a, err := waiting.read(); err != nil || a.body != "app" {
		t.Errorf("the request that waited: %v %v", a, err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// An authority that cannot be reached keeps nobody from starting: the listener shows its stand-in, and the status says why.
func TestAuthorityOutOfReach(t *testing.T) {
	o := newOrdered(t, "http-01")
	o.CloseDirectory()
	g := start(t, o.doc, Options{})
	eventually(t, "the failure is known", func() bool { return g.Certificates()[0].State == "failing" })
	if st := g.Certificates()[0]; st.Failures != 1 || st.LastError == "" || st.NextAttempt.IsZero() {
		t.Errorf("status: %+v", st)
	}
	want(t, get(t, o.plain, "/"), "200 app")
	if got := shown(t, o.secure, ""); !strings.Contains(got.Subject.CommonName, "stand-in") {
		t.Errorf("shown: %v", got.Subject)
	}
	if ready, deps := g.Ready(); !ready || !strings.Contains(fmt.Sprint(deps), "the last order failed") {
		t.Errorf("ready %v: %v", ready, deps)
	}
}

package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control"
)

// selfSigned writes a certificate and its key into one file, which it returns.
func selfSigned(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	path := filepath.Join(t.TempDir(), "site.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secureDocument has a listener with TLS beside the others' document.
func secureDocument(path string) string {
	return "listeners: [{name: secure, address: \"127.0.0.1:0\", tls: {cert: " + path + ", key: " + path + "}}]\n" +
		"routes: [{path: /*, respond: {body: x}}]\n"
}

func TestCertificatesAreShown(t *testing.T) {
	path := selfSigned(t, "site.test")
	api, _ := start(t, "", secureDocument(path))
	ask(t, api, "GET", "/api/status", "").want(t, 200, `"kind": "server"`, `"path": "`+path+`"`, `"site.test"`, `"state": "valid"`, `"not_after"`)
	ask(t, api, "GET", "/api/listeners", "").want(t, 200, `"tls": true`, `"h2"`, `"http1"`)
	// Who has none is given a list all the same.
	api, _ = start(t, "", document("one"))
	ask(t, api, "GET", "/api/status", "").want(t, 200, `"certificates": []`)
}

// A dry run reads the files, too: the change would be refused for them.
func TestADryRunJudgesCertificates(t *testing.T) {
	path := selfSigned(t, "site.test")
	api, _ := start(t, "", secureDocument(path))
	ask(t, api, "PUT", "/api/config?dry_run", secureDocument(path)).want(t, 200)
	ask(t, api, "PUT", "/api/config?dry_run", secureDocument(path+".none")).want(t, 422, "does not exist", `"line": 1`, "correct the path")
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, api, "PUT", "/api/config?dry_run", secureDocument(path)+"# more\n").want(t, 200, "warning", "stays in use")
}

func TestCertificatesForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	text := CertificatesText([]control.CertificateStatus{
		{Kind: control.CertificateServer, Path: "a.pem", Names: []string{"a.test", "b.test"}, NotAfter: now.Add(241 * time.Hour), State: control.CertificateValid},
		{Kind: control.CertificateAuthorities, Path: "roots.pem", NotAfter: now.Add(-time.Hour), State: control.CertificateOutside, LastError: "it expired"},
		{Kind: control.CertificateACME, Names: []string{"c.test"}, State: "failing", LastError: "no", NextAttempt: now},
		{Kind: control.CertificateACME, Names: []string{"d.test"}, State: "ordering", NotAfter: now.Add(24 * time.Hour)},
	}, now)
	var got []string
	for line := range strings.Lines(text) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	const want = `certificate a.pem valid until 2026-03-11 (in 10 days) a.test b.test
certificate roots.pem expired ended 2026-03-01 authorities it expired
certificate c.test failing a stand-in is shown acme no; next attempt 2026-03-01T12:00:00Z
certificate d.test ordering until 2026-03-02 (in 1 day) acme`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

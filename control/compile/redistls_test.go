package compile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
)

// writeIdentity puts a certificate of its own making, and its key, into two files of the working directory.
func writeIdentity(t *testing.T, certFile, keyFile string, ends time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	of := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "gateway"}, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, DNSNames: []string{"redis.internal"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func day(n int) time.Time { return time.Now().Add(time.Duration(n) * 24 * time.Hour) }

// What a document says of TLS to Redis and the machine does not have is a problem at its place, of limits and of caches.
func TestFilesForTLSToRedis(t *testing.T) {
	t.Chdir(t.TempDir())
	writeIdentity(t, "me.pem", "me.key", day(1))
	writeIdentity(t, "other.pem", "other.key", day(1))
	writeIdentity(t, "old.pem", "old.key", day(-1))
	write(t, "empty.pem", "")
	for _, c := range []struct{ tls, want string }{
		{"on", ""},
		{"off", ""},
		{"{ca: me.pem}", ""},
		{"{ca: me.pem, sni: redis.internal, cert: me.pem, key: me.key}", ""},
		{"{ca: old.pem, cert: old.pem, key: old.key}", ""}, // told by who connects
		{"{ca: none.pem}", "redis.tls.ca: none.pem does not exist"},
		{"{ca: empty.pem}", "redis.tls.ca: empty.pem"},
		{"{ca: me.key}", "redis.tls.ca: me.key"},
		{"{cert: me.pem, key: none.key}", "redis.tls.cert: none.key does not exist"},
		{"{cert: me.pem, key: other.key}", "redis.tls.cert: "},
	} {
		for _, filter := range []string{
			`limit: {rate: 5/s, shared: {redis: {address: "127.0.0.1:6379", tls: ` + c.tls + `}}}`,
			`cache: {redis: {address: "127.0.0.1:6379", tls: ` + c.tls + `}}`,
		} {
			plan, report := compileText("t.yaml", "listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{"+filter+"}]}]")
			if said := report.String(); plan == nil != (c.want != "") || !strings.Contains(said, c.want) {
				t.Errorf("%s: %s, want %q", filter, said, c.want)
			}
		}
	}
}

// Files that changed are another Redis for the configuration that comes after, and are used by the next connection of the one that is
// in force, unless they cannot be.
func TestFilesForTLSToRedisThatChange(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "me.pem"), filepath.Join(dir, "me.key")
	writeIdentity(t, cert, key, day(1))
	said := &config.RedisServer{Address: config.Address{Host: "127.0.0.1", Port: 6379}, TLS: &config.RedisTLS{CA: cert, Cert: cert, Key: key}}
	settings := func(said *config.RedisServer) string {
		s, problem := redisSettings(said)
		if problem != nil {
			t.Fatal(problem)
		}
		return s.Key()
	}
	s, problem := redisSettings(said)
	if problem != nil {
		t.Fatal(problem)
	}
	if s.Key() != settings(said) {
		t.Error("the same files are two settings")
	}
	named := *said.TLS
	named.SNI = "redis.internal"
	other := *said
	if other.TLS = &named; settings(&other) == s.Key() {
		t.Error("another name is the same settings")
	}
	first := s.FreshTLS()
	if first != s.TLS || first.ServerName != "127.0.0.1" || s.FreshTLS() != first {
		t.Error("files that did not change are made another configuration")
	}

	write(t, key, "half a k")
	if s.FreshTLS() != first {
		t.Error("a file that is half written is in use")
	}
	writeIdentity(t, cert, key, day(2))
	second := s.FreshTLS()
	if second == first || second.RootCAs.Equal(first.RootCAs) || s.FreshTLS() != second {
		t.Error("files that changed are not in use")
	}
	if s.Key() == settings(said) {
		t.Error("a change of the document finds the Redis that was met by the old files")
	}
	os.Remove(cert)
	if s.FreshTLS() != second {
		t.Error("a file that is gone took what was read of it along")
	}
}

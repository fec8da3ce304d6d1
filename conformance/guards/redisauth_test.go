//go:build linux

package guards

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// redisSecret is what must not be seen anywhere.
const redisSecret = "s3cret-of-the-gateway"

// say sends commands, as a line each, and wants +OK to all.
func (r *redis) say(commands ...string) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for _, command := range commands {
		fmt.Fprintf(c, "%s\r\n", command)
		if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
			r.t.Fatalf("%s: %q, %v", command, line, err)
		}
	}
}

// clientFiles makes a certificate for clients, which is its own authority, and puts it and its key into files.
func clientFiles(t *testing.T) (cert, key string) {
	t.Helper()
	made := clientCertificate(t, "spiffe://mesh/gateway")
	secret, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "client.pem"), filepath.Join(t.TempDir(), "client.key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return cert, key
}

// A Redis that wants a password, a user or TLS: with the right ones it is used; with wrong ones there is one line in
// the log and the metric, the rule goes by when_unreachable, and all is well once the Redis is mended, or the file. The
// password is seen nowhere.
func TestRedisWithSecrets(t *testing.T) {
	id, other := gateway.NewIdentity(t), gateway.NewIdentity(t)
	secured := func(id *gateway.Identity) []string {
		return []string{"--tls-cert-file", id.CertFile, "--tls-key-file", id.KeyFile, "--tls-ca-cert-file", id.CertFile,
			"--tls-auth-clients", "no"}
	}
	// A Redis that wants to see a certificate, as tls-auth-clients yes has it, and two, of which it knows one.
	cert, key := clientFiles(t)
	strangeCert, strangeKey := clientFiles(t)
	asking := []string{"--tls-cert-file", id.CertFile, "--tls-key-file", id.KeyFile, "--tls-ca-cert-file", cert,
		"--tls-auth-clients", "yes"}
	again := func(args []string) func(r *redis) {
		return func(r *redis) { r.kill(); r.args = args; r.start() }
	}
	// A file that is put right while the gateway runs.
	changing := filepath.Join(t.TempDir(), "roots.pem")
	roots := func(of *gateway.Identity) {
		text, err := os.ReadFile(of.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		write(t, changing, string(text))
	}
	roots(other)
	// What the guide says that the user needs, and nothing else.
	const allowed = "+eval +evalsha +time +pexpire +@hash +@sortedset ~yumen:*"
	const user = "username: gateway, password_env: SECRET"
	authority := func(settings string) string { return fmt.Sprintf("tls: {ca: %q, %s}", id.CertFile, settings) }
	shown := func(cert, key string) string { return authority(fmt.Sprintf("cert: %q, key: %q", cert, key)) }
	for _, c := range []struct {
		name     string
		args     []string // of the server
		prepare  []string // commands to it
		settings string   // of the rule's Redis
		trouble  string   // what the log says of it; "": it is used from the beginning
		mend     func(r *redis)

		environment bool // has the authority among those of the system
	}{
		{name: "password", args: []string{"--requirepass", redisSecret}, settings: "password_env: SECRET"},
		{name: "wrong password", args: []string{"--requirepass", "another"}, settings: "password_env: SECRET",
			trouble: "WRONGPASS",
			mend:    func(r *redis) { r.say("AUTH another", "CONFIG SET requirepass "+redisSecret) }},
		{name: "no password", args: []string{"--requirepass", "another"}, trouble: "NOAUTH",
			mend: func(r *redis) { r.say("AUTH another", `CONFIG SET requirepass ""`) }},
		{name: "user", prepare: []string{"ACL SETUSER gateway on >" + redisSecret + " " + allowed}, settings: user},
		{name: "unknown user", settings: user, trouble: "WRONGPASS",
			mend: func(r *redis) { r.say("ACL SETUSER gateway on >" + redisSecret + " " + allowed) }},
		{name: "user who may do nothing", prepare: []string{"ACL SETUSER gateway on >" + redisSecret}, settings: user,
			trouble: "NOPERM", mend: func(r *redis) { r.say("ACL SETUSER gateway " + allowed) }},
		{name: "TLS and password", args: append(secured(id), "--requirepass", redisSecret), environment: true,
			settings: "tls: on, password_env: SECRET"},
		{name: "TLS of an unknown authority", args: secured(other), settings: "tls: on", environment: true,
			trouble: "certificate", mend: again(secured(id))},
		{name: "no TLS there", settings: "tls: on", environment: true, // it waits for the rest of what it takes for a command
			trouble: "deadline", mend: again(secured(id))},
		{name: "TLS of the authority in a file", args: secured(id), settings: authority("")},
		{name: "TLS of another authority than that in a file", args: secured(other), settings: authority(""),
			trouble: "certificate", mend: again(secured(id))},
		{name: "authority in a file that is put right", args: secured(id), settings: fmt.Sprintf("tls: {ca: %q}", changing),
			trouble: "certificate", mend: func(*redis) { roots(id) }},
		{name: "certificate for the name", args: secured(id), settings: authority("sni: localhost")},
		{name: "it asks for a certificate", args: asking, settings: shown(cert, key)},
		{name: "it asks for a certificate, and there is none", args: asking, settings: authority(""),
			trouble: "asked for a certificate, and there is none", mend: again(secured(id))},
		{name: "it asks for a certificate, and knows another", args: asking, settings: shown(strangeCert, strangeKey),
			trouble: "asked for a certificate, and was shown one", mend: again(secured(id))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t, c.args...)
			r.say(c.prepare...)
			addr := gateway.FreeAddr(t)
			env := []string{"SECRET=" + redisSecret}
			if c.environment {
				env = append(env, "SSL_CERT_FILE="+id.CertFile)
			}
			p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
filters:
  few: {limit: {rate: 1000/h, shared: {redis: {address: %q, timeout: 1s, %s}, when_unreachable: closed}}}
routes: [{path: /, respond: 200, filters: [few]}]
`, addr, r.addr, c.settings), gateway.Options{ExtraEnv: env})
			f := &fleet{t: t, addrs: []string{addr}, processes: []*gateway.Process{p}, client: plainClient(t)}
			if c.trouble != "" {
				f.number("store_failures", func(v float64) bool { return v > 2 })
				f.number("store_unreachable", func(v float64) bool { return v == 1 })
				if got := fmt.Sprint(f.each(2, "/", "")); got != "map[503 limit_store_unreachable:2]" {
					t.Errorf("with a Redis that cannot be used: %s", got)
				}
				lines := 0
				for line := range strings.Lines(p.Log()) {
					if strings.Contains(line, "Redis cannot be used") {
						lines++
						if !strings.Contains(line, c.trouble) || !strings.Contains(line, r.addr) {
							t.Errorf("the log does not say %s, or which Redis: %s", c.trouble, line)
						}
					}
				}
				if lines != 1 {
					t.Errorf("the log says it %d times, want once", lines)
				}
				c.mend(r)
			}
			f.number("store_unreachable", func(v float64) bool { return v == 0 })
			f.number("store_reports", func(v float64) bool { return f.each(1, "/", "")["200"] == 1 && v > 0 })
			for _, path := range []string{"/api/config", "/api/guards", "/metrics"} {
				status, page, err := p.AdminGet(path)
				if err != nil || status != 200 || strings.Contains(string(page), redisSecret) {
					t.Errorf("%s: %d, %v, or it tells the password", path, status, err)
				}
			}
			explain := exec.Command(os.Getenv(gateway.BinaryEnv), "explain", "-c", p.ConfigPath(), "http://exam.test/")
			explain.Env = append(os.Environ(), "SECRET="+redisSecret)
			said, err := explain.CombinedOutput()
			if err != nil || !strings.Contains(string(said), "1000/h") || strings.Contains(string(said)+p.Log(), redisSecret) {
				t.Errorf("explain or the log: %v\n%s", err, said)
			}
		})
	}
}

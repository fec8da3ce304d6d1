//go:build linux

package guards

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
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

// A Redis that wants a password, a user or TLS: with the right ones it is used; with wrong ones there is one line in the log and the
// metric, the rule goes by when_unreachable, and all is well once the Redis is mended. The password is seen nowhere.
func TestRedisWithSecrets(t *testing.T) {
	id, other := gateway.NewIdentity(t), gateway.NewIdentity(t)
	secured := func(id *gateway.Identity) []string {
		return []string{"--tls-cert-file", id.CertFile, "--tls-key-file", id.KeyFile, "--tls-ca-cert-file", id.CertFile, "--tls-auth-clients", "no"}
	}
	// What the guide says that the user needs, and nothing else.
	const allowed = "+eval +evalsha +time +pexpire +@hash +@sortedset ~yumen:*"
	for _, c := range []struct {
		name     string
		args     []string // of the server
		prepare  []string // commands to it
		settings string   // of the rule's Redis
		trouble  string   // what the log says of it; "": it is used from the beginning
		mend     func(r *redis)
	}{
		{name: "password", args: []string{"--requirepass", redisSecret}, settings: "password_env: SECRET"},
		{name: "wrong password", args: []string{"--requirepass", "another"}, settings: "password_env: SECRET", trouble: "WRONGPASS",
			mend: func(r *redis) { r.say("AUTH another", "CONFIG SET requirepass "+redisSecret) }},
		{name: "no password", args: []string{"--requirepass", "another"}, trouble: "NOAUTH",
			mend: func(r *redis) { r.say("AUTH another", `CONFIG SET requirepass ""`) }},
		{name: "user", prepare: []string{"ACL SETUSER gateway on >" + redisSecret + " " + allowed}, settings: "username: gateway, password_env: SECRET"},
		{name: "unknown user", settings: "username: gateway, password_env: SECRET", trouble: "WRONGPASS",
			mend: func(r *redis) { r.say("ACL SETUSER gateway on >" + redisSecret + " " + allowed) }},
		{name: "user who may do nothing", prepare: []string{"ACL SETUSER gateway on >" + redisSecret}, settings: "username: gateway, password_env: SECRET", trouble: "NOPERM",
			mend: func(r *redis) { r.say("ACL SETUSER gateway " + allowed) }},
		{name: "TLS and password", args: append(secured(id), "--requirepass", redisSecret), settings: "tls: on, password_env: SECRET"},
		{name: "TLS of an unknown authority", args: secured(other), settings: "tls: on", trouble: "certificate",
			mend: func(r *redis) { r.kill(); r.args = secured(id); r.start() }},
		{name: "no TLS there", settings: "tls: on", trouble: "deadline", // it waits for the rest of what it takes for a command
			mend: func(r *redis) { r.kill(); r.args = secured(id); r.start() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t, c.args...)
			r.say(c.prepare...)
			addr := gateway.FreeAddr(t)
			p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
routes: [{path: /, respond: 200, filters: [limit: {rate: 1000/h, shared: {redis: {address: %q, timeout: 1s, %s}, when_unreachable: closed}}]}]
`, addr, r.addr, c.settings), gateway.Options{ExtraEnv: []string{"SECRET=" + redisSecret, "SSL_CERT_FILE=" + id.CertFile}})
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
			if err != nil || !strings.Contains(string(said), "1000/h") || strings.Contains(string(said), redisSecret) || strings.Contains(p.Log(), redisSecret) {
				t.Errorf("explain or the log: %v\n%s", err, said)
			}
		})
	}
}

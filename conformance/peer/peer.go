//go:build linux

// Package peer runs other people's proxies (nginx, HAProxy, Caddy) for the suites: as the subject beside ours that shows
// what a suite itself gets wrong, and as a figure to compare with.
//
// It owns the processes it starts. A peer that is not installed skips the test that asks for it.
package peer

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// readyMax is how long a peer may take to listen; the slowest takes a tenth of a second.
const readyMax = 10 * time.Second

// Nginx runs nginx with an http section (its inside), until the test ends, and returns its process id. It is
// ready once every address listens.
func Nginx(t testing.TB, http string, addrs ...string) (pid int) {
	t.Helper()
	dir := t.TempDir()
	conf := fmt.Sprintf(`user root; daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f;
  uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s
}
`, dir, http)
	return start(t, dir, conf, addrs, "nginx", "-c", filepath.Join(dir, "conf"), "-e", filepath.Join(dir, "error.log"))
}

// HAProxy runs HAProxy with frontends and backends, until the test ends. Timeouts and mode are set already.
func HAProxy(t testing.TB, proxies string, addrs ...string) (pid int) {
	t.Helper()
	dir := t.TempDir()
	conf := "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n" +
		"  http-reuse always\n" + proxies + "\n"
	return start(t, dir, conf, addrs, "haproxy", "-db", "-f", filepath.Join(dir, "conf"))
}

// Caddy runs Caddy with a Caddyfile, until the test ends. The admin API and the storage outside the test are off.
func Caddy(t testing.TB, caddyfile string, addrs ...string) (pid int) {
	t.Helper()
	dir := t.TempDir()
	return start(t, dir, caddyfile, addrs, "caddy", "run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "conf"))
}

func start(t testing.TB, dir, conf string, addrs []string, name string, args ...string) (pid int) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "output")
	output, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			if said, err := os.ReadFile(log); err == nil {
				t.Logf("%s said: %s", name, strings.TrimSpace(string(said)))
			}
		}
	})
	for _, addr := range addrs {
		gateway.Eventually(t, readyMax, name+" listens", func() error {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	return cmd.Process.Pid
}

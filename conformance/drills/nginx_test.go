//go:build linux

package drills

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// A real nginx is the upstream. It closes each kept connection after ten requests, and is reloaded five times under load,
// which makes its old workers close theirs: no GET fails.
func TestNginxUpstreamReloadsAreNotFelt(t *testing.T) {
	up, nginx := startNginx(t)
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app, retry: {attempts: 3}}]
`, addr, up), gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 8}.Start(0)
	for range 5 {
		awaitMore(t, load, 1000)
		if err := nginx.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	awaitMore(t, load, 1000)
	assertNoneFailed(t, load)
}

func startNginx(t *testing.T) (addr string, process *os.Process) {
	t.Helper()
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is not installed")
	}
	dir := t.TempDir()
	addr = gateway.FreeAddr(t)
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; keepalive_requests 10; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p;
  fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; location / { return 200 "from nginx\n"; } } }
`, dir, addr)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", path, "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	gateway.Eventually(t, patience, "nginx listens", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	return addr, cmd.Process
}

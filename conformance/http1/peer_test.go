//go:build linux

package http1

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

// lane is one worker's way through the gateway.
type lane struct{ listen, upstream string }

// startYumen runs the gateway itself: a listener, a cluster and the two routes of the deny rule for each lane.
func startYumen(t *testing.T, lanes []lane) {
	var listeners, clusters, routes strings.Builder
	for i, l := range lanes {
		fmt.Fprintf(&listeners, "  - {name: l%d, address: %q}\n", i, l.listen)
		fmt.Fprintf(&clusters, "  c%d: {endpoints: [%q], eject: off}\n", i, l.upstream)
		for _, path := range []string{"/denied", "/denied/*"} {
			fmt.Fprintf(&routes, "  - {match: {listener: l%d, path: %q}, respond: {status: 403}}\n", i, path)
		}
		fmt.Fprintf(&routes, "  - {match: {listener: l%d, path: \"/*\"}, cluster: c%d}\n", i, i)
	}
	// One loop, so that an honest request afterwards meets the very connections a case has used.
	gateway.Start(t, "limits: {loops: 1}\nlisteners:\n"+listeners.String()+"clusters:\n"+clusters.String()+"routes:\n"+routes.String(), gateway.Options{})
}

// startNginx runs nginx as many people do: keep-alive to the upstream, everything else as it comes.
func startNginx(t *testing.T, lanes []lane) {
	dir := t.TempDir()
	var servers strings.Builder
	for i, l := range lanes {
		fmt.Fprintf(&servers, `
  upstream u%[1]d { server %[3]s max_fails=0; keepalive 8; }
  server { listen %[2]s;
    location ^~ /denied { return 403; }
    location / { proxy_pass http://u%[1]d; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }`,
			i, l.listen, l.upstream)
	}
	conf := fmt.Sprintf(`user root; daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f;
  uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;%[2]s
}`, dir, servers.String())
	startPeer(t, dir, conf, lanes, "nginx", "-c", filepath.Join(dir, "conf"), "-e", filepath.Join(dir, "error.log"))
}

func startHAProxy(t *testing.T, lanes []lane) {
	dir := t.TempDir()
	conf := "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n  http-reuse always\n  option forwardfor\n"
	for i, l := range lanes {
		conf += fmt.Sprintf("frontend f%[1]d\n  bind %[2]s\n  http-request deny if { path /denied } or { path_beg /denied/ }\n  default_backend b%[1]d\nbackend b%[1]d\n  server s %[3]s\n",
			i, l.listen, l.upstream)
	}
	startPeer(t, dir, conf, lanes, "haproxy", "-f", filepath.Join(dir, "conf"))
}

func startPeer(t *testing.T, dir, conf string, lanes []lane, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, out.String())
		}
	})
	gateway.Eventually(t, 10*time.Second, name+" listens", func() error {
		c, err := net.Dial("tcp", lanes[len(lanes)-1].listen)
		if err == nil {
			c.Close()
		}
		return err
	})
}

//go:build linux

package drills

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// SIGUSR2 comes three times while clients send: each time a process of the binary on disk takes the sockets over, the pid
// file names it, and the old one drains and leaves with 0. No request fails, on kept or on fresh connections.
func TestUpgradeUnderLoadFailsNoRequest(t *testing.T) {
	addr, p, _ := startForUpgrade(t)
	kept := gateway.Load{Addr: addr, Clients: 4}.Start(0)
	fresh := gateway.Load{Addr: addr, Clients: 4, Fresh: true}.Start(0)
	for range 3 {
		awaitMore(t, kept, 300)
		awaitMore(t, fresh, 300)
		next := p.Upgrade()
		p.AwaitExit(patience)
		p = next
	}
	awaitMore(t, kept, 300)
	awaitMore(t, fresh, 300)
	for name, tally := range map[string]gateway.Tally{"kept": kept.Stop(), "fresh": fresh.Stop()} {
		t.Logf("%s connections: %v", name, tally)
		if tally.Failures() > 0 {
			t.Errorf("requests on %s connections failed during upgrades", name)
		}
	}
}

// brokenUpgrade is how the old process says in its log that it carries on.
var brokenUpgrade = regexp.MustCompile(`(?i)upgrade[^\n]*(fail|abort|carr)|(fail|abort)[^\n]*upgrade`)

// The binary on disk is broken when SIGUSR2 comes: it leaves at once. The old process carries on, the pid file still
// names it, and no request fails.
func TestUpgradeToBrokenBinaryCarriesOn(t *testing.T) {
	addr, p, binary := startForUpgrade(t)
	load := gateway.Load{Addr: addr, Clients: 4}.Start(0)
	awaitMore(t, load, 100)
	replaceFile(t, binary, []byte("#!/bin/sh\nexit 3\n"))

	p.Signal(syscall.SIGUSR2)

	gateway.Eventually(t, patience, "the log says that the upgrade failed", func() error {
		if !brokenUpgrade.MatchString(p.Log()) {
			return errors.New("not yet")
		}
		return nil
	})
	awaitMore(t, load, 300)
	if pid, err := p.PIDFile(); err != nil || pid != p.PID() {
		t.Errorf("the pid file says %d, %v; the process that serves is %d", pid, err, p.PID())
	}
	if tally := load.Stop(); tally.Failures() > 0 || tally.Announce > 0 {
		t.Errorf("a failed upgrade was felt: %v; %d connections told to close", tally, tally.Announce)
	}
}

// startForUpgrade starts a gateway from a copy of the binary that a drill may replace.
func startForUpgrade(t *testing.T) (addr string, p *gateway.Process, binary string) {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(gateway.BinaryEnv))
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(t.TempDir(), "yumen")
	replaceFile(t, binary, text)
	addr = gateway.FreeAddr(t)
	p = gateway.Start(t, fmt.Sprintf(`listen: %q
drain: {timeout: 10s, idle: 500ms}
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, startLocal(t, "up", nil)), gateway.Options{Binary: binary})
	return addr, p, binary
}

// replaceFile puts another file in the place of one that may be running.
func replaceFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".next", text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// awaitMore waits until a load has done that many requests more.
func awaitMore(t *testing.T, load *gateway.Running, more int) {
	t.Helper()
	until := load.Done() + more
	gateway.Eventually(t, patience, fmt.Sprintf("%d more requests are done", more), func() error {
		if done := load.Done(); done < until {
			return fmt.Errorf("%d of %d", done, until)
		}
		return nil
	})
}

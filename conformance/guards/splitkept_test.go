//go:build linux

package guards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// mortal is a gateway that is killed and started again, with one document.
type mortal struct {
	t           *testing.T
	file, admin string
	cmd         *exec.Cmd
}

func newMortal(t *testing.T, document string) *mortal {
	t.Helper()
	m := &mortal{t: t, admin: gateway.FreeAddr(t)}
	m.file = filepath.Join(t.TempDir(), "yumen.yaml")
	if err := os.WriteFile(m.file, fmt.Appendf(nil, "admin: {address: %q}\n%s", m.admin, document), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	m.start()
	return m
}

func (m *mortal) start() {
	m.t.Helper()
	m.cmd = exec.Command(os.Getenv(gateway.BinaryEnv), "run", "-c", m.file)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	gateway.Eventually(m.t, patience, "the gateway answers", func() error {
		if out, err := m.yumen("split"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// kill ends it without a word.
func (m *mortal) kill() {
	if m.cmd.Process == nil {
		return // it could not be started, which is told
	}
	_ = m.cmd.Process.Signal(syscall.SIGKILL)
	_ = m.cmd.Wait()
}

func (m *mortal) again() {
	m.t.Helper()
	m.kill()
	m.start()
}

// yumen asks it by a command.
func (m *mortal) yumen(args ...string) (string, error) {
	out, err := exec.Command(os.Getenv(gateway.BinaryEnv), append(args, "--admin", m.admin)...).CombinedOutput()
	return string(out), err
}

// split runs `yumen split shop` with more.
func (m *mortal) split(args ...string) string {
	m.t.Helper()
	out, err := m.yumen(append([]string{"split", "shop"}, args...)...)
	if err != nil {
		m.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// splitBetween is a split of two upstreams.
func splitBetween(addr, app, next string) string {
	return fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: [%q], next: [%q]}
filters: {shop: {split: {variants: [{name: blue, cluster: app}, {name: green, cluster: next, weight: 0%%}]}}}
routes: [{path: /*, cluster: app, filters: [shop]}]
`, addr, app, next)
}

// Who switched to green is on green after a crash, from the first request on.
func TestASwitchOutlivesACrash(t *testing.T) {
	t.Parallel()
	app, next := version(t, "app"), version(t, "next")
	addr := gateway.FreeAddr(t)
	m := newMortal(t, splitBetween(addr, app, next))
	client := plainClient(t)
	want := func(body string) {
		t.Helper()
		if got := strings.TrimSpace(plain(t, ask(t, client, addr, "GET /", "", nil))); got != body {
			t.Errorf("got %s, want %s", got, body)
		}
	}
	want("app")
	m.split("--all", "green")
	m.again()
	want("next")
	if text := m.split("--json"); !strings.Contains(text, `"source": "override"`) || !strings.Contains(text, `"before": 1`) {
		t.Error(text)
	}
	m.split("--back")
	m.again()
	want("app")
	// A file that is no file of ours: said, and no reason not to start.
	m.split("--all", "green")
	state := filepath.Join(filepath.Dir(m.file), ".yumen", filepath.Base(m.file), "splits.state")
	m.kill()
	if err := os.WriteFile(state, []byte("yumen splits x\n{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	want("app")
}

// One that was rolled back stays rolled back, with its reasons.
func TestARolledBackCanaryOutlivesACrash(t *testing.T) {
	t.Parallel()
	stable, canary := newRelease(t, 0), newRelease(t, 3)
	addr := gateway.FreeAddr(t)
	m := newMortal(t, canaryDocument(addr, stable, canary, "steps: [25%, 100%], step_time: 1h", ""))
	load := gateway.Load{Addr: addr, Clients: 4, Check: anything}.Start(0)
	rolledBack := func() error {
		if text := m.split(); !strings.Contains(text, "is rolled_back, step 1 of 2") || !strings.Contains(text, "more_errors") {
			return fmt.Errorf("%s", text)
		}
		return nil
	}
	gateway.Eventually(t, patience, "the canary is rolled back", rolledBack)
	load.Stop()
	state := filepath.Join(filepath.Dir(m.file), ".yumen", filepath.Base(m.file), "splits.state")
	gateway.Eventually(t, patience, "that is written down", func() error {
		text, err := os.ReadFile(state)
		if err == nil && !strings.Contains(string(text), `"state":"rolled_back"`) {
			err = fmt.Errorf("%d bytes without it", len(text))
		}
		return err
	})
	m.again()
	if err := rolledBack(); err != nil {
		t.Error(err)
	}
	was := canary.asked.Load()
	if tally := (gateway.Load{Addr: addr, Clients: 4, Check: anything}).Run(1000); tally.Failures() != 0 {
		t.Error(tally)
	}
	if n := canary.asked.Load(); n != was {
		t.Errorf("%d requests came to the canary that was rolled back", n-was)
	}
	if err := rolledBack(); err != nil {
		t.Error(err)
	}
}

// Upgrades under load: green before, between and after, no request is lost, and what is set between two of them holds.
func TestASwitchOutlivesUpgrades(t *testing.T) {
	t.Parallel()
	app, next := version(t, "app"), version(t, "next")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, splitBetween(addr, app, next), gateway.Options{})
	order(t, p, "PUT", "/api/splits/shop", `{"weights": {"green": "100%"}}`)
	load := gateway.Load{Addr: addr, Clients: 4, Check: func(_, _ int, a *gateway.Answer) error {
		if a.Status != 200 || !strings.HasPrefix(a.Body, "next") {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	}}.Start(0)
	for range 2 {
		p = p.Upgrade()
		order(t, p, "PUT", "/api/splits/shop", `{"weights": {"green": "100%"}}`)
	}
	done := load.Done()
	gateway.Eventually(t, patience, "more requests are answered", func() error {
		if load.Done() < done+500 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if tally := load.Stop(); tally.Failures() != 0 {
		t.Error(tally)
	}
	_, text, err := p.AdminGet("/api/splits/shop")
	if err != nil || !strings.Contains(string(text), `"before": 3`) {
		t.Errorf("%v: %s", err, text)
	}
}

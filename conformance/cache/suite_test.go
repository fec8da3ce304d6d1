//go:build linux

package cache

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// The suite, and what its client needs of others: at exactly these versions.
const (
	suiteVersion = "http-cache-tests@0.4.5"
	fetchVersion = "node-fetch@2.6.1"
	feature      = "cache-tests"
)

// fetchMax bounds the fetching of the suite, runMax a run: 300 cases of which most pause for three seconds, sixty at a time.
const (
	fetchMax = 2 * time.Minute
	runMax   = 4 * time.Minute
)

// suite returns the folder in which the suite lies, fetched if it is not there yet, or skips the test.
func suite(t *testing.T) string {
	t.Helper()
	insisted := strings.Split(os.Getenv(gateway.RequireEnv), ",")
	required := slices.Contains(insisted, feature) || slices.Contains(insisted, "all")
	missing := func(format string, args ...any) {
		t.Helper()
		if required {
			t.Fatalf(format, args...)
		}
		t.Skipf(format, args...)
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("%s is not there: %v", program, err)
		}
	}
	base, err := os.UserCacheDir()
	if err != nil {
		missing("no folder to keep the suite in: %v", err)
	}
	dir := filepath.Join(base, "yumen-conformance", suiteVersion)
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return dir
	}
	// It is made beside its place and then renamed: a fetch that is cut leaves nothing that looks whole.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half)
	ctx, cancel := context.WithTimeout(t.Context(), fetchMax)
	defer cancel()
	// The suite depends on an old npm, which only its scripts use: nothing of it is run.
	cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", half, "--ignore-scripts", "--no-save", "--no-audit", "--no-fund", suiteVersion, fetchVersion)
	cmd.Dir = half
	if out, err := cmd.CombinedOutput(); err != nil {
		required = slices.Contains(insisted, feature) // a registry that is away is nobody's fault here
		missing("npm cannot fetch %s: %v\n%s", suiteVersion, err, out)
	}
	if err := os.Rename(half, dir); err != nil && !errors.Is(err, os.ErrExist) {
		if _, there := os.Stat(filepath.Join(dir, "node_modules")); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verdict is what became of one case.
type verdict struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind"` // required, optimal, check
	Depends []string `json:"depends"`
	Result  any      `json:"result"` // true, or a list: whose fault, and what was wrong
}

func (v *verdict) passed() bool { return v.Result == true }

func (v *verdict) cause() string { return strings.TrimSpace(fmt.Sprint(v.Result)) }

// judge has the suite's client judge what listens on addr.
func judge(t *testing.T, dir, addr string) []verdict {
	t.Helper()
	driver, err := filepath.Abs(filepath.Join("testdata", "drive.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", driver, dir, "http://"+addr)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running the suite: %v\n%s", err, said.Bytes())
	}
	var list []verdict
	for line := range bytes.Lines(out) {
		var v verdict
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		list = append(list, v)
	}
	return list
}

// origin runs the suite's own server, and returns its address.
func origin(t *testing.T, dir string) string {
	t.Helper()
	addr := gateway.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("node", "server/server.mjs")
	cmd.Dir = filepath.Join(dir, "node_modules", "http-cache-tests")
	cmd.Env = append(os.Environ(), "npm_config_protocol=http", "npm_config_port="+port, "npm_config_pidfile="+filepath.Join(t.TempDir(), "pid"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	gateway.Eventually(t, 20*time.Second, "the suite's origin listens", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	return addr
}

// casesMin is what the suite has for shared caches; fewer means that a part of it did not run.
const casesMin = 329

// TestCacheTests fails for each case that goes otherwise than the lists say. The cases go by a clock of seconds, which a busy machine
// can upset: what went wrong has to go wrong twice.
func TestCacheTests(t *testing.T) {
	exceptions, checks := readList(t, "exceptions.txt"), readList(t, "checks.txt")
	dir := suite(t)
	wrong := compare(run(t, dir), exceptions, checks)
	if len(wrong) == 0 {
		return
	}
	again := compare(run(t, dir), exceptions, checks)
	for _, w := range wrong {
		if slices.Contains(again, w) {
			t.Error(w)
		} else {
			t.Logf("only once: %s", w)
		}
	}
}

// run has the suite judge a gateway of its own.
func run(t *testing.T, dir string) []verdict {
	t.Helper()
	addr := gateway.FreeAddr(t)
	// The heuristic is on, since the suite has cases for it, and a failed attempt is not followed by another: the suite counts.
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
filters: {pages: {cache: {heuristic: 10%%}}}
routes: [{path: /*, cluster: app, filters: [pages], retry: {attempts: 1}}]
`, addr, origin(t, dir)), gateway.Options{})
	verdicts := judge(t, dir, addr)
	if len(verdicts) < casesMin {
		t.Errorf("%d cases, want at least %d", len(verdicts), casesMin)
	}
	passed := map[string]int{}
	all := map[string]int{}
	for _, v := range verdicts {
		all[v.Kind]++
		if v.passed() {
			passed[v.Kind]++
		}
	}
	t.Logf("required %d of %d, optimal %d of %d; checks answered yes %d of %d", passed["required"], all["required"],
		passed["optimal"], all["optimal"], passed["check"], all["check"])
	return verdicts
}

// compare holds verdicts against the lists.
func compare(verdicts []verdict, exceptions, checks map[string]string) (wrong []string) {
	met := map[string]bool{}
	for _, v := range verdicts {
		met[v.ID] = true
		list, name := exceptions, "exceptions.txt"
		if v.Kind == "check" {
			list, name = checks, "checks.txt"
		}
		reason, listed := list[v.ID]
		switch {
		case !v.passed() && !listed:
			wrong = append(wrong, fmt.Sprintf("%s (%s) fails: %s", v.ID, v.Kind, v.cause()))
		case v.passed() && listed:
			wrong = append(wrong, fmt.Sprintf("%s passes: take it off %s (%s)", v.ID, name, reason))
		}
	}
	for name, list := range map[string]map[string]string{"exceptions.txt": exceptions, "checks.txt": checks} {
		for id := range list {
			if !met[id] {
				wrong = append(wrong, fmt.Sprintf("%s stands in %s, and the suite has no such case", id, name))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// readList reads lines "case : reason".
func readList(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list := map[string]string{}
	for s := bufio.NewScanner(file); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, reason, ok := strings.Cut(line, " : ")
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("%s: %q is not \"case : reason\"", path, line)
		}
		list[strings.TrimSpace(id)] = strings.TrimSpace(reason)
	}
	return list
}

func TestVerdictsAreHeldAgainstTheLists(t *testing.T) {
	verdicts := []verdict{{ID: "a", Kind: "required", Result: true}, {ID: "b", Kind: "optimal", Result: []any{"Assertion", "no"}}, {ID: "c", Kind: "check", Result: []any{"x"}}}
	f := func(exceptions, checks map[string]string, want string) {
		t.Helper()
		if got := strings.Join(compare(verdicts, exceptions, checks), "; "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	why := func(ids ...string) map[string]string {
		m := map[string]string{}
		for _, id := range ids {
			m[id] = "why"
		}
		return m
	}
	f(nil, nil, "b (optimal) fails: [Assertion no]; c (check) fails: [x]")
	f(why("b"), why("c"), "")
	f(why("a", "b"), why("c"), "a passes: take it off exceptions.txt (why)")
	f(why("b", "d"), why("c"), "d stands in exceptions.txt, and the suite has no such case")
	f(why("b", "c"), nil, "c (check) fails: [x]")
}

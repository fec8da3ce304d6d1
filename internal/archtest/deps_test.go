package archtest

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite cmd/yumen/deps.txt and the api.txt of the kit")

const depsHead = `# Every package linked into yumen on Linux, after the module it comes from; "std" is Go's own library.
# A line more here is a decision: it shows in the change that adds it. Rewrite with
#     go test ./internal/archtest -run TestLinkedPackages -update
`

// TestLinkedPackages compares what cmd/yumen links with the list beside it, so that a dependency cannot arrive unseen.
func TestLinkedPackages(t *testing.T) {
	const file = "../../cmd/yumen/deps.txt"
	if _, err := os.Stat("../../cmd/yumen"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("cmd/yumen does not exist")
	}
	got := linkedPackages(t)
	if *update {
		if err := os.WriteFile(file, []byte(depsHead+strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			want = append(want, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("yumen links %s, which cmd/yumen/deps.txt does not list: is it worth it? Then -update", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("cmd/yumen/deps.txt lists %s, which is no longer linked: -update", line)
		}
	}
}

// linkedPackages asks the go command. System and cgo are fixed so that the list is the same on every machine; Go's
// internal packages are left out because they change with each release and nobody here chooses them.
func linkedPackages(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if .Standard}}std{{else}}{{.Module.Path}}{{end}} {{.ImportPath}}", "../../cmd/yumen")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		p, std := strings.CutPrefix(line, "std ")
		return std && (strings.HasPrefix(p, "vendor/") || slices.Contains(strings.Split(p, "/"), "internal"))
	})
	slices.Sort(lines)
	return lines
}

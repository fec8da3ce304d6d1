//go:build linux

package gateway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BinaryEnv names the environment variable with the path of the yumen binary under test. When it is unset, Main builds
// one and sets it for the tests it runs.
const BinaryEnv = "YUMEN_BINARY"

// Main is the body of a TestMain: it builds cmd/yumen once for the whole package, runs the tests and removes the
// binary. A binary that does not build fails the package: a conformance run without a gateway would prove nothing.
func Main(m *testing.M) int {
	if os.Getenv(BinaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "yumen-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a folder for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "yumen")
	if err := Build(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(BinaryEnv, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Build compiles cmd/yumen of the module around the working directory to the file at path.
func Build(path string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", path, "./cmd/yumen")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building cmd/yumen: %w\n%s", err, out)
	}
	return nil
}

// ModuleRoot is the folder of the module around the working directory: where the tools and cmd/yumen are built from.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module file: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", fmt.Errorf("building cmd/yumen: the working directory is outside any module")
	}
	return filepath.Dir(mod), nil
}

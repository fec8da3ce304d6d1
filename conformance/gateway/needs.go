//go:build linux

package gateway

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// RequireEnv names the environment variable that turns skips into failures: a list of features separated by commas, or
// "all". A feature that was served once must not go missing quietly.
const RequireEnv = "YUMEN_REQUIRE"

// Feature is something a suite can only judge when the gateway speaks it. Its text is the reason of a skip.
type Feature string

// The features the suites ask for.
const (
	H2CListener Feature = "h2c-listener"
	TLSListener Feature = "tls-listener"
	H2CCluster  Feature = "h2c-cluster"
	H2Cluster   Feature = "h2-cluster"
	GRPCHealth  Feature = "grpc-health"
	GRPCWeb     Feature = "grpc-web"
	// GRPC is everything that wants to know a call from a request: statuses for the gateway's own errors, deadlines,
	// retries. Only the last has a word in a document, and stands for all.
	GRPC Feature = "grpc"
)

// probes are the smallest documents that use a feature. One that `yumen check` refuses means that the gateway does not
// speak it. CERT and KEY stand for the files of an Identity.
var probes = map[Feature]string{
	H2CListener: `
listeners: [{name: l, address: "127.0.0.1:1", protocols: [h2c, http1]}]
routes: [{path: /*, respond: {status: 200}}]`,
	TLSListener: `
listeners: [{name: l, address: "127.0.0.1:1", tls: {certificates: [{cert: "CERT", key: "KEY"}]}}]
routes: [{path: /*, respond: {status: 200}}]`,
	H2CCluster: `
listen: "127.0.0.1:1"
clusters: {rpc: {endpoints: ["127.0.0.1:2"], protocol: h2c}}
routes: [{path: /*, cluster: rpc}]`,
	H2Cluster: `
listen: "127.0.0.1:1"
clusters: {far: {endpoints: ["127.0.0.1:2"], protocol: h2, tls: {ca: "CERT", sni: localhost}}}
routes: [{path: /*, cluster: far}]`,
	GRPCHealth: `
listen: "127.0.0.1:1"
clusters: {rpc: {endpoints: ["127.0.0.1:2"], protocol: h2c, health: {type: grpc, interval: 1s, timeout: 500ms}}}
routes: [{path: /*, cluster: rpc}]`,
	GRPCWeb: `
listen: "127.0.0.1:1"
clusters: {rpc: {endpoints: ["127.0.0.1:2"], protocol: h2c}}
routes: [{path: /*, cluster: rpc, filters: [{grpc_web: {}}]}]`,
	GRPC: `
listen: "127.0.0.1:1"
clusters: {rpc: {endpoints: ["127.0.0.1:2"], protocol: h2c}}
routes: [{path: /*, cluster: rpc, retry: {attempts: 3, on: [connect, reset, grpc_unavailable]}}]`,
}

// Require skips the test unless the gateway accepts a document with each of the features. So a suite that stands ready
// before the gateway does switches itself on; with RequireEnv it fails instead.
func Require(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		said, ok := speaks(t, f)
		if ok {
			continue
		}
		insisted := strings.Split(os.Getenv(RequireEnv), ",")
		if slices.Contains(insisted, string(f)) || slices.Contains(insisted, "all") {
			t.Fatalf("the gateway does not speak %s, and %s insists on it:\n%s", f, RequireEnv, said)
		}
		t.Skipf("the gateway does not speak %s yet", f)
	}
}

// Speaks tells whether the gateway accepts a document with the feature.
func Speaks(t testing.TB, f Feature) bool {
	t.Helper()
	_, ok := speaks(t, f)
	return ok
}

// speaks asks the program about the probe of a feature. It is asked again each time: a check takes some milliseconds.
func speaks(t testing.TB, f Feature) (said string, ok bool) {
	t.Helper()
	probe, known := probes[f]
	if !known {
		t.Fatalf("no document probes for the feature %q", f)
	}
	if strings.Contains(probe, "CERT") {
		id := NewIdentity(t)
		probe = strings.NewReplacer("CERT", id.CertFile, "KEY", id.KeyFile).Replace(probe)
	}
	path := filepath.Join(t.TempDir(), "probe.yaml")
	if err := os.WriteFile(path, []byte(probe), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(os.Getenv(BinaryEnv), "check", "-c", path).CombinedOutput()
	if err == nil {
		return "", true
	}
	if _, refused := err.(*exec.ExitError); !refused {
		t.Fatalf("asking the gateway about a document: %v", err)
	}
	return string(out), false
}

//go:build linux

package drills

import (
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// originEnv makes this test binary an upstream instead: a process that a drill may kill. Its value is the address.
const originEnv = "YUMEN_DRILL_ORIGIN"

func TestMain(m *testing.M) {
	if addr := os.Getenv(originEnv); addr != "" {
		os.Exit(serveOrigin(addr))
	}
	os.Exit(gateway.Main(m))
}

// patience bounds every wait for something that ought to happen soon.
const patience = 20 * time.Second

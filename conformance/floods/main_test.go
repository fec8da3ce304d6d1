//go:build linux

package floods

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

var (
	seconds  = flag.Int("seconds", 1, "how long each attack takes; from 10 on, latency is judged too")
	peerFlag = flag.String("peer", "", "attack haproxy instead of yumen, to see what the suite makes of it; nothing fails")
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); role {
	case roleAttacker:
		os.Exit(attackUntilTold(os.Getenv(attackEnv), os.Getenv(victimEnv)))
	case roleUpstream:
		os.Exit(serveUpstream())
	case roleDistant:
		stepBack()
		os.Exit(serveUpstream())
	}
	flag.Parse()
	if *peerFlag != "" {
		os.Exit(m.Run())
	}
	os.Exit(gateway.Main(m))
}

// patience bounds every wait for something that ought to happen soon.
const patience = 20 * time.Second

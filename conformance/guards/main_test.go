//go:build linux

package guards

import (
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestMain(m *testing.M) { os.Exit(gateway.Main(m)) }

// patience bounds every wait for something that ought to happen soon.
const patience = 20 * time.Second

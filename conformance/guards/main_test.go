//go:build linux

package guards

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestMain(m *testing.M) { os.Exit(gateway.Main(m)) }

// patience bounds every wait for something that ought to happen soon.
const patience = 20 * time.Second

// await waits until something holds that ought to soon.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	gateway.Eventually(t, patience, what, func() error {
		if !is() {
			return errors.New("not yet")
		}
		return nil
	})
}

//go:build linux

package cache

import (
	"os"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestMain(m *testing.M) { os.Exit(gateway.Main(m)) }

//go:build unix

package self_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/internal/servers/self"
)

func TestMain(m *testing.M) {
	self.Main(work)
	goleak.VerifyTestMain(m)
}

// work writes a file and waits for its end.
func work(ctx context.Context, told string) error {
	if err := os.WriteFile(told, []byte("here"), 0o600); err != nil {
		return err
	}
	self.Ready()
	<-ctx.Done()
	return nil
}

func TestAProcessDoesItsWorkAndIsKilled(t *testing.T) {
	for range 2 {
		file := filepath.Join(t.TempDir(), "file")
		p := self.Start(t, file)
		if text, err := os.ReadFile(file); string(text) != "here" {
			t.Errorf("%q, %v", text, err)
		}
		p.Freeze()
		p.Thaw()
		p.Freeze()
		done := make(chan bool)
		go func() { p.Kill(); p.Kill(); close(done) }()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("a frozen process is not killed")
		}
	}
}

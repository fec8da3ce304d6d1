//go:build unix

package mariadb_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsCommittedOutlivesAKill(t *testing.T) {
	s := mariadb.Start(t)
	db := s.Open(t, s.Database(t))
	for _, q := range []string{"CREATE TABLE a (n INT PRIMARY KEY)", "INSERT INTO a VALUES (1)"} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	addr := s.Addr()
	s.Kill()
	s.Kill()
	if err := db.Ping(); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart(t)
	if s.Addr() != addr {
		t.Fatalf("at %s, was at %s", s.Addr(), addr)
	}
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM a").Scan(&n); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
	s.Stop(t)
	s.Restart(t)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
}

func TestAFrozenServerAnswersAfterTheThaw(t *testing.T) {
	s := mariadb.Start(t)
	db := s.Open(t, "")
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "DO 1"); err == nil {
		t.Fatal("a frozen server answers")
	}
	s.Thaw()
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
}

func TestEachTestHasItsOwnDatabaseOnTheSharedServer(t *testing.T) {
	s := mariadb.Shared(t)
	if mariadb.Shared(t) != s {
		t.Fatal("two servers")
	}
	a, b := s.Database(t), s.Database(t)
	if a == b {
		t.Fatal(a)
	}
	var format, image, metadata, strict string
	row := s.Open(t, a).QueryRow("SELECT @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@gtid_strict_mode")
	if err := row.Scan(&format, &image, &metadata, &strict); err != nil {
		t.Fatal(err)
	}
	if got := format + " " + image + " " + metadata + " " + strict; got != "ROW FULL FULL 1" {
		t.Fatal(got)
	}
}

// The test binary runs itself, and the second one is killed while it has a server.
func TestNoServerOutlivesAKilledBinary(t *testing.T) {
	if os.Getenv("MARIADB_TEST_CHILD") != "" {
		s := mariadb.Shared(t)
		_, _ = os.Stdout.WriteString("addr " + s.Addr() + "\n")
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "MARIADB_TEST_CHILD=1", "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := ""
	for buf := make([]byte, 512); !strings.Contains(text, "addr "); {
		n, err := out.Read(buf)
		if text += string(buf[:n]); err != nil {
			if strings.Contains(text, "SKIP") || strings.Contains(text, "PASS") {
				t.Skip(text)
			}
			t.Fatalf("%v\n%s", err, text)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(left)
		}
	}
}

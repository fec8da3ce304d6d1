//go:build unix

package redis_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/redis"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// say sends a line and returns the answer's first line; an error if there is none within patience.
func say(s *redis.Server, line string, patience time.Duration) (string, error) {
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "%s\r\n", line)
	return bufio.NewReader(c).ReadString('\n')
}

func TestServerForgetsWhenKilledAndRemembersWhenFrozen(t *testing.T) {
	s := redis.Start(t)
	want := func(line, answer string) {
		t.Helper()
		if got, err := say(s, line, 10*time.Second); err != nil || got != answer+"\r\n" {
			t.Errorf("%s: %q, %v; want %q", line, got, err, answer)
		}
	}
	want("SET a 1", "+OK")
	s.Freeze()
	if got, err := say(s, "GET a", 50*time.Millisecond); err == nil {
		t.Errorf("a frozen server said %q", got)
	}
	s.Thaw()
	want("STRLEN a", ":1")
	s.Freeze()
	s.Kill()
	if got, err := say(s, "GET a", time.Second); err == nil {
		t.Errorf("a killed server said %q", got)
	}
	s.Restart()
	want("STRLEN a", ":0")
}

func TestServerWithAFileRemembers(t *testing.T) {
	s := redis.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	if _, err := say(s, "SET a 1", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	s.Restart()
	if got, err := say(s, "STRLEN a", 10*time.Second); err != nil || got != ":1\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

package quotas

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/storetest"
)

// redis is a real server on a port of its own.
type redis struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
}

// startRedis starts redis-server. A machine without one skips the test, unless YUMEN_REQUIRE insists on it.
func startRedis(t testing.TB, args ...string) *redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if insisted := strings.Split(os.Getenv("YUMEN_REQUIRE"), ","); slices.Contains(insisted, "all") || slices.Contains(insisted, "redis") {
			t.Fatal("redis-server is not installed, and YUMEN_REQUIRE insists on it")
		}
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &redis{t: t, addr: l.Addr().String(), args: args}
	l.Close()
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redis) start() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	args := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", r.t.TempDir()}
	r.cmd = exec.Command("redis-server", append(args, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	storetest.Eventually(r.t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kill ends it at once: what it knew is lost.
func (r *redis) kill() {
	r.cmd.Process.Signal(syscall.SIGCONT)
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

func (r *redis) freeze() { r.cmd.Process.Signal(syscall.SIGSTOP) }
func (r *redis) thaw()   { r.cmd.Process.Signal(syscall.SIGCONT) }

// node is a gateway as the store sees it.
type node struct {
	link   *Link
	source *Source
}

// newNodes starts so many, which have the rule.
func newNodes(t testing.TB, n int, s Spec) []*node {
	t.Helper()
	if s.Name == "" {
		s.Name = "test"
	}
	list := make([]*node, n)
	for i := range list {
		source, problems := Compile(s, Memory{})
		if problems != nil {
			t.Fatal(problems)
		}
		source.table.Start()
		source.table.link.Start()
		list[i] = &node{source.table.link, source}
		t.Cleanup(func() {
			source.table.Close()
			source.table.link.Close()
			<-source.table.link.Ended()
		})
	}
	return list
}

// request judges one request and waits if it has to.
func (n *node) request(key string) quota.Verdict {
	now := mono.Now()
	v := n.source.Decide([]byte(key), now, 1)
	if v.By == quota.Nobody {
		answer := make(chan quota.Verdict, 1)
		n.source.Ask([]byte(key), now, 1, func(v quota.Verdict) { answer <- v })
		v = <-answer
	}
	return v
}

// asking has each node judge requests for a key.
func asking(nodes []*node, key string) (asks []func() (bool, quota.By)) {
	for _, n := range nodes {
		asks = append(asks, func() (bool, quota.By) {
			v := n.request(key)
			return v.Allowed, v.By
		})
	}
	return asks
}

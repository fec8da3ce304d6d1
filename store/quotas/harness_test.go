package quotas

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
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
	eventually(r.t, "redis-server listens", func() bool {
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

// eventually looks every few milliseconds, for as long as a busy machine may need.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for give := time.NewTimer(20 * time.Second); ; {
		if ok() {
			return
		}
		select {
		case <-ticker.C:
		case <-give.C:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

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

// tally is what a load found.
type tally struct {
	mu       sync.Mutex
	admitted []mono.Time
	by       map[quota.By]int
	refused  int
	slowest  time.Duration
	asked    int
}

// load sends perSecond requests to each node, which never wait for each other, until stop; and returns what came of them.
func load(nodes []*node, key string, perSecond int, stop <-chan struct{}) *tally {
	t := &tally{by: map[quota.By]int{}}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			ticker := time.NewTicker(2 * time.Millisecond)
			defer ticker.Stop()
			begun, sent := mono.Now(), 0
			for {
				select {
				case <-stop:
					return
				case <-ticker.C:
				}
				due := int(mono.Now().Sub(begun).Seconds() * float64(perSecond))
				for ; sent < due; sent++ {
					n.one(t, key, &wg)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(t.admitted)
	return t
}

func (n *node) one(t *tally, key string, wg *sync.WaitGroup) {
	now := mono.Now()
	note := func(v quota.Verdict) {
		at := mono.Now()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.by[v.By]++
		t.slowest = max(t.slowest, at.Sub(now))
		if v.Allowed {
			t.admitted = append(t.admitted, at)
		} else {
			t.refused++
		}
	}
	t.mu.Lock()
	t.asked++
	t.mu.Unlock()
	v := n.source.Decide([]byte(key), now, 1)
	if v.By != quota.Nobody {
		note(v)
		return
	}
	wg.Add(1)
	n.source.Ask([]byte(key), now, 1, func(v quota.Verdict) { note(v); wg.Done() })
}

// over is the most that was admitted in any interval beyond what the rate allows in it.
func (t *tally) over(rate float64) float64 {
	worst, run := 0.0, 0.0
	var last mono.Time
	for _, at := range t.admitted {
		run = max(run-rate*at.Sub(last).Seconds(), 0) + 1
		worst, last = max(worst, run), at
	}
	return worst
}

func (t *tally) String() string {
	return fmt.Sprintf("%d admitted, %d refused, by %v", len(t.admitted), t.refused, t.by)
}

// within closes the channel after a while.
func within(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

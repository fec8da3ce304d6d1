package etcd_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

func TestMain(m *testing.M) {
	etcd.Main()
	goleak.VerifyTestMain(m)
}

func TestKilledMemberKeepsItsDataAndItsPorts(t *testing.T) {
	s := etcd.Start(t)
	c := s.Client()
	defer c.Close()
	put(t, c, "a", "1")
	before := revision(t, c)
	s.Kill()
	s.Restart()
	if got := get(t, c, "a"); got != "1" {
		t.Errorf("a = %q after a restart, want 1", got)
	}
	put(t, c, "a", "2")
	if now := revision(t, c); now != before+1 {
		t.Errorf("revision %d after a restart and a put, want %d", now, before+1)
	}
}

func TestFrozenMemberAnswersNobody(t *testing.T) {
	s := etcd.Start(t)
	c := s.Client()
	defer c.Close()
	put(t, c, "a", "1")
	s.Freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "a"); err == nil {
		t.Error("a frozen member answered")
	}
	s.Thaw()
	if got := get(t, c, "a"); got != "1" {
		t.Errorf("a = %q after thawing, want 1", got)
	}
}

func TestWipedMemberIsAnotherCluster(t *testing.T) {
	s := etcd.Start(t)
	c := s.Client()
	defer c.Close()
	put(t, c, "a", "1")
	before := read(t, c, "a").Header.ClusterId
	s.Wipe()
	if got := get(t, c, "a"); got != "" {
		t.Errorf("a = %q after wiping, want nothing", got)
	}
	if after := read(t, c, "a").Header.ClusterId; after == before {
		t.Errorf("the cluster's id is still %x after wiping", after)
	}
}

func TestCompactedRevisionsCannotBeRead(t *testing.T) {
	s := etcd.Start(t)
	c := s.Client()
	defer c.Close()
	put(t, c, "a", "1")
	old := revision(t, c)
	put(t, c, "a", "2")
	s.Compact()
	if _, err := c.Get(t.Context(), "a", clientv3.WithRev(old)); err == nil {
		t.Errorf("revision %d can be read after compaction", old)
	}
}

func TestClusterSurvivesOneMember(t *testing.T) {
	s := etcd.StartCluster(t, 3)
	c := s.Members[1].Client()
	defer c.Close()
	put(t, c, "a", "1")
	s.Members[0].Kill()
	if got := get(t, c, "a"); got != "1" {
		t.Errorf("a = %q with one member of three killed, want 1", got)
	}
}

// request is how long anything here may take: much longer than it does, since the machine may be busy.
func request(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, c *clientv3.Client, k, v string) {
	t.Helper()
	if _, err := c.Put(request(t), k, v); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *clientv3.Client, k string) *clientv3.GetResponse {
	t.Helper()
	r, err := c.Get(request(t), k)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, c *clientv3.Client, k string) string {
	t.Helper()
	r := read(t, c, k)
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func revision(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	return read(t, c, "a").Header.Revision
}

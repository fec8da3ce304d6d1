package etcd_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/registry"
	"go.etcd.io/etcd/server/v3/embed"
)

// patience is how long a test waits for what must happen; nothing in a test takes so long.
const patience = 30 * time.Second

// server is a real etcd behind a door that can be shut: connections stay, and nothing comes through.
type server struct {
	t    *testing.T
	etcd *embed.Etcd
	kill func() // ends it
	addr string // of the door

	mu   sync.Mutex
	open chan struct{} // closed while the door is open
}

func startServer(t *testing.T) *server {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	free := func() url.URL {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return url.URL{Scheme: "http", Host: l.Addr().String()}
	}
	client, peer := free(), free()
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 50, 500
	cfg.UnsafeNoFsync = true // a test does not lose its power
	cfg.LogLevel, cfg.LogOutputs = "fatal", []string{"stderr"}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(e.Close)
	t.Cleanup(kill)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(patience):
		t.Fatal("etcd does not begin")
	}
	s := &server{t: t, etcd: e, kill: kill, open: make(chan struct{})}
	close(s.open)
	s.serve(client.Host)
	return s
}

// serve carries bytes through the door, both ways.
func (s *server) serve(to string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			pass := func(a, b net.Conn) {
				defer a.Close()
				defer b.Close()
				_, _ = io.Copy(door{a, s}, b)
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
}

type door struct {
	net.Conn
	s *server
}

func (d door) Write(b []byte) (int, error) {
	d.s.mu.Lock()
	open := d.s.open
	d.s.mu.Unlock()
	<-open
	return d.Conn.Write(b)
}

// freeze shuts the door, thaw opens it.
func (s *server) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = make(chan struct{})
	open := s.open
	s.t.Cleanup(func() {
		select {
		case <-open:
		default:
			close(open)
		}
	})
}

func (s *server) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.open)
}

// services is a registry whose instances the test registers.
func (s *server) services() *registry.Registry {
	s.t.Helper()
	r, err := registry.New(registry.Config{Endpoints: []string{s.etcd.Clients[0].Addr().String()}, TTL: 5 * time.Second,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.Close() })
	return r
}

func register(t *testing.T, r *registry.Registry, i registry.Instance) *registry.Registration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	g, err := r.Register(ctx, i)
	if err == nil {
		err = g.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	enough := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-enough:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

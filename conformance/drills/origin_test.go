//go:build linux

package drills

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// handleOrigin is what every well-behaved upstream of the drills answers: who it is and which request it was.
func handleOrigin(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Origin", name)
		w.Header().Set("X-Id", r.Header.Get("X-Id"))
		fmt.Fprintf(w, "%s from %s\n", r.URL.Path, name)
	})
	return mux
}

// serveOrigin is the life of an upstream process: it serves until SIGTERM and then finishes what runs.
func serveOrigin(addr string) int {
	server := &http.Server{Addr: addr, Handler: handleOrigin(addr)}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	drained := make(chan error, 1)
	go func() {
		<-told
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		drained <- server.Shutdown(ctx)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "origin:", err)
		return 1
	}
	if err := <-drained; err != nil {
		fmt.Fprintln(os.Stderr, "origin:", err)
		return 1
	}
	return 0
}

// origin is an upstream process.
type origin struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
}

// startOrigin starts one on a port of its own and waits until it listens.
func startOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{t: t, addr: gateway.FreeAddr(t)}
	o.start()
	t.Cleanup(func() { o.end(syscall.SIGKILL) })
	return o
}

func startOrigins(t *testing.T, n int) (origins []*origin, addrs string) {
	t.Helper()
	for range n {
		origins = append(origins, startOrigin(t))
	}
	return origins, addressList(origins)
}

// addressList is the flow sequence a config wants.
func addressList(origins []*origin) string {
	var list []string
	for _, o := range origins {
		list = append(list, fmt.Sprintf("%q", o.addr))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func (o *origin) start() {
	o.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	o.cmd = exec.Command(exe)
	o.cmd.Env = append(os.Environ(), originEnv+"="+o.addr)
	o.cmd.Stderr = os.Stderr
	if err := o.cmd.Start(); err != nil {
		o.t.Fatalf("starting an upstream: %v", err)
	}
	gateway.Eventually(o.t, patience, "the upstream listens", func() error {
		c, err := net.Dial("tcp", o.addr)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// end sends a last signal and waits for the process to go.
func (o *origin) end(sig syscall.Signal) {
	_ = o.cmd.Process.Signal(sig)
	_ = o.cmd.Wait()
}

func (o *origin) signal(sig syscall.Signal) {
	o.t.Helper()
	if err := o.cmd.Process.Signal(sig); err != nil {
		o.t.Fatalf("sending %v to an upstream: %v", sig, err)
	}
}

// startLocal is an upstream in the test's own process, for what needs no killing; nil handles as handleOrigin does.
func startLocal(t *testing.T, name string, handler http.Handler) string {
	t.Helper()
	if handler == nil {
		handler = handleOrigin(name)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.CloseClientConnections) // before Close, which waits for them
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// startRaw is an upstream that does to each connection what it likes.
func startRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// reset makes the close of a connection a RST instead of a FIN.
func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

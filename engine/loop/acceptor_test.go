package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAcceptedConnectionsAreToldApartAndUndelayed(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		l := startLoop(t)
		lfd, err := Listen(netip.MustParseAddrPort(address), ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := Address(lfd)
		if err != nil {
			t.Fatal(err)
		}
		type seen struct {
			peer    netip.AddrPort
			noDelay int
			flags   int
		}
		peers := make(chan seen, 2)
		on(t, l, func() {
			if _, err := l.Accept(lfd, acceptFunc(func(fd int, peer netip.AddrPort) {
				noDelay, err1 := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
				flags, err2 := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
				if err := errors.Join(err1, err2, unix.Close(fd)); err != nil {
					t.Error(err)
				}
				peers <- seen{peer, noDelay, flags}
			}), AcceptOptions{}); err != nil {
				t.Error(err)
			}
		})
		for range 2 { // the second relies on what was learned from the first
			c := dialTCP(t, netip.AddrPortFrom(loopback.Addr(), addr.Port()))
			got := await(t, peers, "a connection")
			want := c.LocalAddr().(*net.TCPAddr).AddrPort()
			if got.peer != netip.AddrPortFrom(want.Addr().Unmap(), want.Port()) {
				t.Errorf("%s: peer %v, want %v", address, got.peer, want)
			}
			if got.noDelay == 0 || got.flags&unix.O_NONBLOCK == 0 {
				t.Errorf("%s: TCP_NODELAY %d, flags %#x", address, got.noDelay, got.flags)
			}
		}
	}
}

func TestAcceptStormIsTakenABudgetATurn(t *testing.T) {
	l := stepLoop(t)
	fd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := Address(fd)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	if _, err := l.Accept(fd, acceptFunc(func(fd int, _ netip.AddrPort) { accepted++; unix.Close(fd) }), AcceptOptions{Budget: 4}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		dialTCP(t, addr)
	}
	for turn, want := range []int{4, 8, 10, 10} {
		if l.step(); accepted != want {
			t.Errorf("accepted %d connections by turn %d, want %d", accepted, turn+1, want)
		}
	}
}

func TestPausedAcceptorLeavesConnectionsInTheQueue(t *testing.T) {
	l := startLoop(t)
	accepted := make(chan int, 8)
	a, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) { accepted <- fd }), AcceptOptions{})
	on(t, l, a.Pause)
	on(t, l, a.Pause)
	dialTCP(t, addr)
	dialTCP(t, addr)
	on(t, l, func() {})
	if len(accepted) != 0 {
		t.Error("accepted while paused")
	}
	on(t, l, a.Resume)
	on(t, l, a.Resume)
	for range 2 {
		unix.Close(await(t, accepted, "a connection from the queue"))
	}
}

func TestHandlerPausesTheAcceptorInMidQueue(t *testing.T) {
	l := startLoop(t)
	accepted := make(chan int, 8)
	var a *Acceptor // touched on the loop
	b, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) {
		accepted <- fd
		a.Pause()
	}), AcceptOptions{})
	on(t, l, func() { a = b })
	for range 3 {
		dialTCP(t, addr)
	}
	for range 3 {
		unix.Close(await(t, accepted, "a connection"))
		on(t, l, func() {})
		if len(accepted) != 0 {
			t.Error("accepted while paused")
		}
		on(t, l, b.Resume)
	}
}

func TestClosedAcceptorHandsOverItsQueue(t *testing.T) {
	for _, drain := range []bool{true, false} {
		l := startLoop(t)
		accepted := make(chan int, 8)
		a, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) { accepted <- fd }), AcceptOptions{})
		on(t, l, a.Pause)
		clients := []*net.TCPConn{dialTCP(t, addr), dialTCP(t, addr)}
		on(t, l, func() { a.Close(drain); a.Close(drain); a.Pause(); a.Resume() })
		if want := map[bool]int{true: 2, false: 0}[drain]; len(accepted) != want {
			t.Errorf("drain %v: %d connections handed over, want %d", drain, len(accepted), want)
		}
		for range len(accepted) {
			unix.Close(<-accepted)
		}
		for _, c := range clients {
			if _, err := c.Read(make([]byte, 1)); drain && err != io.EOF || !drain && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("drain %v: the client reads %v", drain, err)
			}
		}
		if a.FD() != -1 {
			t.Errorf("descriptor %d after Close", a.FD())
		}
		if c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr)); err == nil {
			c.Close()
			t.Error("somebody still listens")
		}
	}
}

func TestAcceptorClosedByItsHandler(t *testing.T) {
	l := startLoop(t)
	var accepted atomic.Int64
	closed := make(chan struct{})
	var a *Acceptor // touched on the loop
	b, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) {
		unix.Close(fd)
		if accepted.Add(1) == 1 {
			a.Close(true)
			close(closed)
		}
	}), AcceptOptions{})
	on(t, l, func() { a = b })
	dialTCP(t, addr)
	await(t, closed, "the acceptor to be closed")
}

func TestLoopsShareOneQueue(t *testing.T) {
	const connections = 40
	fd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := Address(fd)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, connections)
	for range 2 {
		dup, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		l := startLoop(t)
		on(t, l, func() {
			if _, err := l.Accept(dup, acceptFunc(func(fd int, _ netip.AddrPort) {
				unix.Close(fd)
				accepted <- struct{}{}
			}), AcceptOptions{Exclusive: true}); err != nil {
				t.Error(err)
			}
		})
	}
	unix.Close(fd)
	for range connections {
		dialTCP(t, addr)
		await(t, accepted, "a connection")
	}
}

// A listening socket that somebody shut down fails every accept: the acceptor backs off.
func TestBrokenListenerIsNotSpunOn(t *testing.T) {
	l := startLoop(t)
	failed := make(chan error, 8)
	a, _ := serve(t, l, &failures{failed: failed}, AcceptOptions{})
	on(t, l, func() {
		if err := unix.Shutdown(a.FD(), unix.SHUT_RD); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // at once, and after the back-off
		if err := await(t, failed, "the failure"); err != syscall.EINVAL {
			t.Errorf("failed with %v, want EINVAL", err)
		}
	}
	if n := l.Stats().AcceptPauses.Load(); n == 0 || n > 10 {
		t.Errorf("paused %d times", n)
	}
}

type failures struct{ failed chan error }

func (*failures) Accepted(fd int, _ netip.AddrPort) { unix.Close(fd) }
func (f *failures) AcceptFailed(err error, paused bool) {
	if paused {
		f.failed <- err
	}
}

func TestListenErrorsNameTheAddress(t *testing.T) {
	fd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	taken, err := Address(fd)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr  netip.AddrPort
		opts  ListenOptions
		cause error
		want  string
	}{
		{taken, ListenOptions{}, syscall.EADDRINUSE, "listen on " + taken.String() + ": bind: address already in use"},
		{taken, ListenOptions{ReusePort: true}, syscall.EADDRINUSE, "listen on " + taken.String() + ": bind: address already in use"},
		{netip.MustParseAddrPort("192.0.2.1:80"), ListenOptions{}, syscall.EADDRNOTAVAIL, "listen on 192.0.2.1:80: bind: cannot assign requested address"},
		{netip.MustParseAddrPort("[fe80::1%eth0]:80"), ListenOptions{}, nil, `listen on [fe80::1%eth0]:80: zone "eth0" is not an interface's number`},
		{netip.AddrPort{}, ListenOptions{}, nil, "listen on invalid AddrPort: not an IP address"},
	} {
		_, err := Listen(c.addr, c.opts)
		if err == nil || err.Error() != c.want || c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("Listen(%v, %+v)\n got %v\nwant %v", c.addr, c.opts, err, c.want)
		}
	}
}

func TestListenersShareAPortOnlyIfBothAsk(t *testing.T) {
	first, err := Listen(loopback, ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(first)
	addr, err := Address(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Listen(addr, ListenOptions{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(second)
	if third, err := Listen(addr, ListenOptions{}); !errors.Is(err, syscall.EADDRINUSE) {
		unix.Close(third)
		t.Errorf("a third that does not share: %v, want EADDRINUSE", err)
	}
}

func TestUnspecifiedIPv6ServesIPv4UnlessToldNotTo(t *testing.T) {
	for _, c := range []struct {
		v6Only bool
		want   string
	}{{false, ""}, {true, "connection refused"}} {
		fd, err := Listen(netip.MustParseAddrPort("[::]:0"), ListenOptions{V6Only: c.v6Only})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := Address(fd)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback.Addr(), addr.Port())))
		if err == nil {
			conn.Close()
		}
		if got := errText(err); !strings.HasSuffix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("V6Only %v: an IPv4 client gets %q, want %q", c.v6Only, got, c.want)
		}
		unix.Close(fd)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

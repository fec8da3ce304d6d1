package loop

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// dialOn connects on the loop and returns what ConnectResult said, and the local address.
func dialOn(t *testing.T, l *Loop, addr netip.AddrPort, opts DialOptions) (netip.AddrPort, error) {
	t.Helper()
	type outcome struct {
		err   error
		local netip.AddrPort
	}
	c := make(chan outcome, 1)
	on(t, l, func() {
		fd, err := Dial(addr, opts)
		if err != nil {
			c <- outcome{err: err}
			return
		}
		s := new(Socket)
		if err := l.Adopt(s, fd, handlerFunc(func(ev Events) {
			if ev&(Writable|Hangup) == 0 || !s.Open() {
				return
			}
			o := outcome{err: s.ConnectResult()}
			o.local, _ = Address(s.FD())
			s.Close()
			c <- o
		})); err != nil {
			c <- outcome{err: err}
		}
	})
	o := await(t, c, "the connect")
	return o.local, o.err
}

func TestDialConnects(t *testing.T) {
	l := startLoop(t)
	addr := serveEcho(t, l, nil)
	if _, err := dialOn(t, l, addr, DialOptions{}); err != nil {
		t.Error(err)
	}
	source := netip.MustParseAddr("127.0.0.9")
	if local, err := dialOn(t, l, addr, DialOptions{Source: source}); err != nil || local.Addr() != source {
		t.Errorf("connected from %v, %v, want %v", local, err, source)
	}
}

func TestRefusedConnectIsTold(t *testing.T) {
	fd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := Address(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if _, err := dialOn(t, startLoop(t), addr, DialOptions{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want ECONNREFUSED", err)
	}
}

func TestDialErrorsNameTheAddress(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:9")
	for _, c := range []struct {
		addr netip.AddrPort
		opts DialOptions
		want string
	}{
		{netip.AddrPort{}, DialOptions{}, "connect to invalid AddrPort: not an IP address"},
		{to, DialOptions{Source: netip.MustParseAddr("192.0.2.1")}, "connect to 127.0.0.1:9: from 192.0.2.1: bind: cannot assign requested address"},
		{netip.MustParseAddrPort("255.255.255.255:9"), DialOptions{}, "connect to 255.255.255.255:9: connect: "},
	} {
		fd, err := Dial(c.addr, c.opts)
		if err == nil {
			unix.Close(fd)
		}
		if !strings.HasPrefix(errText(err), c.want) || err == nil {
			t.Errorf("Dial(%v, %+v)\n got %v\nwant %s...", c.addr, c.opts, err, c.want)
		}
	}
}

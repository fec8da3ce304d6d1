package admin

import (
	"net"
	"testing"
)

func TestACrowdHasAnEnd(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	c := &crowd{Listener: inner}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var first net.Conn
	for range connectionsMax {
		dial()
		conn, err := c.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		first = conn
	}

	beyond := dial()
	accepted := make(chan net.Conn)
	go func() {
		conn, _ := c.Accept() // closes the one beyond, and waits for another
		accepted <- conn
	}()
	if _, err := beyond.Read(make([]byte, 1)); err == nil {
		t.Error("the connection beyond the limit is served")
	}

	first.Close()
	first.Close() // makes room once
	dial()
	if conn := <-accepted; conn == nil {
		t.Error("there is no room after one has left")
	} else {
		conn.Close()
	}
	if got := c.open.Load(); got != connectionsMax-1 {
		t.Errorf("%d connections counted, want %d", got, connectionsMax-1)
	}
}

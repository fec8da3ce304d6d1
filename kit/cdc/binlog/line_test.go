package binlog

import (
	"context"
	"net"
	"testing"
	"time"
)

// The library closes a connection under its own reader if it cannot set a deadline, which is a data race. Ours is cut at that
// moment, and says nothing of it but to the reader.
func TestALineThatWasCutRefusesNoDeadline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := dialer(ctx, time.Minute)(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("a line that was cut is read from")
	}
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
}

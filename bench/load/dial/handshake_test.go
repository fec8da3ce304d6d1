//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// serveTLS shakes hands with whoever comes and waits for them to go.
func serveTLS(t *testing.T, tickets bool) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: !tickets,
	})
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
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestSecondHandshakeResumesWhenAsked(t *testing.T) {
	address := serveTLS(t, true)
	for _, resume := range []bool{false, true} {
		var s session
		for n := range 3 {
			if err := s.shake(address, resume, resume && n > 0); err != nil {
				t.Errorf("resume %v, handshake %d: %v", resume, n, err)
			}
		}
	}
}

func TestServerWithoutTicketsIsAnError(t *testing.T) {
	address, s := serveTLS(t, false), session{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	if err := s.shake(l.Addr().String(), true, false); err == nil {
		t.Error("nobody was there, and the handshake succeeded")
	}
	// The first handshake has nothing to resume either way; that the second is a full one is what must be noticed.
	s.ticket = nil
	if err := s.shake(address, true, true); err == nil {
		t.Error("a full handshake passed for a resumed one")
	}
}

func TestFrameHeadRFC9113_4_1(t *testing.T) {
	got := appendFrame(nil, frameHeaders, flagEndHead, 0x01020304, []byte("abc"))
	if want := "\x00\x00\x03\x01\x04\x01\x02\x03\x04abc"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

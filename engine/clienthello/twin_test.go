package clienthello

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The slow twin puts the message together first and then takes it apart, and gives up with a panic. It says what is read
// in the words of told, and "nothing" for what is refused or not there yet.
var (
	twinName   = regexp.MustCompile(`^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$`)
	twinNumber = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)
)

type cut struct{}

// piece is a run of bytes that is taken from its front.
type piece []byte

func (p *piece) take(n int) piece {
	if n > len(*p) {
		panic(cut{})
	}
	part := (*p)[:n]
	*p = (*p)[n:]
	return part
}

func (p *piece) number(width int) int {
	n := 0
	for _, c := range p.take(width) {
		n = n*256 + int(c)
	}
	return n
}

func (p *piece) vec(width int) piece { return p.take(p.number(width)) }

func must(ok bool) {
	if !ok {
		panic(cut{})
	}
}

func slow(raw []byte) (said string) {
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(cut); !is {
				panic(r)
			}
			said = "nothing"
		}
	}()
	var (
		b       = piece(append([]byte{}, raw...))
		m       piece
		records int
	)
	for len(m) < 4 || len(m) < 4+int(m[1])<<16+int(m[2])<<8+int(m[3]) {
		must(b.number(1) == 22)
		must(b.number(1) == 3)
		b.take(1)
		fragment := b.vec(2)
		must(len(fragment) > 0 && len(fragment) <= 16384)
		records++
		m = append(m, fragment...)
	}
	must(records <= recordsMax && len(m) <= helloBytesMax)
	must(m.number(1) == 1)
	h := m.vec(3)
	must(len(m) == 0)
	h.take(34)
	must(len(h.vec(1)) <= 32)
	suites := h.vec(2)
	must(len(suites) > 0 && len(suites)%2 == 0)
	must(len(h.vec(1)) > 0)
	extensions := map[int]piece{}
	if len(h) > 0 {
		all := h.vec(2)
		must(len(h) == 0)
		for len(all) > 0 {
			kind := all.number(2)
			_, twice := extensions[kind]
			must(!twice)
			extensions[kind] = all.vec(2)
		}
		must(len(extensions) <= extensionsMax)
	}
	name, protocols := "-", []string{}
	if e, is := extensions[0]; is {
		list := e.vec(2)
		must(list.number(1) == 0)
		name = strings.ToLower(string(list.vec(2)))
		name = strings.TrimSuffix(name, ".")
		must(len(list) == 0 && len(e) == 0)
		must(len(name) <= 253 && twinName.MatchString(name) && !twinNumber.MatchString(name))
	}
	if e, is := extensions[16]; is {
		list := e.vec(2)
		must(len(e) == 0 && len(list) > 0 && len(list) <= alpnBytesMax)
		for len(list) > 0 {
			protocols = append(protocols, string(list.vec(1)))
			must(protocols[len(protocols)-1] != "")
		}
	}
	return fmt.Sprintf("%s %q", name, protocols)
}

func compareWithSlow(t *testing.T, b []byte) {
	t.Helper()
	h, done, err := Parse(b)
	got := told(h, done, err)
	if !done {
		got = "nothing"
	}
	if want := slow(b); got != want {
		t.Errorf("%q\n is %s (%v)\nnot %s", b, got, err, want)
	}
	if !done && err == nil && len(b) >= BytesMax {
		t.Errorf("more than %d bytes are wanted", len(b))
	}
}

// offered is a connection on which bytes were sent and nothing more will come.
type offered struct{ io.Reader }

func (offered) Write(b []byte) (int, error)      { return len(b), nil }
func (offered) Close() error                     { return nil }
func (offered) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (offered) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (offered) SetDeadline(time.Time) error      { return nil }
func (offered) SetReadDeadline(time.Time) error  { return nil }
func (offered) SetWriteDeadline(time.Time) error { return nil }

var errSeen = errors.New("seen")

// compareWithTLS asks the standard library what it reads: whoever ends the TLS behind us must not find another name. What
// only one of the two refuses is nobody's harm.
func compareWithTLS(t *testing.T, b []byte) {
	t.Helper()
	seen := "nothing"
	err := tls.Server(offered{strings.NewReader(string(b))}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = "- "
		if i.ServerName != "" {
			seen = strings.ToLower(i.ServerName) + " "
		}
		seen += fmt.Sprintf("%q", i.SupportedProtos)
		return nil, errSeen
	}}).Handshake()
	if seen == "nothing" {
		return
	}
	if !errors.Is(err, errSeen) {
		t.Fatal(err)
	}
	h, done, err := Parse(b)
	if got := told(h, done, err); err == nil && got != seen {
		t.Errorf("%q\n is %s\nand for crypto/tls %s", b, got, seen)
	}
}

func TestTwinsAgreeOnSamples(t *testing.T) {
	for _, s := range samples {
		compareWithSlow(t, []byte(s.input))
		compareWithTLS(t, []byte(s.input))
	}
}

// Each sample with each of its bytes replaced by one that means something somewhere.
func TestTwinsAgreeOnSpoiltSamples(t *testing.T) {
	for _, s := range samples {
		for i := range s.input {
			for _, c := range []byte("\x00\x01\x02\x03\x05\x0a\x10\x16\x20.-aZ0\x7f\xff") {
				b := []byte(s.input)
				b[i] = c
				compareWithSlow(t, b)
				if i%7 == 0 { // the standard library is no hurry
					compareWithTLS(t, b)
				}
			}
		}
	}
}

// sent returns the first record that crypto/tls sends as a client.
func sent(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	over := make(chan error)
	go func() { over <- tls.Client(near, c).Handshake() }()
	b := make([]byte, recordHeader)
	_, err := io.ReadFull(far, b)
	if err == nil {
		b = append(b, make([]byte, binary.BigEndian.Uint16(b[3:]))...)
		_, err = io.ReadFull(far, b[recordHeader:])
	}
	far.Close()
	if herr := <-over; err != nil {
		t.Fatal(err, herr)
	}
	return b
}

// echConfigs is a list with one configuration for Encrypted ClientHello (RFC 9849 4), whose outer name is given.
func echConfigs(t testing.TB, outer string) []byte {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const kemX25519, hkdfSHA256AES128 = "\x00\x20", "\x00\x01\x00\x01"
	config := "\x07" + kemX25519 + vec(2, string(key.PublicKey().Bytes())) + vec(2, hkdfSHA256AES128) + "\x20" + vec(1, outer) + vec(2)
	return []byte(vec(2, "\xfe\x0d"+vec(2, config)))
}

// clients are configurations whose hellos differ, with what is to be read.
func clients(t testing.TB) map[string]*tls.Config {
	everything := make([]string, 20)
	for i := range everything {
		everything[i] = fmt.Sprintf("protocol/%d", i)
	}
	return map[string]*tls.Config{
		"www.exam.test []":                    {ServerName: "www.exam.test"},
		"www.exam.test [\"h2\" \"http/1.1\"]": {ServerName: "WWW.exam.test.", NextProtos: []string{"h2", "http/1.1"}},
		"- []":                                {InsecureSkipVerify: true},
		"- [\"h2\"]":                          {ServerName: "192.0.2.1", NextProtos: []string{"h2"}},
		"old.test []":                         {ServerName: "old.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"twelve.test [\"http/1.1\"]":          {ServerName: "twelve.test", MaxVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		"small.test []":                       {ServerName: "small.test", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}},
		"keys.test []": {ServerName: "keys.test", MinVersion: tls.VersionTLS13,
			CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}},
		fmt.Sprintf("many.test %q", everything): {ServerName: "many.test", NextProtos: everything},
		"outer.test [\"h2\"]": {ServerName: "inner.test", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
			EncryptedClientHelloConfigList: echConfigs(t, "outer.test")},
	}
}

// Hellos of crypto/tls, whole, cut into two records anywhere, and in as many as may be: the same is read, and crypto/tls
// reads it too. A hello of which the first record alone was looked at has been a way around a gateway's rules.
func TestRealHellosInAnyRecords(t *testing.T) {
	for want, c := range clients(t) {
		b := sent(t, c)
		if got := told(Parse(b)); got != want {
			t.Errorf("%s, want %s", got, want)
			continue
		}
		checkEachLength(t, b)
		compareWithTLS(t, b)
		m := string(b[recordHeader:])
		for i := 1; i < len(m); i++ {
			b := []byte(record(m[:i]) + record(m[i:]))
			if got := told(Parse(b)); got != want {
				t.Fatalf("records cut at %d: %s, want %s", i, got, want)
			}
			if got := told(Parse(b[:recordHeader+i+recordHeader+1])); got != "more" && len(m) > i+1 {
				t.Fatalf("records cut at %d, one byte of the second: %s", i, got)
			}
			if i%16 == 0 {
				compareWithSlow(t, b)
				compareWithTLS(t, b)
				checkEachLength(t, b)
			}
		}
		for size := (len(m) + recordsMax - 1) / recordsMax; size < len(m); size += 3 {
			var b string
			for rest := m; rest != ""; rest = rest[min(size, len(rest)):] {
				b += record(rest[:min(size, len(rest))])
			}
			if got := told(Parse([]byte(b))); got != want {
				t.Fatalf("records of %d bytes: %s, want %s", size, got, want)
			}
			compareWithTLS(t, []byte(b))
		}
	}
}

// Whatever a peer sends: no panic, the same verdict however it is cut, and no other name than the twins find. The same in
// other records is the same hello.
func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.input), uint16(50))
	}
	for _, c := range clients(f) {
		f.Add(sent(f, c), uint16(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		compareWithSlow(t, b)
		compareWithTLS(t, b)
		if len(b) < 3000 {
			checkEachLength(t, b)
		}
		h, done, err := Parse(b)
		if !done || err != nil {
			return
		}
		length, _ := measure(b)
		m := make([]byte, length)
		(&reader{rest: b}).copy(m)
		at := 1 + int(cut)%(length-1)
		again := []byte(record(string(m[:at])) + record(string(m[at:])))
		if got := told(Parse(again)); got != told(h, done, err) {
			t.Errorf("%q\n is %s\nin records cut at %d", b, got, at)
		}
	})
}

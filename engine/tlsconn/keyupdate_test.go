package tlsconn

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// byHand speaks the record layer of RFC 8446 5 with TLS_AES_128_GCM_SHA256: crypto/tls never asks for a key update.
type byHand struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		panic(err)
	}
	return out
}

func newByHand(secret []byte) *byHand {
	block, err := aes.NewCipher(expand(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &byHand{secret: secret, aead: aead, iv: expand(secret, "iv", 12)}
}

// update is RFC 8446 7.2.
func (h *byHand) update() { *h = *newByHand(expand(h.secret, "traffic upd", 32)) }

func (h *byHand) nonce() []byte {
	n := bytes.Clone(h.iv)
	for i := range 8 {
		n[11-i] ^= byte(h.seq >> (8 * i))
	}
	h.seq++
	return n
}

func (h *byHand) seal(kind byte, text []byte) []byte {
	inner := append(bytes.Clone(text), kind)
	n := len(inner) + 16
	header := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return h.aead.Seal(header, h.nonce(), inner, header)
}

// open takes the first record off raw.
func (h *byHand) open(t *testing.T, raw *[]byte) (kind byte, text []byte) {
	t.Helper()
	n := headerLen + payload(*raw)
	record := (*raw)[:n]
	*raw = (*raw)[n:]
	inner, err := h.aead.Open(nil, h.nonce(), record[headerLen:], record[:headerLen])
	if err != nil {
		t.Fatal(err)
	}
	return inner[len(inner)-1], inner[:len(inner)-1]
}

// handAfterHandshake returns our end, and both directions of the client's by hand.
func handAfterHandshake(t *testing.T) (e *end, send, recv *byHand) {
	s := newSite(t)
	var log strings.Builder
	client := s.client(t, func(o *ClientOptions) { o.Parameters = version("1.3") })
	client.KeyLogWriter = &log
	// Without tickets the first record of the server is that of the first bytes.
	e, _ = connect(t, Server(s.server(t, func(o *ServerOptions) { o.Tickets = nil }), errAgain), asClient(client))
	if e.State().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("this machine prefers another cipher suite")
	}
	for line := range strings.Lines(log.String()) {
		word := strings.Fields(line)
		secret, _ := hex.DecodeString(word[2])
		switch word[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			send = newByHand(secret)
		case "SERVER_TRAFFIC_SECRET_0":
			recv = newByHand(secret)
		}
	}
	return e, send, recv
}

var (
	updateQuietly   = []byte{24, 0, 0, 1, 0}
	updateRequested = []byte{24, 0, 0, 1, 1}
)

const kindHandshake, kindData = 22, 23

// RFC 8446 4.6.3: the peer turns its key and asks for ours to be turned. The answer is owed until the next Seal, and stands in
// front of what that seals, which is sealed with the new key.
func TestKeyUpdate(t *testing.T) {
	e, send, recv := handAfterHandshake(t)
	var in, out, src buf.Chain
	var raw []byte
	raw = append(raw, send.seal(kindData, []byte("old"))...)
	raw = append(raw, send.seal(kindHandshake, updateQuietly)...)
	send.update()
	raw = append(raw, send.seal(kindData, []byte("new"))...)
	if _, err := e.Open(&script{pieces: [][]byte{raw}, end: errAgain}, &in, e.pool, 100); err != nil || in.Len() != 6 || e.Owed() {
		t.Fatal(err, in.Len(), e.Owed())
	}

	raw = send.seal(kindHandshake, updateRequested[:2]) // a message may be cut into records: 5.1
	raw = append(raw, send.seal(kindHandshake, updateRequested[2:])...)
	send.update()
	in.Release(e.pool)
	if n, err := e.Open(&script{pieces: [][]byte{raw}, end: errAgain}, &in, e.pool, 100); n != 0 || err != errAgain {
		t.Fatal(n, err)
	}
	if !e.Owed() {
		t.Fatal("the answer is not owed")
	}
	src.Append(e.pool, []byte("answer"))
	if err := e.Seal(&out, e.pool, &src, 6); err != nil || e.Owed() {
		t.Fatal(err, e.Owed())
	}
	sent := bytes.Join(out.Pieces(make([][]byte, 0, 10)), nil)
	if kind, text := recv.open(t, &sent); kind != kindHandshake || !bytes.Equal(text, updateQuietly) {
		t.Errorf("the first record is %d %x, want the key update", kind, text)
	}
	recv.update()
	if kind, text := recv.open(t, &sent); kind != kindData || string(text) != "answer" {
		t.Errorf("the second record is %d %q", kind, text)
	}
	if n, err := e.Open(&script{pieces: [][]byte{send.seal(kindData, []byte("newest"))}, end: errAgain}, &in, e.pool, 100); n != 6 || err != nil {
		t.Error(n, err)
	}
	out.Release(e.pool)
	in.Release(e.pool)
	if n := e.pool.InUse(); n != 0 {
		t.Errorf("%d bytes of chunks are still out", n)
	}
}

// A peer that asks for key updates and does not read the answers (tls_owed).
func TestOwedAnswersAreBounded(t *testing.T) {
	e, send, _ := handAfterHandshake(t)
	var in buf.Chain
	var err error
	asked := 0
	for ; err == nil || err == errAgain; asked++ {
		raw := send.seal(kindHandshake, updateRequested)
		send.update()
		raw = append(raw, send.seal(kindData, []byte("x"))...)
		_, err = e.Open(&script{pieces: [][]byte{raw}, end: errAgain}, &in, e.pool, 100)
		if asked > 1000 {
			t.Fatal("a thousand updates are owed")
		}
	}
	if err != ErrOwed || Word(err) != "tls_owed" || asked < 100 {
		t.Errorf("after %d updates: %v", asked, err)
	}
}

// Records that carry nothing: crypto/tls takes sixteen in a row.
func TestUselessRecordsAreBounded(t *testing.T) {
	e, send, _ := handAfterHandshake(t)
	var in buf.Chain
	var err error
	n := 0
	for ; err == nil || err == errAgain; n++ {
		_, err = e.Open(&script{pieces: [][]byte{send.seal(kindData, nil)}, end: errAgain}, &in, e.pool, 100)
		if n > 100 {
			t.Fatal("a hundred empty records were taken")
		}
	}
	if err == io.EOF {
		t.Error(err)
	}
}

package h1

import (
	"crypto/sha1"
	"encoding/base64"

	"github.com/yumen-io/yumen/engine/message"
)

// The WebSocket handshake (RFC 6455 4), as far as a gateway has a part in it: a request that asks for the switch is told
// from one that merely says so, and a 101 counts only if it proves that whoever sent it has read that request. Everything
// else between the two ends (subprotocols, extensions, frames) passes through.
//
// No other protocol is switched to. An Upgrade that asks for something else, for several things, or not quite as the RFC
// has it, is dropped like every field that concerns this hop alone, and the request goes on as an ordinary one, which
// RFC 9110 7.8 lets every recipient do.

// protocol is the one that can be switched to, as it is written in the Upgrade field.
const protocol = "websocket"

// upgradeLines announce the switch, in a request and in the 101 alike.
const upgradeLines = "Connection: Upgrade\r\nUpgrade: " + protocol + "\r\n"

// keyLen is the length of a Sec-WebSocket-Key, 16 bytes in base64, and acceptLen that of a Sec-WebSocket-Accept, a SHA-1.
const (
	keyLen    = 24
	acceptLen = 28
)

// namesProtocol tells whether a head's fields for this hop name the protocol, and nothing beside it: one Upgrade field
// with one element, and Connection knows of it (RFC 9110 7.8).
func (fr *framing) namesProtocol(h *message.Head) bool {
	return fr.switches && fr.upgrades == 1 && fold(h.Bytes(fr.upgrade), protocol)
}

// asksToSwitch tells whether a request whose fields were judged already is a WebSocket handshake (RFC 6455 4.2.1). Fields
// that Connection names are Gone by now, so one that takes its own key away does not ask.
func asksToSwitch(h *message.Head, fr *framing) bool {
	if !fr.namesProtocol(h) || h.Proto != message.HTTP11 || h.Length != 0 || !h.IsMethod("GET") {
		return false
	}
	version, ok := only(&h.Fields, "sec-websocket-version")
	return ok && string(version) == "13" && handshakeKey(h) != nil
}

// handshakeKey returns the key of a handshake, nil if there is not exactly one or it is none.
func handshakeKey(h *message.Head) []byte {
	key, ok := only(&h.Fields, "sec-websocket-key")
	if !ok || len(key) != keyLen {
		return nil
	}
	var nonce [keyLen / 4 * 3]byte
	if n, err := base64.StdEncoding.Decode(nonce[:], key); err != nil || n != 16 {
		return nil
	}
	return key
}

// only returns the value of the one field of a name, which is in lower case.
func only(f *message.Fields, name string) (value []byte, ok bool) {
	value, next := f.NextField(name, 0)
	if next < 0 {
		return nil, false
	}
	_, next = f.NextField(name, next)
	return value, next < 0
}

// acceptOf returns what a server that has read the key answers (RFC 6455 4.2.2): SHA-1 is what the RFC has, and nothing
// is kept secret by it.
func acceptOf(key []byte) *[acceptLen]byte {
	var text [keyLen + 36]byte
	n := copy(text[:], key)
	n += copy(text[n:], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
	sum := sha1.Sum(text[:n])
	accept := new([acceptLen]byte)
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

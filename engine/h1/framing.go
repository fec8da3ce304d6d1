package h1

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// framing is what the fields of a head say about this hop: how the body is delimited and whether the connection lasts.
type framing struct {
	length    int64 // the Content-Length; meaningless unless hasLength
	hasLength bool
	chunked   bool
	close     bool // Connection: close
	keepAlive bool // Connection: keep-alive

	upgrade  message.Span // the value of the Upgrade field that was read last
	upgrades int          // how many of them there are
	switches bool         // Connection: upgrade
}

// hopFields reads the fields that are about the message's framing and about this hop, and marks them and those that the
// Connection field names as Gone (RFC 9110 7.6.1): what is left is for forwarding. Nothing that Connection names can
// reach framing or host, for these are parsed from fields that are Gone already and live on in the Head.
//
// Trailer stays: trailers are forwarded, and so is their announcement.
func hopFields(h *message.Head) (framing, *message.Refusal) {
	var fr framing
	connection := false
	all := h.All()
	for i := range all {
		f := &all[i]
		switch f.ID {
		case message.ContentLength:
			if fr.hasLength {
				return fr, severalLengths // even if equal: whoever sends two does not know which one others read
			}
			n, ok := parseLength(h.Bytes(f.Value))
			if !ok {
				return fr, badLength
			}
			fr.length, fr.hasLength = n, true
		case message.TransferEncoding:
			if fr.chunked {
				return fr, severalCodings
			}
			if err := parseCoding(h.Bytes(f.Value)); err != nil {
				return fr, err
			}
			fr.chunked = true
		case message.Connection:
			switch v := h.Bytes(f.Value); {
			case fold(v, "keep-alive"): // nearly always, and no field to look for
				fr.keepAlive = true
			case fold(v, "close"):
				fr.close = true
			default:
				connection = true
			}
		case message.Upgrade:
			fr.upgrade = f.Value
			fr.upgrades++
		case message.KeepAlive, message.ProxyConnection, message.TE, message.HTTP2Settings:
		default:
			continue
		}
		f.Gone = true
	}
	switch {
	case fr.chunked && fr.hasLength:
		return fr, lengthAndChunked
	case fr.chunked && h.Proto == message.HTTP10:
		return fr, chunkedHTTP10
	}
	if connection {
		if err := connectionOptions(h, &fr); err != nil {
			return fr, err
		}
	}
	return fr, nil
}

// persists tells whether the sender of a message in this version means to keep the connection (RFC 9112 9.3).
func (fr *framing) persists(proto message.Proto) bool {
	if proto == message.HTTP10 {
		return fr.keepAlive && !fr.close
	}
	return !fr.close
}

// parseLength parses a Content-Length (RFC 9110 8.6): 1 to 18 digits, which cannot overflow.
func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// parseCoding takes a Transfer-Encoding that is chunked and nothing else. A list that ends in chunked is well-formed but
// of codings nobody implements any more; any other has no end that both sides would agree on (RFC 9112 6.1, 6.3).
func parseCoding(b []byte) *message.Refusal {
	if fold(b, "chunked") {
		return nil
	}
	comma := bytes.LastIndexByte(b, ',')
	from, to := trim(b, comma+1, len(b))
	if comma >= 0 && fold(b[from:to], "chunked") {
		return unknownCoding
	}
	return badCoding
}

// connectionOptions reads every Connection field and marks the fields that they name.
func connectionOptions(h *message.Head, fr *framing) *message.Refusal {
	all := h.All()
	options := 0
	for i := range all {
		if all[i].ID != message.Connection {
			continue
		}
		rest := h.Bytes(all[i].Value)
		for len(rest) > 0 {
			var option []byte
			option, rest = nextOption(rest)
			if len(option) == 0 {
				continue // RFC 9110 5.6.1.2
			}
			if options++; options > connectionOptionsMax || !isToken(option) {
				return badConnection
			}
			switch {
			case fold(option, "close"):
				fr.close = true
			case fold(option, "keep-alive"):
				fr.keepAlive = true
			case fold(option, "upgrade"):
				fr.switches = true
			default:
				h.RemoveField(option)
			}
		}
	}
	return nil
}

// nextOption cuts the first element from a comma-separated list.
func nextOption(list []byte) (option, rest []byte) {
	end := bytes.IndexByte(list, ',')
	if end < 0 {
		end = len(list)
	} else {
		rest = list[end+1:]
	}
	from, to := trim(list, 0, end)
	return list[from:to], rest
}

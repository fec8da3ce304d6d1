package h1

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// beginBody chooses the state that reads a body of the given length in the given framing.
func (r *reader) beginBody(length int64) {
	switch {
	case length > 0:
		r.state, r.left = inBody, length
	case length == message.UnknownLength:
		r.state, r.credit = inChunkSize, int32(r.limits.ExtensionBytesMax)
	default:
		r.state = complete
	}
}

// body reads on in a body until there is something to tell.
func (r *reader) body(in *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	for in.Len() > 0 {
		switch r.state {
		case inBody:
			n := int(min(r.left, int64(in.Len())))
			if r.left -= int64(n); r.left == 0 {
				r.state = complete
			}
			return message.Event{Kind: message.GotData, N: n, End: r.left == 0}, nil

		case untilClose:
			return message.Event{Kind: message.GotData, N: in.Len()}, nil

		case inChunkData:
			n := int(min(r.left, int64(in.Len())))
			if r.left -= int64(n); r.left == 0 {
				r.state = inChunkEnd
			}
			return message.Event{Kind: message.GotData, N: n}, nil

		case inChunkEnd:
			b := in.Pull(p, min(2, in.Len()))
			if b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
				return r.fail(badChunkEnd)
			}
			if len(b) == 1 {
				return message.Event{}, nil
			}
			in.Skip(p, 2)
			r.state = inChunkSize

		case inChunkSize:
			n, err := r.chunkLine(in, p)
			if err != nil {
				return r.fail(err)
			}
			if n == 0 {
				return message.Event{}, nil
			}
			in.Skip(p, n)
			if r.state = inChunkData; r.left == 0 {
				r.beginTrailers(h)
			}

		case inTrailers:
			done, err := r.trailers(in, p, &h.Fields)
			if err != nil {
				return r.fail(err)
			}
			if !done {
				return message.Event{}, nil
			}
			r.state = complete
			kind := message.GotEnd
			if r.fields > 0 {
				kind = message.GotTrailers
			}
			return message.Event{Kind: kind, End: true}, nil

		default:
			return message.Event{}, nil
		}
	}
	return message.Event{}, nil
}

// chunkLine reads a chunk-size line at the front of the chain into left and returns its length, 0 if it is incomplete.
// An incomplete line is read again from its start when more has come: it is at most ChunkLineBytesMax long, less than
// what receiving a byte costs.
func (r *reader) chunkLine(in *buf.Chain, p *buf.Pool) (int, *message.Refusal) {
	for {
		size, extension, n, err := parseChunkLine(in.Front())
		if err != nil {
			return 0, err
		}
		if n > r.limits.ChunkLineBytesMax || n == 0 && len(in.Front()) >= r.limits.ChunkLineBytesMax {
			return 0, largeExtensions
		}
		if n == 0 {
			if more(in, p, r.limits.ChunkLineBytesMax) {
				continue
			}
			return 0, nil
		}
		if r.credit -= int32(extension); r.credit < 0 {
			return 0, largeExtensions
		}
		r.credit = int32(min(int64(r.credit)+size/16, int64(r.limits.ExtensionBytesMax)))
		r.left = size
		return n, nil
	}
}

// chunkBytesMax is far above any chunk that is meant and far below where arithmetic on it could overflow.
const chunkBytesMax = 1 << 40

// parseChunkLine parses the chunk-size line that b begins with (RFC 9112 7.1): 1*HEXDIG, extensions, CRLF. n is the
// line's length, 0 if b ends within it; extension is how much of it is neither size nor line end. White space is
// refused where the RFC calls it bad: it is where parsers have disagreed.
func parseChunkLine(b []byte) (size int64, extension, n int, err *message.Refusal) {
	i := 0
	for ; i < len(b); i++ {
		d := hexValue[b[i]]
		if d == notHex {
			break
		}
		if i == 16 {
			return 0, 0, 0, badChunkSize
		}
		size = size<<4 | int64(d)
		if size < 0 || size > chunkBytesMax {
			return 0, 0, 0, largeChunk
		}
	}
	if i == len(b) {
		return 0, 0, 0, nil
	}
	if i == 0 {
		return 0, 0, 0, badChunkSize
	}
	end, err := extensionsEnd(b, i)
	if err != nil || end == len(b) {
		return 0, 0, 0, err
	}
	switch {
	case b[end] == '\n':
		return 0, 0, 0, bareLF
	case b[end] != '\r':
		if end > i {
			return 0, 0, 0, badChunkExtension
		}
		return 0, 0, 0, badChunkSize
	case end+1 == len(b):
		return 0, 0, 0, nil
	case b[end+1] != '\n':
		return 0, 0, 0, bareCR
	}
	return size, end - i, end + 2, nil
}

// extensionsEnd skips chunk extensions (RFC 9112 7.1.1): *( ";" token [ "=" ( token / quoted-string ) ] ). It returns
// len(b) if b ends within them.
func extensionsEnd(b []byte, i int) (int, *message.Refusal) {
	for i < len(b) && b[i] == ';' {
		name := i + 1
		if i = tokenEnd(b, name); i == len(b) {
			return i, nil
		}
		if i == name {
			return 0, badChunkExtension
		}
		if b[i] != '=' {
			continue
		}
		i++
		if i < len(b) && b[i] == '"' {
			end, err := quotedEnd(b, i)
			if err != nil || end == len(b) {
				return end, err
			}
			i = end
			continue
		}
		value := i
		if i = tokenEnd(b, value); i < len(b) && i == value {
			return 0, badChunkExtension
		}
	}
	return i, nil
}

func tokenEnd(b []byte, i int) int {
	for i < len(b) && tokenByte[b[i]] {
		i++
	}
	return i
}

// quotedEnd skips the quoted-string (RFC 9110 5.6.4) that begins at b[i].
func quotedEnd(b []byte, i int) (int, *message.Refusal) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++
			if i < len(b) && (b[i] < 0x20 && b[i] != '\t' || b[i] == 0x7f) {
				return 0, badChunkExtension
			}
		case c < 0x20 && c != '\t' || c == 0x7f:
			return 0, badChunkExtension
		}
	}
	return len(b), nil
}

const notHex = 0xff

// hexValue holds the value of each hexadecimal digit, notHex for every other byte.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = notHex
	}
	for i, c := range "0123456789" {
		t[c] = byte(i)
	}
	for i, c := range "abcdef" {
		t[c], t[c-0x20] = byte(10+i), byte(10+i)
	}
	return t
}()

// beginTrailers makes room for trailers in a head whose own fields have been used: they are marked Gone, so that the head
// holds the trailers and nothing else to whoever asks, while its start line stays.
func (r *reader) beginTrailers(h *message.Head) {
	all := h.All()
	for i := range all {
		all[i].Gone = true
	}
	r.begin()
	r.state = inTrailers
}

// trailers reads the trailer section (RFC 9112 7.1.2) and tells whether it is complete.
func (r *reader) trailers(in *buf.Chain, p *buf.Pool, f *message.Fields) (bool, *message.Refusal) {
	for {
		n, err := r.fieldLines(in.Front(), f, r.limits.TrailerBytesMax, largeTrailers)
		if err != nil {
			return false, err
		}
		if n > 0 {
			take(in, p, f, n)
			dropForbidden(f)
			return true, nil
		}
		if !more(in, p, r.limits.TrailerBytesMax) {
			return false, nil
		}
	}
}

// forbiddenInTrailers are fields that a recipient would act on before it has read the body: framing, routing,
// authentication, content format, caching (RFC 9110 6.5.1), and what gateways tell upstreams about the client.
var forbiddenInTrailers = []string{
	"age", "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
	"content-type", "cookie", "date", "expect", "expires", "forwarded", "host", "http2-settings", "if-match",
	"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "location", "max-forwards",
	"pragma", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range", "retry-after", "set-cookie",
	"te", "trailer", "transfer-encoding", "upgrade", "vary", "via", "warning", "www-authenticate", "x-forwarded-for",
	"x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip", "x-request-id",
}

func isForbiddenInTrailers(name []byte) bool {
	for _, word := range forbiddenInTrailers {
		if fold(name, word) {
			return true
		}
	}
	return false
}

// dropForbidden marks the trailers that must not be forwarded. They are dropped and not refused: RFC 9110 6.5.1 lets a
// recipient ignore them, and real servers send Date.
func dropForbidden(f *message.Fields) {
	all := f.All()
	for i := range all {
		if !all[i].Gone && isForbiddenInTrailers(f.Bytes(all[i].Name)) {
			all[i].Gone = true
		}
	}
}

package h1

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// requestLine parses the request line that b begins with (RFC 9112 3) into h. It returns the line's length with CRLF, 0 if
// it is incomplete.
func (r *reader) requestLine(b []byte, h *message.Head) (int, *message.Refusal) {
	base := uint32(h.RawLen()) // where b[0] will lie
	i, methodEnd, targetStop := int(r.pos), int(r.mark1), int(r.mark2)
	if methodEnd == 0 {
		for i < len(b) && tokenByte[b[i]] {
			i++
		}
		switch {
		case i > methodBytesMax:
			return 0, longMethod
		case i == len(b):
			r.pos = uint32(i)
			return 0, nil
		case b[i] == '\n':
			return 0, bareLF
		case b[i] != ' ' || i == 0:
			return 0, badMethod
		}
		methodEnd = i
		i++
	}
	if targetStop == 0 {
		i = targetEnd(b, i)
		switch {
		case i-methodEnd-1 > r.limits.TargetBytesMax:
			return 0, longTarget
		case i == len(b):
			r.pos, r.mark1 = uint32(i), uint32(methodEnd)
			return 0, nil
		case b[i] == '\n':
			return 0, bareLF
		case b[i] != ' ' || i == methodEnd+1:
			return 0, badTarget
		}
		targetStop = i
	}
	proto, complete, err := versionLine(b[targetStop+1:])
	if err != nil {
		return 0, err
	}
	if !complete {
		r.pos, r.mark1, r.mark2 = uint32(len(b)), uint32(methodEnd), uint32(targetStop)
		return 0, nil
	}
	r.pos, r.mark1, r.mark2 = 0, 0, 0
	h.Proto = proto
	h.Method = span(base, 0, methodEnd)
	if err := splitTarget(b[methodEnd+1:targetStop], base+uint32(methodEnd)+1, b[:methodEnd], h); err != nil {
		return 0, err
	}
	return targetStop + 1 + versionLineLen, nil
}

const versionLineLen = len("HTTP/1.1\r\n")

// versionLine parses the HTTP version and the line end that b begins with, or as much of them as there is. Versions 1.2
// to 1.9, which have never existed, are refused like those of another major number.
func versionLine(b []byte) (proto message.Proto, complete bool, err *message.Refusal) {
	if len(b) >= versionLineLen && string(b[:versionLineLen]) == "HTTP/1.1\r\n" {
		return message.HTTP11, true, nil
	}
	const shape = "HTTP/d.d\r\n"
	for i, c := range b[:min(len(b), len(shape))] {
		switch {
		case shape[i] == 'd':
			if c-'0' > 9 {
				return 0, false, badVersion
			}
		case c == '\n' && i < 9:
			return 0, false, bareLF
		case c != shape[i] && i == 9:
			return 0, false, bareCR
		case c != shape[i]:
			return 0, false, badVersion
		}
	}
	if len(b) < versionLineLen {
		return 0, false, nil
	}
	switch {
	case b[5] == '1' && b[7] == '1':
		return message.HTTP11, true, nil
	case b[5] == '1' && b[7] == '0':
		return message.HTTP10, true, nil
	}
	return 0, false, unknownVersion
}

// splitTarget parses the request target (RFC 9112 3.2), which will be stored at off, into h. Characters were checked
// before; the path is not cleaned here.
func splitTarget(t []byte, off uint32, method []byte, h *message.Head) *message.Refusal {
	if string(method) == "CONNECT" {
		return connectRefused
	}
	switch {
	case t[0] == '/': // origin-form
	case len(t) == 1 && t[0] == '*': // asterisk-form
		if string(method) != "OPTIONS" {
			return badTarget
		}
		h.Path = message.Span{Off: off, Len: 1}
		return nil
	default: // absolute-form
		scheme := schemeLen(t)
		if scheme == 0 {
			return badTarget
		}
		end := scheme
		for end < len(t) && t[end] != '/' && t[end] != '?' {
			end++
		}
		n, err := hostLen(t[scheme:end])
		if err != nil || n == 0 {
			return badTarget
		}
		h.Authority = message.Span{Off: off + uint32(scheme), Len: uint32(n)}
		t, off = t[end:], off+uint32(end)
	}
	path := len(t)
	if q := bytes.IndexByte(t, '?'); q >= 0 {
		path = q
		h.HasQuery = true
		h.Query = message.Span{Off: off + uint32(q) + 1, Len: uint32(len(t) - q - 1)}
	}
	h.Path = message.Span{Off: off, Len: uint32(path)} // empty only in absolute-form; see emptyPath
	return nil
}

// schemeLen returns the length of "http://" or "https://" in front of t, 0 if neither is there.
func schemeLen(t []byte) int {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(t) > len(scheme) && fold(t[:len(scheme)], scheme) {
			return len(scheme)
		}
	}
	return 0
}

// emptyPath gives a request in absolute-form without a path the one it means (RFC 9112 3.2.4, RFC 9110 4.2.3). It stores
// bytes, so it can only run when the request line has been stored.
func emptyPath(h *message.Head) {
	if h.Path.Len > 0 {
		return
	}
	if h.IsMethod("OPTIONS") && !h.HasQuery {
		h.Path = h.StoreString("*")
	} else {
		h.Path = h.StoreString("/")
	}
}

// statusLine parses the status line that b begins with (RFC 9112 4) into h. It returns the line's length with CRLF, 0 if it
// is incomplete. A line that ends behind the code, without the space that should follow, is taken: it means one thing
// only, and servers send it.
func (r *reader) statusLine(b []byte, h *message.Head) (int, *message.Refusal) {
	const shape = "HTTP/1.d ddd"
	i := int(r.pos)
	for ; i < len(shape) && i < len(b); i++ {
		if shape[i] == 'd' && b[i]-'0' > 9 || shape[i] != 'd' && b[i] != shape[i] {
			return 0, badStatusLine
		}
	}
	if i < len(shape) || i == len(b) {
		r.pos = uint32(i)
		return 0, nil
	}
	reason := len(shape)
	if b[reason] == ' ' {
		reason++
	} else if b[reason] != '\r' {
		return 0, badStatusLine
	}
	i = valueEnd(b, max(i, reason))
	switch {
	case i >= len(b):
		r.pos = uint32(len(b))
		return 0, nil
	case b[i] != '\r':
		return 0, badStatusLine
	case i+1 == len(b):
		r.pos = uint32(i)
		return 0, nil
	case b[i+1] != '\n':
		return 0, bareCR
	}
	switch b[7] {
	case '0':
		h.Proto = message.HTTP10
	case '1':
		h.Proto = message.HTTP11
	default:
		return 0, badStatusLine
	}
	h.Status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	if h.Status < 100 || h.Status > 599 {
		return 0, badStatus
	}
	h.Reason = span(uint32(h.RawLen()), reason, i)
	r.pos = 0
	return i + 2, nil
}

package compress

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// mayEncode tells whether an answer is one that is encoded for clients who like it.
func (f *Filter) mayEncode(h *message.Head, c *choice) bool {
	switch {
	case h.Status < 200, h.Status == 204, h.Status == 205, h.Status == 206:
		return false // without a body, or a part of one
	case h.Length == 0, h.Length > 0 && h.Length < f.minBytes && !c.refusesIdentity:
		return false
	}
	kind, ok := h.Get(message.ContentType)
	return ok && f.types.has(kind) && !encoded(h) && !forbidsChange(&h.Fields) && !sealed(&h.Fields)
}

// encoded tells of an answer that has a coding already.
func encoded(h *message.Head) bool {
	value, ok := h.Get(message.ContentEncoding)
	return ok && !message.EqualFold(bytes.TrimSpace(value), []byte("identity"))
}

// forbidsChange tells of a message that intermediaries must leave as it is (RFC 9111 5.2.2.6).
func forbidsChange(h *message.Fields) bool {
	for value, at := h.NextField("cache-control", 0); at >= 0; value, at = h.NextField("cache-control", at) {
		if hasElement(value, "no-transform") {
			return true
		}
	}
	return false
}

// hasElement tells whether a list has an element, in lower case.
func hasElement(value []byte, lower string) bool {
	for len(value) > 0 {
		var element []byte
		element, value, _ = bytes.Cut(value, []byte{','})
		if foldEqual(bytes.Trim(element, " \t"), lower) {
			return true
		}
	}
	return false
}

// sealed tells of an answer with a digest of what its body is now (RFC 9530, and those before it), or of a part of a whole.
func sealed(h *message.Fields) bool {
	for _, name := range [...]string{"content-digest", "repr-digest", "digest", "content-md5", "content-range"} {
		if _, at := h.NextField(name, 0); at >= 0 {
			return true
		}
	}
	return false
}

// crossSite tells of a request that another site had a browser send with what identifies its user. If the answer has a secret in it
// and something that the other site chose, its size under compression tells the secret bit by bit (BREACH). Browsers say where a
// request is from in Sec-Fetch-Site, which scripts cannot set.
func crossSite(h *message.Fields) bool {
	value, at := h.NextField("sec-fetch-site", 0)
	return at >= 0 && foldEqual(value, "cross-site") && (h.Has(message.Cookie) || h.Has(message.Authorization))
}

// vary tells caches that the answer was chosen by Accept-Encoding (RFC 9110 12.5.5).
func vary(h *message.Head) {
	for value, at := h.NextField("vary", 0); at >= 0; value, at = h.NextField("vary", at) {
		if hasElement(value, "accept-encoding") || hasElement(value, "*") {
			return
		}
	}
	h.AddString("Vary", "Accept-Encoding")
}

// announce makes the head one of an encoded answer.
func announce(h *message.Head, c Coding, scratch []byte) []byte {
	h.Length = message.UnknownLength
	h.Remove(message.ContentEncoding)
	h.AddString("Content-Encoding", c.String())
	h.RemoveField([]byte("Accept-Ranges")) // ranges would be of the encoded bytes, which nobody has
	return weaken(h, scratch)
}

// weaken makes a strong validator a weak one: the bytes are others, and not even the same ones each time (RFC 9110 8.8.1).
func weaken(h *message.Head, scratch []byte) []byte {
	tag, at := h.NextField("etag", 0)
	if at < 0 || len(tag) == 0 || tag[0] != '"' {
		return scratch
	}
	scratch = append(append(scratch[:0], "W/"...), tag...)
	h.SetField([]byte("ETag"), scratch)
	return scratch
}

// weakenUnmodified gives a 304 the validator that the client has from us: it knows no answer by the strong one (RFC 9111 4.3.4).
func weakenUnmodified(request, h *message.Head, scratch []byte) []byte {
	tag, at := h.NextField("etag", 0)
	if at < 0 || len(tag) == 0 || tag[0] != '"' {
		return scratch
	}
	for value, at := request.NextField("if-none-match", 0); at >= 0; value, at = request.NextField("if-none-match", at) {
		if i := bytes.Index(value, tag); i >= 2 && string(value[i-2:i]) == "W/" {
			vary(h)
			return weaken(h, scratch)
		}
	}
	return scratch
}

// strengthen makes weak validators in If-Match strong ones. The upstream compares them strongly there (RFC 9110 13.1.1), so that a
// client which has a weak one from us could change nothing any more. One that the upstream itself had called weak does not match
// for this: it calls it so still. A request for a range is left alone, for ranges are of other bytes than the client has; so is
// If-Range, by which it gets the whole.
func strengthen(h *message.Head, scratch []byte) []byte {
	_, at := h.NextField("if-match", 0)
	if at < 0 {
		return scratch
	}
	if _, at := h.NextField("range", 0); at >= 0 {
		return scratch
	}
	scratch = scratch[:0]
	for value, at := h.NextField("if-match", 0); at >= 0; value, at = h.NextField("if-match", at) {
		if len(scratch) > 0 {
			scratch = append(scratch, ", "...)
		}
		scratch = appendStrong(scratch, value)
	}
	h.SetField([]byte("If-Match"), scratch)
	return scratch
}

// appendStrong appends a list of validators without the marks of weak ones. Within quotes W/ is text.
func appendStrong(b, list []byte) []byte {
	quoted := false
	for i := 0; i < len(list); i++ {
		if !quoted && bytes.HasPrefix(list[i:], []byte(`W/"`)) {
			i += 2
		}
		if list[i] == '"' {
			quoted = !quoted
		}
		b = append(b, list[i])
	}
	return b
}

package cache

import "github.com/yumen-io/yumen/engine/message"

// Merge appends to dst what a kept response's fields are after a 304 (RFC 9111 3.2): those of the 304 take the place of fields of
// the same name, but for what describes the body, which a 304 does not bring.
func Merge(dst *message.Fields, kept *message.Fields, h *message.Head) {
	qualified := Qualified(h)
	for i := range kept.All() {
		l := &kept.All()[i]
		if l.Gone {
			continue
		}
		name := kept.Bytes(l.Name)
		if describesBody(name) || !replaces(h, name, qualified) {
			dst.Add(name, kept.Bytes(l.Value))
		}
	}
	for i := range h.All() {
		l := &h.All()[i]
		if name := h.Bytes(l.Name); !describesBody(name) && StoresField(h, l, qualified) {
			dst.Add(name, h.Bytes(l.Value))
		}
	}
}

func replaces(h *message.Head, name []byte, qualified bool) bool {
	for i := range h.All() {
		if l := &h.All()[i]; message.EqualFold(h.Bytes(l.Name), name) && StoresField(h, l, qualified) {
			return true
		}
	}
	return false
}

// describesBody are the fields that say how the kept bytes are to be read. The ETag is that of the 304, which names the same
// response; the kept one stays, so that it does not turn weak.
func describesBody(name []byte) bool {
	for _, n := range ofBody {
		if equalFold(name, n) {
			return true
		}
	}
	return false
}

var ofBody = [...]string{"content-encoding", "content-length", "content-md5", "content-range", "content-digest", "repr-digest", "etag"}

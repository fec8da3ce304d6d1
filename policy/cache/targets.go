package cache

import "github.com/yumen-io/yumen/engine/message"

// IsSafe tells of a method that changes nothing (RFC 9110 9.2.1).
func IsSafe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY":
		return true
	}
	return false
}

// Invalidates tells whether the answer to an unsafe request makes what is kept of its resource doubtful: it was no error
// (RFC 9111 4.4).
func Invalidates(status int) bool { return 200 <= status && status < 400 }

// EachTarget calls do with the path and query of every other resource that the answer to an unsafe request names in Location and
// Content-Location, as long as it lies under the same authority (RFC 9111 4.4). base is the path of the request, which relative
// references begin at. scratch is memory for a path that has to be put together.
func EachTarget(h *message.Head, scheme string, authority, base, scratch []byte, do func(path []byte)) []byte {
	for _, name := range [...]string{"location", "content-location"} {
		for v, next := h.NextField(name, 0); next >= 0; v, next = h.NextField(name, next) {
			var path []byte
			if scratch, path = target(trim(v), scheme, authority, base, scratch); path != nil {
				do(path)
			}
		}
	}
	return scratch
}

// target resolves a reference, as far as that is the same authority's: "http://a/b", "//a/b", "/b" and "b". References with
// dots are left alone: the upstream's own paths have none.
func target(v []byte, scheme string, authority, base, scratch []byte) (memory, path []byte) {
	if i := indexByte(v, '#'); i < len(v) {
		v = v[:i]
	}
	if i := indexByte(v, ':'); i < len(v) && i < indexByte(v, '/') {
		if !equalFold(v[:i], scheme) || len(v) < i+3 || v[i+1] != '/' || v[i+2] != '/' {
			return scratch, nil
		}
		v = v[i+1:]
	}
	if len(v) >= 2 && v[0] == '/' && v[1] == '/' {
		v = v[2:]
		i := indexByte(v, '/')
		if !message.EqualFold(v[:i], authority) {
			return scratch, nil
		}
		if v = v[i:]; len(v) == 0 {
			return scratch, slash
		}
	}
	switch {
	case len(v) == 0 || v[0] == '.':
		return scratch, nil
	case v[0] == '/':
		return scratch, v
	}
	end := len(base)
	for end > 0 && base[end-1] != '/' {
		end--
	}
	scratch = append(append(scratch[:0], base[:end]...), v...)
	return scratch, scratch
}

var slash = []byte("/")

package cache

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// Condition is what the conditional fields of a request make of a kept response.
type Condition uint8

// Conditions.
const (
	// Whole: the client wants the response, or has another one.
	Whole Condition = iota
	// NotModified: it has this one, and gets a 304.
	NotModified
	// Upstreams: only the upstream can say (If-Match, If-Unmodified-Since: RFC 9111 4.3.2).
	Upstreams
)

// Conditional tells whether a request has any of the fields that make it conditional.
func Conditional(f *message.Fields) bool {
	for _, l := range f.All() {
		if l.ID != message.OtherField || l.Gone || l.Name.Len < 8 {
			continue
		}
		name := f.Bytes(l.Name)
		if message.Lower(name[0]) != 'i' || message.Lower(name[1]) != 'f' || name[2] != '-' {
			continue
		}
		for _, n := range conditionals {
			if equalFold(name, n) {
				return true
			}
		}
	}
	return false
}

var conditionals = [...]string{"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range"}

// DropConditions removes from a request what makes it conditional or asks for a part of the response.
func DropConditions(f *message.Fields) {
	for _, n := range conditionals {
		removeField(f, n)
	}
	removeField(f, "range")
}

func removeField(f *message.Fields, lower string) {
	all := f.All()
	for i := range all {
		if l := &all[i]; !l.Gone && equalFold(f.Bytes(l.Name), lower) {
			l.Gone = true
		}
	}
}

// ForUpstream tells whether a request has conditions that only the upstream can judge (RFC 9111 4.3.2): what it answers to them is
// for nobody else.
func ForUpstream(f *message.Fields) bool {
	for _, name := range [...]string{"if-match", "if-unmodified-since"} {
		if _, next := f.NextField(name, 0); next >= 0 {
			return true
		}
	}
	return false
}

// Evaluate holds the conditions of a request against a kept response (RFC 9110 13.2.2, RFC 9111 4.3.2). came is when the response
// was received, now when the request is.
func Evaluate(request *message.Fields, kept *message.Fields, came, now Unix) Condition {
	if ForUpstream(request) {
		return Upstreams
	}
	if v, next := request.NextField("if-none-match", 0); next >= 0 {
		tag, at := kept.NextField("etag", 0)
		for ; next >= 0; v, next = request.NextField("if-none-match", next) {
			if at >= 0 && anyTag(v, tag) || equalFold(trim(v), "*") {
				return NotModified
			}
		}
		return Whole // If-Modified-Since is ignored beside it (RFC 9110 13.1.3)
	}
	v, next := request.NextField("if-modified-since", 0)
	if next < 0 {
		return Whole
	}
	since, ok := ParseDate(v, now)
	if !ok {
		return Whole
	}
	modified := came
	if v, at := kept.NextField("last-modified", 0); at >= 0 {
		if modified, ok = ParseDate(v, now); !ok {
			return Whole
		}
	} else if v, ok := kept.Get(message.Date); ok {
		if at, ok := ParseDate(v, now); ok {
			modified = at
		}
	}
	if modified <= since {
		return NotModified
	}
	return Whole
}

// anyTag tells whether one of the entity tags in a list is tag, by the weak comparison (RFC 9110 8.8.3.2).
func anyTag(list, tag []byte) bool {
	tag, _ = opaque(trim(tag))
	for len(list) > 0 {
		list = trimLeft(list)
		end := tagLen(list)
		if t, ok := opaque(trim(list[:end])); ok && bytes.Equal(t, tag) {
			return true
		}
		list = list[end:]
		if i := indexByte(list, ','); i < len(list) {
			list = list[i+1:]
		} else {
			return false
		}
	}
	return false
}

// tagLen returns the length of the member that a list of entity tags begins with: commas between quotes are part of it.
func tagLen(b []byte) int {
	i := 0
	for i < len(b) && b[i] != '"' && b[i] != ',' {
		i++
	}
	if i < len(b) && b[i] == '"' {
		for i++; i < len(b) && b[i] != '"'; i++ {
		}
		return min(i+1, len(b))
	}
	return i
}

// opaque returns the part of an entity tag that the weak comparison looks at, and whether it is one.
func opaque(t []byte) ([]byte, bool) {
	if len(t) > 2 && t[0] == 'W' && t[1] == '/' {
		t = t[2:]
	}
	return t, len(t) >= 2 && t[0] == '"' && t[len(t)-1] == '"'
}

// isStrong tells of an entity tag that stands for the very bytes.
func isStrong(t []byte) bool { return len(t) >= 2 && t[0] == '"' && t[len(t)-1] == '"' }

// AskAbout makes of a request one that asks whether a kept response is still good (RFC 9111 4.3.1), in the place of what its
// client asks. It returns false, and leaves the request as it is, if the response has nothing to ask with.
func AskAbout(request *message.Fields, kept *message.Fields) bool {
	if !HasValidator(kept) {
		return false
	}
	DropConditions(request)
	if tag, next := kept.NextField("etag", 0); next >= 0 {
		request.Add(ifNoneMatch, tag)
	}
	if at, next := kept.NextField("last-modified", 0); next >= 0 {
		request.Add(ifModifiedSince, at)
	}
	return true
}

var ifNoneMatch, ifModifiedSince = []byte("If-None-Match"), []byte("If-Modified-Since")

// Confirms tells whether a 304 is about the kept response (RFC 9111 4.3.4): its validators, as far as it has any, are those that
// were asked about.
func Confirms(h *message.Head, kept *message.Fields) bool {
	if tag, next := h.NextField("etag", 0); next >= 0 {
		of, at := kept.NextField("etag", 0)
		if at < 0 {
			return false
		}
		a, _ := opaque(trim(tag))
		b, _ := opaque(trim(of))
		return bytes.Equal(a, b)
	}
	if modified, next := h.NextField("last-modified", 0); next >= 0 {
		if _, tagged := kept.NextField("etag", 0); tagged < 0 {
			of, at := kept.NextField("last-modified", 0)
			return at >= 0 && bytes.Equal(trim(modified), trim(of))
		}
	}
	return true
}

package cache

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// Span is a part of a body: the bytes from From up to, and without, To.
type Span struct{ From, To int64 }

// Part is what a Range makes of an answer.
type Part uint8

// Parts.
const (
	// All of it: there is no range, or none that we serve.
	All Part = iota
	// Some of it: a 206.
	Some
	// Nothing of it lies in the range: a 416.
	Nothing
)

// ReadRange says which part of a kept response of a size its client wants (RFC 9110 14.2). Several ranges, units other than bytes
// and what cannot be read are ignored, which RFC 9110 14.2 leaves to the server.
func ReadRange(request *message.Fields, kept *message.Fields, size int64, now Unix) (Span, Part) {
	v, next := request.NextField("range", 0)
	if next < 0 {
		return Span{}, All
	}
	if _, more := request.NextField("range", next); more >= 0 {
		return Span{}, All
	}
	if !inRange(request, kept, now) {
		return Span{}, All
	}
	v = trim(v)
	if len(v) < 6 || !equalFold(v[:6], "bytes=") {
		return Span{}, All
	}
	v = trim(v[6:])
	dash := indexByte(v, '-')
	if dash == len(v) || indexByte(v, ',') < len(v) {
		return Span{}, All
	}
	first, hasFirst := parseCount(v[:dash])
	last, hasLast := parseCount(v[dash+1:])
	switch {
	case dash > 0 && !hasFirst, dash+1 < len(v) && !hasLast, !hasFirst && !hasLast, hasFirst && hasLast && last < first:
		return Span{}, All
	case !hasFirst: // the last bytes
		if last == 0 || size == 0 {
			return Span{}, Nothing
		}
		return Span{max(size-last, 0), size}, Some
	case first >= size:
		return Span{}, Nothing
	case !hasLast:
		return Span{first, size}, Some
	}
	return Span{first, min(last+1, size)}, Some
}

// parseCount reads digits; a number beyond every body is the largest.
func parseCount(b []byte) (int64, bool) {
	const most = 1 << 59 // ten of them are a number still
	var n int64
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), most)
	}
	return n, len(b) > 0
}

// inRange tells whether If-Range, if it is there, lets the range hold: the strong comparison of an entity tag, or the very date
// (RFC 9110 13.1.5).
func inRange(request *message.Fields, kept *message.Fields, now Unix) bool {
	v, next := request.NextField("if-range", 0)
	if next < 0 {
		return true
	}
	v = trim(v)
	if len(v) > 0 && (v[0] == '"' || v[0] == 'W') && bytes.IndexByte(v, '"') >= 0 {
		tag, at := kept.NextField("etag", 0)
		return at >= 0 && isStrong(v) && bytes.Equal(trim(tag), v)
	}
	of, at := kept.NextField("last-modified", 0)
	if at < 0 {
		return false
	}
	want, ok := ParseDate(v, now)
	have, known := ParseDate(of, now)
	// A date is strong only if the response was made some time after it (RFC 9110 8.8.2.2).
	made := dateOf(&message.Head{Fields: *kept}, now)
	return ok && known && want == have && made >= have+strongAfter
}

// strongAfter is after how many seconds a modification is told from the one before by its date: RFC 9110 8.8.2.2 wants a
// difference that a clock shows; a minute was long the rule.
const strongAfter = 60

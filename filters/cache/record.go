package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// A record is a response as Redis keeps it: a byte for the version, numbers and texts with their lengths before them (unsigned
// varints), and at the end a checksum of all before it. Whatever Redis gives back is read as something that anybody may have written:
// what is not exactly a record is none.
//
//	version  status  came  age  lifetime  while-revalidate  if-error  flags  url  vary  selector  tags  fields  body  crc32c
//
// Durations are in milliseconds. The age is the one when it was written; how long it has lain in Redis is Redis' to say.
const recordVersion = 1

// Flags of a record.
const (
	recordNoStale = 1 << iota
	recordNoCache
	recordExplicit
	recordFlags = 1<<iota - 1
)

// recordFieldsMax bounds the fields of a record: more than any head that the gateway lets in has.
const recordFieldsMax = 1000

// errRecord is whatever is wrong with a record: it is taken for none, and why is of no use to anybody.
var errRecord = errors.New("not a record")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the record of an entry that is age old.
func appendRecord(b []byte, url string, e *entry, age time.Duration) []byte {
	start := len(b)
	b = append(b, recordVersion)
	flags := uint64(0)
	for i, is := range []bool{e.fresh.NoStale, e.fresh.NoCache, e.fresh.Explicit} {
		if is {
			flags |= 1 << i
		}
	}
	for _, n := range []uint64{uint64(e.status), uint64(e.came), millis(age), millis(e.fresh.Lifetime), millis(e.fresh.StaleWhileRevalidate),
		millis(e.fresh.StaleIfError), flags} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range []string{url, e.vary, e.selector} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(e.tags)))
	for _, t := range e.tags {
		b = appendText(b, t)
	}
	n := 0
	for i := range e.fields.All() {
		if !e.fields.All()[i].Gone {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range e.fields.All() {
		if l := &e.fields.All()[i]; !l.Gone {
			b = appendText(appendText(b, e.fields.Bytes(l.Name)), e.fields.Bytes(l.Value))
		}
	}
	b = appendText(b, e.body)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// millis is a duration as records have it; what is below zero is nothing.
func millis(d time.Duration) uint64 { return uint64(max(d, 0) / time.Millisecond) }

// parseRecord makes an entry of a record, and of where it says it belongs. The entry's age is the one when it was written; its body lies
// in b. Its error is errRecord.
func parseRecord(b []byte) (url string, e *entry, err error) {
	const sum = 4
	if len(b) < 1+sum || b[0] != recordVersion {
		return "", nil, errRecord
	}
	end := len(b) - sum
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return "", nil, errRecord
	}
	r := recordReader{b: b[1:end:end]}
	e = &entry{status: int(r.number(599)), came: int64(r.number(1 << 40))}
	e.fresh = policy.Freshness{Age: r.duration(), Lifetime: r.duration(), StaleWhileRevalidate: r.duration(), StaleIfError: r.duration()}
	flags := r.number(recordFlags)
	e.fresh.NoStale, e.fresh.NoCache, e.fresh.Explicit = flags&recordNoStale != 0, flags&recordNoCache != 0, flags&recordExplicit != 0
	url, e.vary, e.selector = string(r.text()), string(r.text()), string(r.text())
	for range r.number(tagsMax) {
		e.tags = append(e.tags, string(r.text()))
	}
	for range r.number(recordFieldsMax) {
		name, value := r.text(), r.text()
		if !isName(name) || !isValue(value) {
			r.bad = true
		}
		if r.bad {
			break
		}
		e.fields.Add(name, value)
	}
	e.body = r.text()
	if r.bad || len(r.b) > 0 || e.status < 200 || e.status == 206 || e.status == 304 {
		return "", nil, errRecord
	}
	h := message.Head{Fields: e.fields, Status: e.status}
	for i := range h.All() { // a field of one hop would make an answer that its client reads otherwise
		if !policy.StoresField(&h, &h.All()[i], false) {
			return "", nil, errRecord
		}
	}
	e.seal(len(url))
	return url, e, nil
}

// recordReader reads the parts from the left; bad turns true at the first that does not fit, and everything is empty from there on.
type recordReader struct {
	b   []byte
	bad bool
}

func (r *recordReader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 || n > most {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

// duration reads one of a century at most: lifetimes are bounded by 68 years.
func (r *recordReader) duration() time.Duration {
	return time.Duration(r.number(100*365*24*3600*1000)) * time.Millisecond
}

func (r *recordReader) text() []byte {
	n := r.number(uint64(len(r.b)))
	if n > uint64(len(r.b)) { // its own length has been taken since
		r.bad, r.b = true, nil
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// isName tells of a token (RFC 9110 5.6.2).
func isName(b []byte) bool {
	for _, c := range b {
		if !('a' <= message.Lower(c) && message.Lower(c) <= 'z' || '0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// isValue tells of what may stand in a field without ending it (RFC 9110 5.5).
func isValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

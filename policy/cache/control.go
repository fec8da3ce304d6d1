package cache

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

// Directive is a set of directives of Cache-Control.
type Directive uint32

// Directives. Those with an argument say that it was there and where it is kept.
const (
	NoStore Directive = 1 << iota
	NoCache           // without names of fields
	Private           // without names of fields
	Public
	MustRevalidate
	ProxyRevalidate
	MustUnderstand
	OnlyIfCached
	NoCacheFields // no-cache="a, b"
	PrivateFields // private="a, b"
	HasMaxAge
	HasSMaxAge
	HasStaleWhileRevalidate
	HasStaleIfError
	HasMaxStale
	HasMinFresh
)

// Control is what Cache-Control says, of a request or of a response. The zero value is a message without the field.
type Control struct {
	Has Directive
	MaxAge, SMaxAge, StaleWhileRevalidate,
	StaleIfError, MaxStale, MinFresh time.Duration
}

// Is tells whether any of the directives is there.
func (c *Control) Is(d Directive) bool { return c.Has&d != 0 }

// secondsMax is what larger numbers of seconds mean (RFC 9111 1.2.2): 68 years.
const secondsMax = 1 << 31

// Any is a max-stale without a number: however stale.
const Any = time.Duration(1<<63 - 1)

// ReadControl reads every Cache-Control field of a message. Unknown directives mean nothing; a number that is none makes its
// directive zero, which errs on the side of asking (RFC 9111 4.2.1). Of a directive that comes twice the first counts.
func ReadControl(f *message.Fields) Control {
	var c Control
	for _, l := range f.All() {
		if l.ID == message.CacheControl && !l.Gone {
			c.read(f.Bytes(l.Value))
		}
	}
	return c
}

// ReadRequest is ReadControl for a request: Pragma stands in for Cache-Control where that is missing (RFC 9111 5.4), for the sake
// of clients from before it.
func ReadRequest(f *message.Fields) Control {
	c := ReadControl(f)
	if f.Has(message.CacheControl) {
		return c
	}
	if v, next := f.NextField("pragma", 0); next >= 0 && equalFold(v, "no-cache") {
		c.Has |= NoCache
	}
	return c
}

func (c *Control) read(b []byte) {
	for len(b) > 0 {
		var d directive
		d, b = cutDirective(b)
		if d.open { // a quote without its end may hide anything
			c.Has |= NoStore
			return
		}
		c.take(d)
	}
}

// take notes one directive.
func (c *Control) take(d directive) {
	switch len(d.name) {
	case 6:
		c.flag(d.name, "public", Public)
	case 7:
		c.flagOrFields(d, "private", Private, PrivateFields)
		c.seconds(d, "max-age", HasMaxAge, &c.MaxAge)
	case 8:
		c.flag(d.name, "no-store", NoStore)
		c.flagOrFields(d, "no-cache", NoCache, NoCacheFields)
		c.seconds(d, "s-maxage", HasSMaxAge, &c.SMaxAge)
	case 9:
		if !d.hasValue && equalFold(d.name, "max-stale") && c.Has&HasMaxStale == 0 {
			c.Has |= HasMaxStale
			c.MaxStale = Any
		}
		c.seconds(d, "max-stale", HasMaxStale, &c.MaxStale)
		c.seconds(d, "min-fresh", HasMinFresh, &c.MinFresh)
	case 14:
		c.flag(d.name, "only-if-cached", OnlyIfCached)
		c.seconds(d, "stale-if-error", HasStaleIfError, &c.StaleIfError)
	case 15:
		c.flag(d.name, "must-revalidate", MustRevalidate)
		c.flag(d.name, "must-understand", MustUnderstand)
	case 16:
		c.flag(d.name, "proxy-revalidate", ProxyRevalidate)
	case 22:
		c.seconds(d, "stale-while-revalidate", HasStaleWhileRevalidate, &c.StaleWhileRevalidate)
	}
}

func (c *Control) flag(name []byte, want string, d Directive) {
	if equalFold(name, want) {
		c.Has |= d
	}
}

// flagOrFields notes a directive that is about the whole response, or about the fields that it names (RFC 9111 5.2.2.4, 5.2.2.7).
func (c *Control) flagOrFields(d directive, want string, whole, fields Directive) {
	switch {
	case !equalFold(d.name, want):
	case d.hasValue && len(d.value) > 0:
		c.Has |= fields
	default:
		c.Has |= whole
	}
}

func (c *Control) seconds(d directive, want string, has Directive, at *time.Duration) {
	if c.Has&has != 0 || !equalFold(d.name, want) {
		return
	}
	c.Has |= has
	if n, ok := parseSeconds(d.value); ok && !d.spaced {
		*at = n
	}
}

// parseSeconds reads a delta-seconds: digits and nothing else.
func parseSeconds(b []byte) (time.Duration, bool) {
	var n int64
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), secondsMax)
	}
	return time.Duration(n) * time.Second, len(b) > 0
}

// directive is one member of a Cache-Control field.
type directive struct {
	name, value []byte // of a quoted value what stands between the quotes
	hasValue    bool
	spaced      bool // with spaces around '=', which no grammar has
	open        bool // its quoted value has no end
}

// cutDirective returns the first member of b, which may be empty, and what follows its comma.
func cutDirective(b []byte) (d directive, rest []byte) {
	i := 0
	for i < len(b) && b[i] != '=' && b[i] != ',' {
		i++
	}
	d.name = trim(b[:i])
	if i == len(b) || b[i] == ',' {
		return d, b[min(i+1, len(b)):]
	}
	d.hasValue = true
	d.spaced = i > 0 && isSpace(b[i-1]) || i+1 < len(b) && isSpace(b[i+1])
	b = trimLeft(b[i+1:])
	if len(b) == 0 || b[0] != '"' {
		i = indexByte(b, ',')
		d.value = trim(b[:i])
		return d, b[min(i+1, len(b)):]
	}
	for i = 1; i < len(b) && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	if i >= len(b) {
		d.open = true
		return d, nil
	}
	d.value = b[1:i]
	b = b[i+1:]
	i = indexByte(b, ',')
	return d, b[min(i+1, len(b)):]
}

// namesField tells whether a qualified no-cache or private of the fields names one (RFC 9111 5.2.2.4, 5.2.2.7).
func namesField(f *message.Fields, name []byte) bool {
	for _, l := range f.All() {
		if l.ID != message.CacheControl || l.Gone {
			continue
		}
		for b := f.Bytes(l.Value); len(b) > 0; {
			var d directive
			d, b = cutDirective(b)
			if !equalFold(d.name, "no-cache") && !equalFold(d.name, "private") {
				continue
			}
			for list := d.value; len(list) > 0; {
				i := indexByte(list, ',')
				if message.EqualFold(trim(list[:i]), name) {
					return true
				}
				list = list[min(i+1, len(list)):]
			}
		}
	}
	return false
}

// indexByte returns where c is, the length of b if nowhere.
func indexByte(b []byte, c byte) int {
	for i := range b {
		if b[i] == c {
			return i
		}
	}
	return len(b)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func trim(b []byte) []byte {
	b = trimLeft(b)
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with a word in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		if message.Lower(b[i]) != lower[i] {
			return false
		}
	}
	return true
}

package log

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// field is one member of a line's JSON object.
type field int

const (
	fieldTime field = iota
	fieldRequestID
	fieldListener
	fieldClient
	fieldMethod
	fieldHost
	fieldPath
	fieldQuery
	fieldProtocol
	fieldStatus
	fieldReason
	fieldGuard
	fieldShadow
	fieldRoute
	fieldCluster
	fieldEndpoint
	fieldAttempts
	fieldBytesIn
	fieldBytesOut
	fieldDuration
	fieldFirstByte
	fieldUserAgent
	fieldReferer
	fieldRevision

	fieldCount
)

// fieldSpec is a field's name, the text that it shows if it shows one, and whether it is in a line unless fields are
// chosen.
type fieldSpec struct {
	name  string
	text  int // or notText
	usual bool
}

const notText = -1

// fieldSpecs is read only. Usual are those without which a line does not tell what happened to whom; the rest costs
// time and disk on every request: some 40 ns a field with zap, and 110 for a browser's long user agent, which is why that
// one has to be asked for. So has the query: it may hold secrets (tokens, addresses, search terms).
var fieldSpecs = [fieldCount]fieldSpec{
	fieldTime:      {"time", notText, true},
	fieldRequestID: {"request_id", textRequestID, true},
	fieldListener:  {"listener", textListener, false},
	fieldClient:    {"client", notText, true},
	fieldMethod:    {"method", textMethod, true},
	fieldHost:      {"host", textHost, true},
	fieldPath:      {"path", textPath, true},
	fieldQuery:     {"query", textQuery, false},
	fieldProtocol:  {"protocol", textProtocol, false},
	fieldStatus:    {"status", notText, true},
	fieldReason:    {"reason", textReason, true},
	fieldGuard:     {"guard", textGuard, true},
	fieldShadow:    {"shadow", textShadow, true},
	fieldRoute:     {"route", textRoute, true},
	fieldCluster:   {"cluster", textCluster, true},
	fieldEndpoint:  {"endpoint", textEndpoint, true},
	fieldAttempts:  {"attempts", notText, true},
	fieldBytesIn:   {"bytes_in", notText, false},
	fieldBytesOut:  {"bytes_out", notText, true},
	fieldDuration:  {"duration_us", notText, true},
	fieldFirstByte: {"first_byte_us", notText, false},
	fieldUserAgent: {"user_agent", textUserAgent, false},
	fieldReferer:   {"referer", textReferer, false},
	fieldRevision:  {"revision", notText, false},
}

// Fields returns the names that AccessConfig.Fields may hold, in the usual order, and those that a line has when none
// are chosen.
func Fields() (all, usual []string) {
	for _, f := range fieldSpecs {
		all = append(all, f.name)
		if f.usual {
			usual = append(usual, f.name)
		}
	}
	return all, usual
}

// chooseFields turns names into fields; none means the usual ones.
func chooseFields(names []string) ([]field, error) {
	all, usual := Fields()
	if len(names) == 0 {
		names = usual
	}
	chosen := make([]field, 0, len(names))
	for _, name := range names {
		f := field(slices.Index(all, name))
		if f < 0 {
			return nil, fmt.Errorf("access log: no field %q; there are %s", name, strings.Join(all, ", "))
		}
		if slices.Contains(chosen, f) {
			return nil, fmt.Errorf("access log: field %q is chosen twice", name)
		}
		chosen = append(chosen, f)
	}
	return chosen, nil
}

// textLimits returns textMax for the texts that are shown and 0 for the others, so that the loop does not copy what
// nobody will see.
func textLimits(chosen []field, headers int) (limits [texts]uint16) {
	for _, f := range chosen {
		if text := fieldSpecs[f].text; text != notText {
			limits[text] = textMax[text]
		}
	}
	for i := range headers {
		limits[textHeaders+i] = textMax[textHeaders+i]
	}
	return limits
}

// liner turns records into lines of JSON with zap's encoder. It belongs to the writer's goroutine.
//
// zap escapes quotes, backslashes and the control characters below space, and replaces what is not UTF-8. A line break
// in a value therefore cannot end a line. What JSON leaves alone and a terminal or a careless reader does not, visible
// removes.
type liner struct {
	encoder zapcore.Encoder
	chosen  []field
	headers []string
	whole   []zapcore.Field // the liner itself, as the one field of zap's entry

	// The record being encoded, and scratch for its parts.
	record  entry
	begins  [texts + 1]uint32
	scratch []byte

	// Wall time: what to add to a mono.Time for unix nanoseconds, and the text of the last whole second.
	wall       int64
	second     int64
	secondText []byte
}

func newLiner(chosen []field, headers []string) *liner {
	l := &liner{
		encoder: zapcore.NewJSONEncoder(zapcore.EncoderConfig{}),
		chosen:  chosen,
		headers: headers,
		second:  -1,
	}
	l.whole = []zapcore.Field{zap.Inline(l)}
	return l
}

// line encodes one record; the caller frees the buffer.
func (l *liner) line(e entry) (*buffer.Buffer, error) {
	l.record = e
	e.split(&l.begins)
	return l.encoder.EncodeEntry(zapcore.Entry{}, l.whole)
}

// text returns a text of the record at hand.
func (l *liner) text(i int) []byte { return l.record[l.begins[i]:l.begins[i+1]] }

// MarshalLogObject implements zapcore.ObjectMarshaler for the record at hand.
func (l *liner) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	e := l.record
	for _, f := range l.chosen {
		spec := &fieldSpecs[f]
		if spec.text != notText {
			if text := l.text(spec.text); len(text) > 0 {
				enc.AddByteString(spec.name, l.visible(text))
			}
			continue
		}
		switch f {
		case fieldTime:
			enc.AddByteString(spec.name, l.timeText(int64(e.start())+l.wall))
		case fieldClient:
			if client, known := e.client(); known {
				l.scratch = client.AppendTo(l.scratch[:0])
				enc.AddByteString(spec.name, l.scratch)
			}
		case fieldStatus:
			enc.AddInt64(spec.name, int64(e.short(atStatus)))
		case fieldAttempts:
			if n := e.short(atAttempts); n > 1 { // one is nearly every line; none has a reason instead
				enc.AddInt64(spec.name, int64(n))
			}
		case fieldBytesIn:
			enc.AddInt64(spec.name, e.num(atBytesIn))
		case fieldBytesOut:
			enc.AddInt64(spec.name, e.num(atBytesOut))
		case fieldDuration:
			enc.AddInt64(spec.name, e.micros(atDuration))
		case fieldFirstByte:
			if us := e.micros(atFirstByte); us > 0 {
				enc.AddInt64(spec.name, us)
			}
		case fieldRevision:
			enc.AddUint64(spec.name, uint64(e.num(atRevision)))
		}
	}
	if l.begins[textHeaders] < l.begins[texts] {
		if err := enc.AddObject("headers", (*headerLiner)(l)); err != nil {
			return err
		}
	}
	if e.wasCut() {
		enc.AddBool("truncated", true)
	}
	return nil
}

// headerLiner is the liner as the object of extra headers, which have a name space of their own: a header called Status
// must not look like the status.
type headerLiner liner

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (h *headerLiner) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for i, name := range h.headers {
		if value := (*liner)(h).text(textHeaders + i); len(value) > 0 {
			enc.AddByteString(name, (*liner)(h).visible(value))
		}
	}
	return nil
}

// timeText is RFC 3339 in UTC with microseconds. Only the digits after the point are new on most calls.
func (l *liner) timeText(unixNano int64) []byte {
	second, nano := unixNano/int64(time.Second), unixNano%int64(time.Second)
	if second != l.second {
		l.second = second
		l.secondText = time.Unix(second, 0).UTC().AppendFormat(l.secondText[:0], "2006-01-02T15:04:05.000000Z")
	}
	micro := nano / int64(time.Microsecond)
	for at := len("2006-01-02T15:04:05.000000") - 1; l.secondText[at] != '.'; at-- {
		l.secondText[at] = byte('0' + micro%10)
		micro /= 10
	}
	return l.secondText
}

// visible returns text with U+FFFD for the characters that JSON passes on but that a terminal obeys (DEL, C1
// controls), that some readers take for the end of a line (U+0085, U+2028, U+2029) or that turn the order of what is
// shown around (bidirectional controls). It returns text itself, at eight bytes a step, where all of it is plain ASCII.
func (l *liner) visible(text []byte) []byte {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] {
		// A byte of 0x7f gets its top bit by the addition, a higher one has it.
		if x := binary.LittleEndian.Uint64(rest); (x|(x+ones))&tops != 0 {
			return l.replace(text)
		}
	}
	for _, c := range rest {
		if c >= 0x7f {
			return l.replace(text)
		}
	}
	return text
}

func (l *liner) replace(text []byte) []byte {
	out := l.scratch[:0]
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r >= 0x7f && (unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)) {
			out = utf8.AppendRune(out, utf8.RuneError)
		} else {
			out = append(out, text[:n]...) // also a byte that is not UTF-8, which zap replaces
		}
		text = text[n:]
	}
	l.scratch = out
	return out
}

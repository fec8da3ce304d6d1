package h1

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// state is where in a message a reader stands.
type state uint8

const (
	atStart     state = iota // between two messages: nothing of the next has been read
	inStartLine              // an empty line before it was skipped, or it is incomplete
	inFields
	inBody // left bytes of a body with a length
	inChunkSize
	inChunkData // left bytes of a chunk
	inChunkEnd  // the CRLF behind a chunk's data
	inTrailers
	untilClose // a response's body, or a tunnel, that only the close will end
	complete   // the message is over; nothing is read until the other side of the exchange is, too
	broken     // refused: nothing is ever read again
)

// reader is the incoming half of a codec. An incomplete head (or trailer section) stays in the chain, and the reader
// remembers how much of it is known to be good: every byte is looked at once, however it arrives, and the first wrong one
// is refused on arrival. Fields are added to the head as their lines come, by where they will lie when the whole section is
// stored. So a chain without bytes means a reader without half-read lines, and a head that nothing refers to.
type reader struct {
	limits *Limits
	left   int64 // bytes still to come of the body or of the chunk

	// The section of lines at the front of the chain, a head or trailers: the bytes of its complete lines; the bytes of the
	// incomplete line that were looked at, and where parts of that line end (the field name; method and target), zero while
	// that is not known.
	lines, pos, mark1, mark2 uint32

	credit int32  // chunk extension bytes that may still come, see Limits.ExtensionBytesMax
	fields uint16 // of this head or trailer section
	state  state
}

// begin makes the reader ready for a section of lines: a head or trailers.
func (r *reader) begin() {
	r.lines, r.pos, r.mark1, r.mark2, r.fields = 0, 0, 0, 0, 0
}

// fresh tells that no byte of a message has been looked at.
func (r *reader) fresh() bool {
	return r.state == atStart || r.state == inStartLine && r.pos == 0
}

// fail makes the refusal final.
func (r *reader) fail(why *message.Refusal) (message.Event, error) {
	r.state = broken
	return message.Event{}, why
}

// take moves the n bytes of a complete section from the front of the chain into the fields' own memory.
func take(in *buf.Chain, p *buf.Pool, f *message.Fields, n int) {
	f.Store(in.Front()[:n])
	in.Skip(p, n)
}

// more brings the rest of an incomplete section to the front of the chain, if the chain has any in further chunks. most
// is what the section may hold; one byte beyond it is enough to refuse it.
func more(in *buf.Chain, p *buf.Pool, most int) bool {
	have := len(in.Front())
	if in.Len() == have || have > most {
		return false
	}
	in.Pull(p, min(in.Len(), most+1))
	return true
}

// fieldLines parses the field lines of the section that b begins with, from where it stopped before, and adds them to f.
// It returns the length of the section when the empty line that ends it has come, 0 until then.
//
// There is one loop for both the name and the value and none to find the end of the line first: a value's end is its
// first control character, which has to be CR.
func (r *reader) fieldLines(b []byte, f *message.Fields, bytesMax int, tooLarge *message.Refusal) (int, *message.Refusal) {
	base := uint32(f.RawLen()) // where b[0] will lie
	n := int(r.lines)
	i, colon := n+int(r.pos), n+int(r.mark1)
	for {
		if colon == n {
			for i < len(b) && tokenByte[b[i]] {
				i++
			}
			if i == len(b) {
				break
			}
			if b[i] != ':' || i == n {
				if b[i] != '\r' || i != n {
					return 0, badName(b, n, i)
				}
				if i+1 == len(b) {
					break
				}
				if b[i+1] != '\n' {
					return 0, bareCR
				}
				if i+2 > bytesMax {
					return 0, tooLarge
				}
				return i + 2, nil
			}
			colon = i
			i++
		}
		i = valueEnd(b, i)
		if i == len(b) {
			break
		}
		if b[i] != '\r' {
			return 0, badValue(b[i])
		}
		if i+1 == len(b) {
			break
		}
		if b[i+1] != '\n' {
			return 0, bareCR
		}
		if i+2 > bytesMax {
			return 0, tooLarge
		}
		if r.fields++; int(r.fields) > r.limits.FieldsMax {
			return 0, manyFields
		}
		from, to := trim(b, colon+1, i)
		f.AddSpan(span(base, n, colon), span(base, from, to), message.Identify(b[n:colon]))
		i += 2
		n, colon = i, i
	}
	if i > bytesMax {
		return 0, tooLarge
	}
	r.lines, r.pos, r.mark1 = uint32(n), uint32(i-n), uint32(colon-n)
	return 0, nil
}

func span(base uint32, from, to int) message.Span {
	return message.Span{Off: base + uint32(from), Len: uint32(to - from)}
}

// badName says what is wrong with the line that begins at n and whose byte i is not part of a name.
func badName(b []byte, n, i int) *message.Refusal {
	switch white := b[i] == ' ' || b[i] == '\t'; {
	case white && i == n:
		return foldedField // RFC 9112 5.2
	case white:
		return spaceBeforeColon // RFC 9112 5.1
	case b[i] == '\n':
		return bareLF
	}
	return badFieldName
}

func badValue(c byte) *message.Refusal {
	if c == '\n' {
		return bareLF
	}
	return badFieldValue
}

// head reads on in a head from where it stopped before, with lines, which returns the head's length once it is complete. It
// tells whether it is: then the head's bytes have left the chain, and h holds them.
func (r *reader) head(in *buf.Chain, p *buf.Pool, h *message.Head, lines func([]byte, *message.Head) (int, *message.Refusal)) (bool, *message.Refusal) {
	for in.Len() > 0 {
		n, err := lines(in.Front(), h)
		if err != nil {
			return false, err
		}
		if n > 0 {
			take(in, p, &h.Fields, n)
			return true, nil
		}
		if !more(in, p, r.limits.HeadBytesMax) {
			break
		}
	}
	return false, nil
}

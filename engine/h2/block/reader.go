// Package block turns the header blocks of HTTP/2 into heads and trailers and back (RFC 9113 8, RFC 7541, RFC 8441). A
// Reader holds one direction's compression state, a Writer the other's.
//
// It is as strict as the HTTP/1 codec beside it: whatever a Reader lets pass can be written as HTTP/1 and is read there as
// the same one message. Fields of the framing and of the host become the Head's Length and Authority and are Gone from its
// fields; they are written from there, never from a field. What one block can cost is bounded however it is made.
//
// It knows nothing of frames and streams: whether a block may come at all, how many frames it may have, and whether the
// body keeps to its length, is judged above. It reads no clock and does no I/O. Neither type is safe for concurrent use.
package block

import (
	"errors"

	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/invariant"
)

// Kind says what a block is.
type Kind uint8

// Kinds of blocks.
const (
	Request Kind = iota
	Response
	Trailers
)

// Reader reads the header blocks of a connection in the order in which they come: Begin, Write for each piece, End. A block
// that was begun has to be given whole, also if nobody wants it any more, for it may change the table that the blocks
// behind it refer to.
//
// The library makes a string of each literal: one allocation, two with a new name. Fields that are indexed cost none, and
// nothing of ours does, so a peer that repeats itself is read without any.
type Reader struct {
	limits  Limits
	decoder *hpack.Decoder
	table   uint32           // the most that the peer's table may have
	broken  *message.Refusal // of the connection; final

	// The block that is being read.
	h         *message.Head // nil between blocks
	refused   *message.Refusal
	listBytes int // RFC 9113 6.5.2
	bytes     int // as they came
	fields    int
	crumbs    int
	host      message.Span // the value of the Host field
	kind      Kind
	seen      pseudo // which pseudo-fields were there
	cut       bool   // it comes in more than one piece
	ordinary  bool   // a field that is no pseudo-field was there
	https     bool   // the scheme
	hosted    bool   // there is a Host field
	versioned bool   // there is a Sec-WebSocket-Version
	version13 bool   // there is one, and it is 13
}

// Init makes the Reader ready for a new connection. A nil l means all defaults. The Reader must not be copied afterwards.
func (r *Reader) Init(l *Limits) {
	*r = Reader{}
	if l != nil {
		r.limits = *l
	}
	r.limits = NewLimits(r.limits)
	// Until the peer has read our SETTINGS, its table has the size that the protocol begins with.
	r.table = max(r.limits.TableBytesMax, initialTable)
	r.renew()
}

// renew makes an empty decoder. Its table is as large as the peer's may become, even if the peer's is smaller now: what is
// in the peer's table is then the newer part of ours, and every index means the same in both.
func (r *Reader) renew() {
	r.decoder = hpack.NewDecoder(r.table, r.field)
	r.decoder.SetMaxStringLength(r.blockMax())
}

// Acknowledged says that the peer has acknowledged our SETTINGS: from the next block on, its table is as small as they say
// (RFC 7541 4.2). It is called between blocks, if at all; without it a table below 4096 is not insisted on.
func (r *Reader) Acknowledged() {
	if r.table > r.limits.TableBytesMax {
		r.table = r.limits.TableBytesMax
		r.decoder.SetAllowedMaxDynamicTableSize(r.table)
		r.decoder.SetMaxDynamicTableSize(r.table)
	}
}

// blockMax bounds a block, as it came and as a list.
func (r *Reader) blockMax() int { return bombFactor * r.limits.ListBytesMax }

// Begin begins a block. For a request or a response h is Reset; after a refusal it holds some part of the head. For
// trailers it may be the head whose body they end: its fields are marked Gone, so that it holds the trailers and nothing
// else to whoever asks, and its start line stays; any other is Reset.
func (r *Reader) Begin(k Kind, h *message.Head) {
	invariant.Check(r.h == nil, "a header block begins when the one before has ended")
	r.h, r.kind = h, k
	r.refused, r.listBytes, r.bytes, r.fields, r.crumbs, r.host = nil, 0, 0, 0, 0, message.Span{}
	r.seen, r.cut, r.ordinary, r.https, r.hosted = 0, false, false, false, false
	r.versioned, r.version13 = false, false
	if k == Trailers && h.Proto != 0 {
		all := h.All()
		for i := range all {
			all[i].Gone = true
		}
		return
	}
	h.Reset()
	if k != Trailers {
		h.Proto, h.Length = message.HTTP2, message.UnknownLength
	}
}

// Write reads a piece of the block, which may be cut anywhere; it keeps nothing of the slice. A refusal is one of the
// connection (COMPRESSION_ERROR), and final. What is wrong with the message alone, End says.
func (r *Reader) Write(fragment []byte) *message.Refusal {
	invariant.Check(r.h != nil, "a piece of a header block belongs to one that was begun")
	if r.broken != nil || len(fragment) == 0 {
		return r.broken
	}
	r.cut = r.cut || r.bytes > 0
	// Encoded bytes are counted as well: updates of the table's size are fields to nobody, and may be repeated for ever.
	if r.bytes += len(fragment); r.bytes > r.blockMax() {
		return r.breaks(hpackBomb)
	}
	_, err := r.decoder.Write(fragment)
	switch {
	case r.broken != nil: // field found it out
	case errors.Is(err, hpack.ErrStringLength):
		r.broken = hpackBomb
	case err != nil:
		r.broken = badCompression
	}
	return r.broken
}

func (r *Reader) breaks(why *message.Refusal) *message.Refusal {
	r.broken = why
	return why
}

// End ends the block. If both are nil, h holds the message. stream refuses this message alone: it is malformed (RFC 9113
// 8.1.1) or beyond a limit. connection, which is final, says that nothing can be read any more.
//
// The Length of a request or response is that of its Content-Length, else UnknownLength, also if the stream ends with
// this block, which only the frame says; of an interim response, a 204 and a request for a tunnel it is 0. A 101 is
// never read: that a 2xx has accepted a tunnel, only whoever asked for one knows (RFC 8441 5).
func (r *Reader) End() (stream, connection *message.Refusal) {
	invariant.Check(r.h != nil, "a header block ends that was begun")
	h := r.h
	r.h = nil
	if r.broken != nil {
		return nil, r.broken
	}
	if r.decoder.Close() != nil {
		return nil, r.breaks(badCompression)
	}
	if r.cut && r.bytes > savedKept {
		r.shed()
	}
	if r.refused != nil {
		return r.refused, nil
	}
	switch r.kind {
	case Request:
		if err := r.judgeRequest(h); err != nil {
			return err, nil
		}
		if r.crumbs > 1 {
			joinCookies(h)
		}
	case Response:
		return r.judgeResponse(h), nil
	}
	return nil, nil
}

// shed gives back the memory in which the decoder has kept what it could not read yet, by taking a new one. The library
// has no word for that, so the table is copied by the protocol's own means: each index is read until there is no further
// one, and all of them are written as literals to be indexed. It happens only behind large blocks in pieces, and a
// table's entries are few: each has 32 bytes at least.
func (r *Reader) shed() {
	var table []hpack.HeaderField
	old := r.decoder
	old.SetEmitFunc(func(f hpack.HeaderField) { table = append(table, f) })
	var b []byte
	for index := uint64(staticEntries + 1); ; index++ {
		b = appendInt(b[:0], 0x80, 7, index)
		if _, err := old.Write(b); err != nil {
			break
		}
	}
	r.renew()
	r.decoder.SetEmitEnabled(false)
	for i := len(table) - 1; i >= 0; i-- {
		b = appendText(appendText(append(b[:0], 0x40), table[i].Name), table[i].Value)
		_, err := r.decoder.Write(b)
		invariant.Check(err == nil, "a table's entries can be written again")
	}
	r.decoder.SetEmitEnabled(true)
	_ = r.decoder.Close() // has nothing left, and says so without an error
}

// field takes a decoded field. Whatever it finds, the decoder goes on to the end of the block.
func (r *Reader) field(f hpack.HeaderField) {
	r.listBytes += len(f.Name) + len(f.Value) + fieldOverhead
	switch {
	case r.broken != nil:
	case r.listBytes > r.blockMax():
		r.broken = hpackBomb
		r.decoder.SetEmitEnabled(false) // nothing behind it is looked at: the connection is over
	case r.refused != nil:
	case r.listBytes > r.limits.ListBytesMax:
		r.refused = largeHead
		if r.kind == Trailers {
			r.refused = largeTrailers
		}
	case f.IsPseudo():
		r.refused = r.pseudo(f.Name, f.Value)
	default:
		r.refused = r.line(f.Name, f.Value)
	}
}

package h1

import (
	"strconv"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// delimiter is how the end of the body that is being sent is told.
type delimiter uint8

const (
	sentAll  delimiter = iota // nothing begun, or everything sent
	noBody                    // the message cannot have one; what is given as its body is dropped
	byLength                  // left bytes are still to be sent
	byChunks
	byClose
)

// writer is the outgoing half of a codec, from the end of a head to the end of its body.
type writer struct {
	left      int64
	delimiter delimiter
}

// data sends n bytes of src.
func (w *writer) data(out *buf.Chain, p *buf.Pool, src *buf.Chain, n int) error {
	if n == 0 {
		return nil // a chunk without bytes would end the body
	}
	switch w.delimiter {
	case noBody:
		src.Skip(p, n)
	case byLength:
		if int64(n) > w.left {
			return ErrLongBody
		}
		w.left -= int64(n)
		out.Take(p, src, n)
	case byChunks:
		line := strconv.AppendUint(out.Room(p, 18)[:0], uint64(n), 16)
		line = append(line, "\r\n"...)
		out.Fill(len(line))
		out.Take(p, src, n)
		out.AppendString(p, "\r\n")
	case byClose:
		out.Take(p, src, n)
	case sentAll:
		return ErrLongBody
	}
	return nil
}

// end ends the body. Trailers (nil if there are none) go out only in chunks, without those that nobody may send.
func (w *writer) end(out *buf.Chain, p *buf.Pool, trailers *message.Fields) error {
	if w.delimiter == byLength && w.left > 0 {
		return ErrShortBody
	}
	if w.delimiter == byChunks {
		out.AppendString(p, "0\r\n")
		if trailers != nil {
			dropForbidden(trailers)
			appendTo(out, p, headRoom(trailers), func(b []byte) []byte { return appendFields(b, trailers) })
		}
		out.AppendString(p, "\r\n")
	}
	w.delimiter = sentAll
	return nil
}

// headRoom is an upper bound of what the lines of f take, with room for a start line and the codec's own fields: raw bytes
// hold everything but separators.
func headRoom(f *message.Fields) int { return f.RawLen() + 4*len(f.All()) + 160 }

// appendTo appends what write appends, in place where the estimate of its size was right. Fields that share their bytes
// can make it wrong; they are copied once more then.
func appendTo(out *buf.Chain, p *buf.Pool, estimate int, write func([]byte) []byte) {
	room := out.Room(p, estimate)
	b := write(room[:0])
	if len(b) <= len(room) {
		out.Fill(len(b))
	} else {
		out.Append(p, b)
	}
}

// framingFields are written by the codec alone, from what it knows, and never from a field.
const framingFields = 1<<message.Connection | 1<<message.ContentLength | 1<<message.TransferEncoding | 1<<message.Host |
	1<<message.Upgrade | 1<<message.TE

// appendFields appends the lines of every field that is to be forwarded.
//
// Fields that a codec parsed lie in memory the way they go out, line behind line, so runs of them are copied at once:
// a typical request is one or two copies. Copying name, colon, value and line end of each field by itself took 39 ns for
// a browser's request; so it takes 24.
func appendFields(b []byte, f *message.Fields) []byte {
	raw := f.Bytes(message.Span{Len: uint32(f.RawLen())})
	from, to := 0, 0 // the run that is still to be copied
	all := f.All()
	for i := range all {
		l := &all[i]
		if l.Gone || framingFields>>l.ID&1 != 0 {
			continue
		}
		name, value := int(l.Name.Off), int(l.Value.Off)
		end := value + int(l.Value.Len)
		if value != name+int(l.Name.Len)+2 || end+2 > len(raw) ||
			raw[value-2] != ':' || raw[value-1] != ' ' || raw[end] != '\r' || raw[end+1] != '\n' {
			b = append(b, raw[from:to]...)
			from, to = 0, 0
			b = append(b, f.Bytes(l.Name)...)
			b = append(b, ": "...)
			b = append(b, f.Bytes(l.Value)...)
			b = append(b, "\r\n"...)
			continue
		}
		if name != to {
			b = append(b, raw[from:to]...)
			from = name
		}
		to = end + 2
	}
	return append(b, raw[from:to]...)
}

// appendLength appends a Content-Length line.
func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

const chunkedLine = "Transfer-Encoding: chunked\r\n"

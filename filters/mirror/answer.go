package mirror

import (
	"bytes"
	"compress/gzip"
	"io"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/compare"
)

// answer is one of the three that are compared: what there is of it. It belongs to a loop until it is handed to the report's
// goroutine.
type answer struct {
	compare.Answer
	coding  string // Content-Encoding
	took    time.Duration
	headed  bool
	large   bool // longer than is compared
	whole   bool
	foreign bool // it is the gateway's own, and no version's
}

// read takes what is compared of a head.
func (a *answer) read(h *message.Head, c *compare.Config) {
	a.headed, a.Status = true, h.Status
	if kind, ok := h.Field([]byte("Content-Type")); ok {
		a.JSON = isJSON(kind)
	}
	if coding, ok := h.Field([]byte("Content-Encoding")); ok {
		a.coding = string(coding)
	}
	a.Fields = make([][]byte, len(c.Fields))
	for i, name := range c.Fields {
		h.EachField([]byte(name), func(v []byte) bool {
			if a.Fields[i] != nil {
				a.Fields[i] = append(a.Fields[i], ", "...)
			}
			a.Fields[i] = append(a.Fields[i], v...)
			return true
		})
	}
}

// isJSON tells whether a type is application/json or one that is built on it (RFC 6839 3.1).
func isJSON(kind []byte) bool {
	kind, _, _ = bytes.Cut(kind, []byte(";"))
	kind = bytes.ToLower(bytes.TrimSpace(kind))
	return bytes.HasSuffix(kind, []byte("/json")) || bytes.HasSuffix(kind, []byte("+json"))
}

// room tells whether n bytes more are kept; if not, none are.
func (a *answer) room(n int, most int64) bool {
	if int64(len(a.Body)+n) > most {
		a.large, a.Body = true, nil
	}
	return !a.large
}

// plain takes the coding off a body, if that is gzip. False: it is another one, broken, or longer than most.
func (a *answer) plain(most int64) bool {
	switch a.coding {
	case "", "identity":
		return true
	case "gzip":
	default:
		return false
	}
	z, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		return len(a.Body) == 0 // of HEAD, 304
	}
	text, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil || int64(len(text)) > most {
		return false
	}
	a.Body = text
	return true
}

// answerStage copies the original's answer as it passes.
type answerStage struct{ t *flight }

// Data is for gateway.Stage.
func (s *answerStage) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	a := &s.t.compared.old
	if !a.large && a.room(n, s.t.f.spec.Compare.BodyBytesMax) {
		a.Body = passOn(a.Body, in, n, out, p)
		return nil
	}
	out.Take(p, in, n)
	return nil
}

// Flush is for gateway.Stage.
func (s *answerStage) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End is for gateway.Stage.
func (s *answerStage) End(*buf.Chain, *buf.Pool) error {
	s.t.compared.old.whole = true
	return nil
}

// Release is for gateway.Stage.
func (s *answerStage) Release(*buf.Pool, bool) { s.t.release() }

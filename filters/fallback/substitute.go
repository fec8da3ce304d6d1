package fallback

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// substitute is the stage that throws a body away and sends another. Loop-owned.
type substitute struct {
	body []byte
	sent bool
}

// Data drops what comes; with the first of it the other body leaves.
func (s *substitute) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	in.Skip(p, n)
	s.send(out, p)
	return nil
}

// Flush has nothing to let out.
func (s *substitute) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End sends the other body if there was none.
func (s *substitute) End(out *buf.Chain, p *buf.Pool) error {
	s.send(out, p)
	return nil
}

func (s *substitute) send(out *buf.Chain, p *buf.Pool) {
	if !s.sent {
		s.sent = true
		out.Append(p, s.body)
	}
}

// Release has nothing to give back.
func (s *substitute) Release(*buf.Pool, bool) {}

// rewrite makes a head that of the fixed answer. Of the upstream's fields those stay that say nothing of its answer: when, by whom,
// to whom it may be shown.
func rewrite(h *message.Head, r *gateway.Respond) {
	h.Status, h.Reason, h.Length = r.Status, message.Span{}, int64(len(r.Body))
	all := h.All()
	for i := range all {
		if f := &all[i]; !stays(h.Bytes(f.Name), f.ID) {
			f.Gone = true
		}
	}
	for _, f := range r.Fields {
		h.AddString(f.Name, f.Value)
	}
	h.AddString("X-Yumen-Reason", ReasonFallback)
}

func stays(name []byte, id message.ID) bool {
	switch id {
	case message.Date, message.Via, message.XRequestID:
		return true
	case message.OtherField:
		const cors = "access-control-"
		return message.EqualFold(name, []byte("Vary")) || len(name) > len(cors) && message.EqualFold(name[:len(cors)], []byte(cors))
	}
	return false
}

package h2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// A script is a connection as text, a line for each frame that the peer sends and, behind "!", for each thing that our side
// does. What comes of it is a story, a line for each event and, behind "<", for each frame that our side sent, as the
// Framer of golang.org/x/net/http2 reads it. The same script tells the same story however its bytes are cut.
//
//	preface | settings NAME=N ... | settings ack | ping TEXT | ping ack TEXT | window STREAM N | rst STREAM CODE
//	priority STREAM DEPENDENCY | update STREAM VALUE | goaway LAST CODE | push STREAM | raw HEX
//	headers STREAM [end] [pad=N] [dep=N] [split=N] [open] : NAME=VALUE; NAME=VALUE
//	data STREAM [end] [pad=N] : TEXT          (TEXT "*N" stands for N bytes)
//	frame TYPE FLAGS STREAM HEX
//	! head STREAM STATUS [end] [len=N] | ! interim STREAM STATUS | ! data STREAM TEXT | ! end STREAM [NAME=VALUE]
//	! reset STREAM CODE | ! flush [N] | ! goaway | ! goaway final | ! open METHOD PATH [end] [len=N] [upgrade] | ! drained
type peer struct {
	encoder *hpack.Encoder
	block   bytes.Buffer
	wire    bytes.Buffer
	framer  *http2.Framer
}

func newPeer() *peer {
	w := new(peer)
	w.encoder = hpack.NewEncoder(&w.block)
	w.framer = http2.NewFramer(&w.wire, nil)
	w.framer.AllowIllegalWrites = true
	return w
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

// options splits the words of a line.
func options(words []string) (flags map[string]bool, values map[string]int) {
	flags, values = map[string]bool{}, map[string]int{}
	for _, w := range words {
		if name, v, ok := strings.Cut(w, "="); ok {
			values[name] = int(number(v))
		} else {
			flags[w] = true
		}
	}
	return flags, values
}

func text(s string) []byte {
	if n, ok := strings.CutPrefix(s, "*"); ok {
		return bytes.Repeat([]byte{'x'}, int(number(n)))
	}
	return []byte(s)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "_", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// send returns the bytes of one line.
func (w *peer) send(line string) []byte {
	w.wire.Reset()
	front, payload, _ := strings.Cut(line, " : ")
	words := strings.Fields(front)
	switch words[0] {
	case "preface":
		w.wire.WriteString(preface)
	case "settings":
		var list []http2.Setting
		for _, s := range words[1:] {
			if s == "ack" {
				w.framer.WriteSettingsAck()
				return w.wire.Bytes()
			}
			name, v, _ := strings.Cut(s, "=")
			list = append(list, http2.Setting{ID: http2.SettingID(number(name)), Val: number(v)})
		}
		w.framer.WriteSettings(list...)
	case "ping":
		var b [8]byte
		copy(b[:], words[len(words)-1])
		w.framer.WritePing(words[1] == "ack", b)
	case "window":
		w.framer.WriteWindowUpdate(number(words[1]), number(words[2]))
	case "rst":
		w.framer.WriteRSTStream(number(words[1]), http2.ErrCode(number(words[2])))
	case "priority":
		w.framer.WritePriority(number(words[1]), http2.PriorityParam{StreamDep: number(words[2])})
	case "update":
		id := number(words[1])
		w.framer.WriteRawFrame(typePriorityUpdate, 0, 0, append([]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, strings.Join(words[2:], " ")...))
	case "goaway":
		w.framer.WriteGoAway(number(words[1]), http2.ErrCode(number(words[2])), []byte("bye"))
	case "push":
		w.framer.WritePushPromise(http2.PushPromiseParam{StreamID: number(words[1]), PromiseID: 2, EndHeaders: true})
	case "raw":
		w.wire.Write(unhex(words[1]))
	case "frame":
		w.framer.WriteRawFrame(http2.FrameType(number(words[1])), http2.Flags(number(words[2])), number(words[3]), unhex(strings.Join(words[4:], "")))
	case "data":
		flags, values := options(words[2:])
		if n, ok := values["pad"]; ok {
			w.framer.WriteDataPadded(number(words[1]), flags["end"], text(payload), make([]byte, n))
		} else {
			w.framer.WriteData(number(words[1]), flags["end"], text(payload))
		}
	case "headers":
		w.headers(words, payload)
	default:
		panic(line)
	}
	return w.wire.Bytes()
}

func (w *peer) headers(words []string, fields string) {
	w.block.Reset()
	for _, f := range strings.Split(fields, "; ") {
		if f == "" {
			continue
		}
		at := strings.IndexByte(f[1:], '=') + 1
		w.encoder.WriteField(hpack.HeaderField{Name: f[:at], Value: string(text(f[at+1:]))})
	}
	flags, values := options(words[2:])
	block := w.block.Bytes()
	first := len(block)
	if n, ok := values["split"]; ok {
		first = n
	}
	p := http2.HeadersFrameParam{StreamID: number(words[1]), BlockFragment: block[:first], EndStream: flags["end"],
		EndHeaders: first == len(block) && !flags["open"], PadLength: uint8(values["pad"])}
	if n, ok := values["dep"]; ok {
		p.Priority = http2.PriorityParam{StreamDep: uint32(n), Weight: 1}
	}
	w.framer.WriteHeaders(p)
	for block = block[first:]; len(block) > 0; {
		n := min(first, len(block))
		w.framer.WriteContinuation(p.StreamID, n == len(block) && !flags["open"], block[:n])
		block = block[n:]
	}
}

// side is our side in a story.
type side struct {
	t       testing.TB
	p       *buf.Pool
	in, out buf.Chain
	h       *message.Head
	server  *Server
	client  *Client
	c       *conn
	sent    bytes.Buffer
	framer  *http2.Framer
	story   strings.Builder
	body    map[uint32][]byte
	failed  bool
}

func newSide(t testing.TB, client bool, l *Limits) *side {
	s := &side{t: t, p: buf.NewPool(0), h: new(message.Head), body: map[uint32][]byte{}}
	s.framer = http2.NewFramer(io.Discard, &s.sent)
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.framer.SetMaxReadFrameSize(1 << 20)
	if client {
		s.client = new(Client)
		s.client.Init(l, "http")
		s.client.Start(&s.out, s.p)
		s.c = &s.client.conn
		s.out.Skip(s.p, len(preface))
	} else {
		s.server = new(Server)
		s.server.Init(l)
		s.server.Start(&s.out, s.p)
		s.c = &s.server.conn
	}
	s.collect()
	s.sent.Reset()
	return s
}

func (s *side) line(format string, args ...any) { fmt.Fprintf(&s.story, format+"\n", args...) }

// flushBody tells the body of a stream as a whole.
func (s *side) flushBody(id uint32) {
	if b := s.body[id]; len(b) > 0 {
		if len(b) > 100 {
			s.line("#%d body *%d", id, len(b))
		} else {
			s.line("#%d body %q", id, b)
		}
	}
	delete(s.body, id)
}

// receive takes bytes of the peer's and tells what comes of them.
func (s *side) receive(b []byte, apart bool) {
	if apart && len(b) > 0 {
		chunk := s.p.Get(len(b))
		chunk.Fill(copy(chunk.Room(), b))
		s.in.Push(chunk)
	} else {
		s.in.Append(s.p, b)
	}
	for !s.failed {
		e, err := s.c.next(&s.in, &s.out, s.p, s.h)
		if err != nil {
			var r *message.Refusal
			if !errors.As(err, &r) {
				s.t.Fatal(err)
			}
			s.failed = true
			s.body = map[uint32][]byte{}
			s.line("refused %s", r.Reason)
			if _, again := s.c.next(&s.in, &s.out, s.p, s.h); again != err {
				s.t.Errorf("after %v came %v", err, again)
			}
			return
		}
		if e.Kind == message.None {
			return
		}
		s.event(e)
	}
}

func fieldsOf(f *message.Fields) string {
	var b strings.Builder
	for _, l := range f.All() {
		if !l.Gone {
			fmt.Fprintf(&b, " %s=%s", f.Bytes(l.Name), f.Bytes(l.Value))
		}
	}
	return b.String()
}

func (s *side) event(e message.Event) {
	if e.Kind == message.GotData {
		for n := e.N; n > 0; {
			part := s.in.Front()[:min(n, len(s.in.Front()))]
			s.body[e.Stream] = append(s.body[e.Stream], part...)
			n -= len(part)
			s.in.Skip(s.p, len(part))
		}
		s.c.Took(&s.out, s.p, e.Stream, e.N)
		if e.End {
			s.flushBody(e.Stream)
			s.line("#%d end", e.Stream)
		}
		return
	}
	if e.Kind == message.GotReset {
		delete(s.body, e.Stream) // how much was seen of it depends on the cuts
	}
	s.flushBody(e.Stream)
	end := ""
	if e.End {
		end = " end"
	}
	h := s.h
	switch e.Kind {
	case message.GotHead, message.GotInterim:
		start := fmt.Sprintf("%s %s %s", h.MethodBytes(), h.AuthorityBytes(), h.PathBytes())
		if s.client != nil {
			start = strconv.Itoa(h.Status)
		}
		if h.Upgrade.Len > 0 {
			start += fmt.Sprintf(" to=%s", h.Bytes(h.Upgrade))
		}
		s.line("#%d %s len=%d%s%s", e.Stream, start, h.Length, fieldsOf(&h.Fields), end)
	case message.GotEnd:
		s.line("#%d end", e.Stream)
	case message.GotTrailers:
		s.line("#%d trailers%s", e.Stream, fieldsOf(&h.Fields))
	case message.GotReset:
		why := ""
		if r := s.c.Refusal(e.Stream); r != nil {
			why = " " + r.Reason
		}
		s.line("#%d reset %d%s", e.Stream, e.N, why)
	case message.GotRefusal:
		s.line("#%d refused %s%s", e.Stream, s.c.Refusal(e.Stream).Reason, end)
	case message.GotGoAway:
		s.line("goaway %d", e.N)
	default:
		s.t.Fatal(e)
	}
}

// act does what a line behind "!" says.
func (s *side) act(line string) {
	words := strings.Fields(line)
	stream := uint32(0)
	if len(words) > 1 && words[1][0] >= '0' && words[1][0] <= '9' {
		stream = number(words[1])
	}
	var err error
	switch words[0] {
	case "head", "interim":
		flags, values := options(words[3:])
		h := &message.Head{Status: int(number(words[2])), Length: message.UnknownLength}
		if n, ok := values["len"]; ok {
			h.Length = int64(n)
		}
		if words[0] == "interim" {
			s.server.AppendInterim(&s.out, s.p, stream, h)
		} else {
			err = s.server.AppendHead(&s.out, s.p, stream, h, flags["end"])
		}
	case "open":
		flags, values := options(words[3:])
		h := &message.Head{Length: message.UnknownLength}
		h.Method, h.Path, h.Authority = h.StoreString(words[1]), h.StoreString(words[2]), h.StoreString("exam.test")
		if n, ok := values["len"]; ok {
			h.Length = int64(n)
		}
		if flags["upgrade"] {
			h.Upgrade = h.StoreString("WebSocket")
		}
		_, err = s.client.Open(&s.out, s.p, h, flags["end"])
	case "data":
		var src buf.Chain
		src.Append(s.p, text(words[2]))
		err = s.c.appendBody(&s.out, s.p, stream, &src, src.Len())
		src.Release(s.p)
	case "end":
		var trailers *message.Fields
		if len(words) > 2 {
			name, value, _ := strings.Cut(words[2], "=")
			trailers = new(message.Fields)
			trailers.AddString(name, value)
		}
		err = s.c.appendEnd(&s.out, s.p, stream, trailers)
	case "reset":
		s.c.Reset(&s.out, s.p, stream, number(words[2]))
	case "flush":
		most := 1 << 20
		if len(words) > 1 {
			most = int(number(words[1]))
		}
		s.collect()
		s.c.Flush(&s.out, s.p, most)
	case "goaway":
		s.c.GoAway(&s.out, s.p, len(words) > 1)
	case "drained":
		for {
			id, ok := s.c.NextDrained()
			if !ok {
				break
			}
			s.line("#%d drained", id)
		}
	case "refill":
		s.c.Refill()
	default:
		s.t.Fatal(line)
	}
	if err != nil {
		s.line("error %s", err)
	}
}

// collect tells what has been sent.
func (s *side) collect() {
	for _, piece := range s.out.Pieces(make([][]byte, 0, 1000)) {
		s.sent.Write(piece)
	}
	s.out.Skip(s.p, s.out.Len())
}

func (s *side) tellSent() {
	s.collect()
	for s.sent.Len() > 0 {
		f, err := s.framer.ReadFrame()
		if err != nil {
			s.t.Errorf("what was sent is no frame: %v", err)
			return
		}
		s.line("< %s", frameText(f))
	}
}

func frameText(f http2.Frame) string {
	id := f.Header().StreamID
	end := ""
	if f.Header().Flags.Has(http2.FlagDataEndStream) {
		end = " end"
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		var b strings.Builder
		for _, h := range f.Fields {
			fmt.Fprintf(&b, " %s=%s", h.Name, h.Value)
		}
		return fmt.Sprintf("headers %d%s%s", id, end, b.String())
	case *http2.DataFrame:
		if len(f.Data()) > 100 {
			return fmt.Sprintf("data %d%s *%d", id, end, len(f.Data()))
		}
		return fmt.Sprintf("data %d%s %q", id, end, f.Data())
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("rst %d %d", id, f.ErrCode)
	case *http2.GoAwayFrame:
		return strings.TrimSpace(fmt.Sprintf("goaway last=%d %d %s", f.LastStreamID, f.ErrCode, f.DebugData()))
	case *http2.SettingsFrame:
		if f.IsAck() {
			return "settings ack"
		}
		return "settings"
	case *http2.PingFrame:
		return fmt.Sprintf("ping ack=%v %s", f.IsAck(), f.Data[:])
	case *http2.WindowUpdateFrame:
		return fmt.Sprintf("window %d %d", id, f.Increment)
	}
	return f.Header().String()
}

// cuts is how the bytes of a script are cut: nil in one piece for each run of frames, else at the positions it says yes to.
type cuts func(position int) bool

// tell runs a script.
func tell(t testing.TB, client bool, l *Limits, script string, cut cuts, apart bool) (story string, length int) {
	t.Helper()
	s := newSide(t, client, l)
	w := newPeer()
	position := 0
	var run []byte
	arrive := func() {
		if run == nil {
			return
		}
		from := 0
		for i := range run {
			if cut != nil && cut(position) {
				s.receive(run[from:i], apart)
				from = i
			}
			position++
		}
		s.receive(run[from:], apart)
		run = nil
		s.tellSent()
	}
	for _, line := range strings.Split(script, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if act, ok := strings.CutPrefix(line, "! "); ok {
			arrive()
			s.act(act)
			if !strings.HasPrefix(act, "data") { // so that an end can join it
				s.tellSent()
			}
			continue
		}
		run = append(run, w.send(line)...)
	}
	arrive()
	s.tellSent()
	for id := range s.body {
		s.flushBody(id)
	}
	if err := s.c.EOF(); err == nil {
		s.line("idle")
	}
	s.finish()
	return strings.TrimSuffix(s.story.String(), "\n"), position
}

// finish checks that every chunk comes back, and that the accounts are right.
func (s *side) finish() {
	s.t.Helper()
	queued := 0
	for _, x := range s.c.streams.slots {
		if x != nil {
			queued += x.queue.Len()
		}
	}
	if queued != s.c.QueuedTotal() {
		s.t.Errorf("%d bytes are queued, %d are accounted for", queued, s.c.QueuedTotal())
	}
	s.c.Release(s.p)
	s.in.Release(s.p)
	s.out.Release(s.p)
	if s.p.InUse() != 0 {
		s.t.Errorf("%d bytes of chunks were lost", s.p.InUse())
	}
}

var standard = NewLimits(Limits{})

// inAllCuts runs a script whole, byte by byte, and cut in two at every position, and wants the same story each time.
func inAllCuts(t *testing.T, client bool, l *Limits, script, want string) {
	t.Helper()
	want = indented(want)
	check := func(how string, cut cuts, apart bool) bool {
		t.Helper()
		got, _ := tell(t, client, l, script, cut, apart)
		if got != want {
			t.Errorf("%s (apart: %v)\n got:\n%s\nwant:\n%s", how, apart, got, want)
			return false
		}
		return true
	}
	_, length := tell(t, client, l, script, nil, false)
	for _, apart := range []bool{false, true} {
		if !check("whole", nil, apart) || !check("byte by byte", func(int) bool { return true }, apart) {
			return
		}
		for i := 0; i < length && length < 3000; i++ {
			if !check(fmt.Sprint("cut at ", i), func(at int) bool { return at == i }, apart) {
				return
			}
		}
	}
}

func indented(s string) string {
	var lines []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

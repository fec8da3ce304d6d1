package decompress

import (
	"fmt"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Spec is what a document says.
type Spec struct {
	// Encodings are those that are decoded; empty: all. Others are refused.
	Encodings []Coding
	// BodyBytesMax bounds a decoded body; 0: 10 MiB, below what loops notice: it may all come out of one turn.
	BodyBytesMax int64
	// RatioMax bounds the decoded bytes for each encoded one, from the first MiB on; 0: 100, several times what text reaches.
	RatioMax int64
	// WindowBytesMax bounds how far back a decoder of zstd or br must remember; 0: 8 MiB, which every sender may rely on (RFC 9659).
	WindowBytesMax int
	// LoopBytesMax bounds the memory of all decoders on a loop; 0: 64 MiB.
	LoopBytesMax int
}

// Defaults of Spec.
const (
	defaultBodyBytesMax   = 10 << 20
	defaultRatioMax       = 100
	defaultWindowBytesMax = 8 << 20
	defaultLoopBytesMax   = 64 << 20
)

// busyPause is what a client is told to wait when all memory of the decoders is in use.
const busyPause = time.Second

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// Filter is a compiled Spec. It is frozen, but for the memory of each loop.
type Filter struct {
	guard    *gateway.Guard
	accepted [codings]bool
	accept   []gateway.Field // what a client is told that sent something else (RFC 9110 12.5.3)
	limits   limits
	memory   *decoderMemory
	judged   func(x *gateway.Exchange, s *stream)
}

// decoderMemory is the decoders of all loops, for all filters and configurations together.
type decoderMemory struct{ loops gateway.PerLoop[decoders] }

// Start is for gateway.Remembered.
func (m *decoderMemory) Start() {}

// Close is for gateway.Remembered.
func (m *decoderMemory) Close() {}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	f := &Filter{guard: guard, limits: limits{decodedMax: s.BodyBytesMax, ratioMax: s.RatioMax, windowMax: s.WindowBytesMax, loopMax: s.LoopBytesMax}}
	if f.limits.decodedMax == 0 {
		f.limits.decodedMax = defaultBodyBytesMax
	}
	if f.limits.ratioMax == 0 {
		f.limits.ratioMax = defaultRatioMax
	}
	if f.limits.windowMax == 0 {
		f.limits.windowMax = defaultWindowBytesMax
	}
	if f.limits.loopMax == 0 {
		f.limits.loopMax = defaultLoopBytesMax
	}
	if need := f.limits.windowMax + baseBytes[Zstd]; need > f.limits.loopMax {
		return nil, []Problem{{"max_window", fmt.Sprintf("a decoder with the largest window takes %d MiB, and all of a loop may take %d MiB", need>>20, f.limits.loopMax>>20),
			"allow memory_per_loop more, or a smaller window"}}
	}
	list := s.Encodings
	if len(list) == 0 {
		list = []Coding{Gzip, Brotli, Zstd, Deflate}
	}
	var names []string
	for _, c := range list {
		f.accepted[c] = true
		names = append(names, c.String())
	}
	f.accept = []gateway.Field{{Name: "Accept-Encoding", Value: strings.Join(names, ", ")}}
	f.memory = gateway.Recall(memory, "decompress/decoders", func() *decoderMemory { return new(decoderMemory) })
	f.judged = f.note
	return f, nil
}

// Hooks returns the filter's hooks.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "decompress", Request: f.request, Failed: f.failed}
}

// String says what the filter does.
func (f *Filter) String() string {
	return fmt.Sprintf("decode %s up to %d kB and %d times the size, with at most %d MiB for each loop",
		f.accept[0].Value, f.limits.decodedMax>>10, f.limits.ratioMax, f.limits.loopMax>>20)
}

// request puts a decoder into the way of a body that has a coding.
func (f *Filter) request(x *gateway.Exchange) gateway.Verdict {
	h := x.Request
	if !h.Has(message.ContentEncoding) || h.Length == 0 || h.Upgrade.Len > 0 {
		return gateway.GoOn
	}
	a, wrong := appliedTo(&h.Fields, &f.accepted)
	if wrong != nil {
		return x.Judge(f.refusal(x, wrong, nil))
	}
	if a.count == 0 {
		return gateway.GoOn
	}
	s := f.memory.loops.On(x).open(a, f.limits)
	s.x, s.shadow, s.judged = x, f.guard.Mode == gateway.Shadow, f.judged
	x.Keep(s)
	if !s.shadow {
		describe(h)
	}
	if err := x.AddRequestStage(s); err != nil {
		return x.Judge(f.refusal(x, s.failure, s))
	}
	return gateway.GoOn
}

// describe makes the head one of a body in clear. Digests were of the encoded one.
func describe(h *message.Head) {
	h.Length = message.UnknownLength
	h.Remove(message.ContentEncoding)
	for _, name := range [...]string{"content-digest", "repr-digest", "digest", "content-md5"} {
		h.RemoveField([]byte(name))
	}
}

// failed answers for a body that turned out to be wrong while it passed.
func (f *Filter) failed(x *gateway.Exchange, why *gateway.Failure) gateway.Verdict {
	s, ok := x.Kept().(*stream)
	if !ok || s.failure == nil || s.failure != why {
		return gateway.GoOn
	}
	return x.Judge(f.refusal(x, why, s))
}

// note records what became of a body where that answers nothing: it was good, or the filter is in shadow mode.
func (f *Filter) note(x *gateway.Exchange, s *stream) {
	if s.failure != nil {
		x.Judge(f.refusal(x, s.failure, s))
		return
	}
	j := x.Judgement(f.guard)
	f.number(j, s)
	x.Judge(j)
}

func (f *Filter) refusal(x *gateway.Exchange, why *refusal, s *stream) *gateway.Judgement {
	j := x.Judgement(f.guard)
	j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, why.Status, why.Reason, why.Text
	switch why.Status {
	case 415:
		j.Fields = f.accept
	case 503:
		j.RetryAfter = busyPause
	}
	if s != nil {
		f.number(j, s)
	}
	return j
}

func (f *Filter) number(j *gateway.Judgement, s *stream) {
	made := s.made[s.count-1]
	j.Number("encoded", float64(s.came), "B")
	j.Number("decoded", float64(made), "B")
	j.Number("limit", float64(f.limits.decodedMax), "B")
	if s.came > 0 {
		j.Number("ratio", float64(made)/float64(s.came), "")
	}
	j.Number("ratio_limit", float64(f.limits.ratioMax), "")
}

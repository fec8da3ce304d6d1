package compress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Spec is what a document says.
type Spec struct {
	// Encodings are those to offer, the preferred one first. Empty: zstd, br, gzip: of equal levels of effort zstd is the
	// quickest, and br the smallest of those that every browser reads.
	Encodings []Coding
	Levels    Levels
	// Types are the content types to encode; empty: DefaultTypes.
	Types []string
	// MinBytes is the declared length from which an answer is encoded; 0: 1024, below which one packet carries it either way.
	MinBytes int64
	// CrossSite encodes answers to requests that another site had a browser send with its user's credentials, too.
	CrossSite bool
	// LoopBytesMax bounds the memory of all encoders on a loop; 0: 64 MiB, some fifty answers on their way at once.
	LoopBytesMax int
}

// Defaults of Spec.
const (
	defaultMinBytes     = 1024
	defaultLoopBytesMax = 64 << 20
)

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings
	Cause string
	Fix   string
}

// Filter is a compiled Spec. It is frozen, but for the memory of each loop.
type Filter struct {
	kinds        [codings]kind
	preferred    []Coding
	types        mediaTypes
	typeNames    []string
	minBytes     int64
	crossSite    bool
	loopBytesMax int
	choices      [codings][2]choice // every one there can be, so that keeping one costs no memory
	memory       *encoderMemory
}

// choice is what a request's head says about its answer's coding.
type choice struct {
	coding          Coding // Identity: none
	refusesIdentity bool
}

// encoderMemory is the encoders of all loops. All filters and configurations share it, so that a change of the document makes
// nothing anew and the bound holds for all together.
type encoderMemory struct{ loops gateway.PerLoop[loopMemory] }

// Start is for gateway.Remembered.
func (m *encoderMemory) Start() {}

// Close is for gateway.Remembered.
func (m *encoderMemory) Close() {}

type loopMemory struct {
	encoders encoders
	scratch  []byte
}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec, memory *gateway.Recollection) (*Filter, []Problem) {
	f := &Filter{preferred: s.Encodings, typeNames: s.Types, minBytes: s.MinBytes, crossSite: s.CrossSite, loopBytesMax: s.LoopBytesMax}
	var problems []Problem
	if len(f.preferred) == 0 {
		f.preferred = []Coding{Zstd, Brotli, Gzip}
	}
	if f.minBytes == 0 {
		f.minBytes = defaultMinBytes
	}
	if f.loopBytesMax == 0 {
		f.loopBytesMax = defaultLoopBytesMax
	}
	for c, level := range map[Coding]int{Gzip: s.Levels.Gzip, Brotli: s.Levels.Brotli, Zstd: s.Levels.Zstd} {
		if level == 0 {
			level = levels[c].usual
		}
		if cause, fix := CheckLevel(c, level); cause != "" {
			problems = append(problems, Problem{"levels." + c.String(), cause, fix})
			continue
		}
		f.kinds[c] = kind{c, level}
		if need := f.kinds[c].bytes(); need > f.loopBytesMax && slices.Contains(f.preferred, c) {
			problems = append(problems, Problem{"memory", fmt.Sprintf("one encoder of %s at level %d takes %d kB, which is more", c, level, need>>10),
				"allow 16MiB at least"})
		}
	}
	if len(f.typeNames) == 0 {
		f.typeNames = DefaultTypes
	}
	for _, name := range f.typeNames {
		t, cause, fix := parseType(name)
		if cause != "" {
			problems = append(problems, Problem{"types", cause, fix})
			continue
		}
		f.types = append(f.types, t)
	}
	if problems != nil {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
		return nil, problems
	}
	for c := range codings {
		f.choices[c] = [2]choice{{c, false}, {c, true}}
	}
	f.memory = gateway.Recall(memory, "compress/encoders", func() *encoderMemory { return new(encoderMemory) })
	return f, nil
}

// CheckLevel says what is wrong with a coding's level.
func CheckLevel(c Coding, level int) (cause, fix string) {
	if most := levels[c].most; level < 1 || level > most {
		return fmt.Sprintf("level %d of %s is not between 1 and %d: above, 64 kB take more than 2.5 ms, for which all connections of the loop wait",
			level, c, most), fmt.Sprintf("use %d, or compress in advance", min(max(level, 1), most))
	}
	return "", ""
}

// Hooks returns the filter's hooks.
func (f *Filter) Hooks() gateway.Hooks {
	return gateway.Hooks{Name: "compress", Request: f.request, Response: f.response}
}

// String says what the filter does.
func (f *Filter) String() string {
	var list []string
	for _, c := range f.preferred {
		list = append(list, fmt.Sprintf("%s level %d", c, f.kinds[c].level))
	}
	return fmt.Sprintf("%s from %d B for %d content types, with at most %d MiB for each loop", strings.Join(list, ", "), f.minBytes, len(f.types), f.loopBytesMax>>20)
}

// request reads what the client accepts before another filter changes that, and undoes in validators what response did to them.
func (f *Filter) request(x *gateway.Exchange) gateway.Verdict {
	x.Keep(f.choose(x.Request))
	m := f.memory.loops.On(x)
	m.scratch = strengthen(x.Request, m.scratch)
	return gateway.GoOn
}

// response encodes the answer, if that may be, the client likes it and there is memory for it.
func (f *Filter) response(x *gateway.Exchange, h *message.Head) {
	c, ok := x.Kept().(*choice)
	if !ok { // answered before the request came here
		c = f.choose(x.Request)
	}
	m := f.memory.loops.On(x)
	if h.Status == 304 {
		m.scratch = weakenUnmodified(x.Request, h, m.scratch)
		return
	}
	if !f.mayEncode(h, c) {
		return
	}
	vary(h)
	if c.coding == Identity {
		return
	}
	headOnly := string(x.Method()) == "HEAD"
	if !headOnly {
		s := m.encoders.open(f.kinds[c.coding], f.loopBytesMax)
		if s == nil {
			return
		}
		x.AddStage(s)
	}
	m.scratch = announce(h, c.coding, m.scratch)
}

// choose says what a request's head wants.
func (f *Filter) choose(h *message.Head) *choice {
	w := wishOf(&h.Fields)
	best, refuses := w.choose(f.preferred)
	// Without chunks an answer of unknown length ends by its connection's end: not worth it. no-transform is a request's, too
	// (RFC 9111 5.2.1.6).
	if h.Proto == message.HTTP10 || forbidsChange(&h.Fields) || !f.crossSite && crossSite(&h.Fields) {
		best = Identity
	}
	i := 0
	if refuses {
		i = 1
	}
	return &f.choices[best][i]
}

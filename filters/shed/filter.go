// Package shed is the guard that gives requests up while this process has more to do than it can: the less important first
// (policy/shed). It goes by how long the turns of the request's loop take, and by how much of its memory the process uses.
package shed

import (
	"bytes"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/admission"
	"github.com/yumen-io/yumen/policy/shed"
)

// Spec is what a document says. Zero fields take their defaults.
type Spec struct {
	Config shed.Config
	// Priority is where the priority's word stands; none: all are Normal.
	Priority gateway.KeyParts // one part
	Words    map[string]admission.Class
	Default  admission.Class // of requests without a word, or with another; only with Priority
}

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// ReasonOverloaded is the word of refusals.
const ReasonOverloaded = "overloaded"

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonOverloaded} }

// Filter is a compiled Spec. It is frozen, and shared by all loops.
type Filter struct {
	guard    *gateway.Guard
	cfg      shed.Config
	priority gateway.KeyParts
	words    map[string]admission.Class
	usual    admission.Class
	memory   *Memory
	loops    gateway.PerLoop[side]
}

// side is a loop's.
type side struct {
	gauge shed.Gauge
	key   []byte
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard, memory *gateway.Recollection) (*Filter, []Problem) {
	cfg := s.Config.WithDefaults()
	var problems []Problem
	if cfg.TurnFrom >= cfg.TurnTo {
		problems = append(problems, Problem{"turn_to", fmt.Sprintf("it is not above turn_from, %v", cfg.TurnFrom), "the range between the two is where requests are given up by and by"})
	}
	if cfg.MemoryFrom >= cfg.MemoryTo {
		problems = append(problems, Problem{"memory_to", fmt.Sprintf("it is not above memory_from, %.0f%%", cfg.MemoryFrom*100), "the range between the two is where requests are given up by and by"})
	}
	if problems != nil {
		return nil, problems
	}
	f := &Filter{guard: guard, cfg: cfg, priority: s.Priority, words: s.Words, usual: admission.Normal}
	if len(s.Priority) > 0 {
		f.usual = s.Default
	}
	f.memory = gateway.Recall(memory, "shed/memory", newMemory) // one for all: there is one process
	if guard != nil {
		guard.Tell = func(yield func(number string, value float64)) { yield("memory", f.memory.Used()) }
	}
	return f, nil
}

// keyKept is how much memory for a priority's word a loop keeps: a client may have sent a head full of it.
const keyKept = 4 << 10

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	s := f.loops.On(x)
	turn, memory := x.TurnTime(), f.memory.Used()
	pressure := s.gauge.Update(x.Now(), &f.cfg, turn, memory)
	class := f.usual
	if len(f.priority) > 0 {
		s.key, _ = f.priority.Append(s.key[:0], x)
		if c, ok := f.words[string(s.key[bytes.IndexByte(s.key, '=')+1:])]; ok {
			class = c
		}
		if cap(s.key) > keyKept {
			s.key = nil
		}
	}
	share := shed.Share(int(class), pressure)
	j := x.Judgement(f.guard)
	j.Number("pressure", pressure*100, "%")
	j.Number("shed", share*100, "%")
	j.Number("turn", float64(turn)/float64(time.Millisecond), "ms")
	j.Number("memory", memory*100, "%")
	if shed.Sheds(share, x.Random()) {
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 503, ReasonOverloaded, "The gateway has more to do than it can."
		j.RetryAfter = time.Second + time.Duration(pressure*float64(f.cfg.Recovery))
	}
	return x.Judge(j)
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "shed", Request: f.Request} }

// String says what the filter does.
func (f *Filter) String() string {
	text := fmt.Sprintf("gives up requests by and by while turns of the loop take %v to %v or memory is used to %.0f to %.0f%%",
		f.cfg.TurnFrom, f.cfg.TurnTo, f.cfg.MemoryFrom*100, f.cfg.MemoryTo*100)
	if len(f.priority) > 0 {
		text += ", the lowest priority first, " + f.usual.String() + " unless said otherwise"
	}
	return text
}

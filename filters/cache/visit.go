package cache

import (
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// visit is one request's passage through the filter. Loop-owned, and pooled by its loop.
type visit struct {
	home *scratch
	free *visit // the next in the pool
	f    *Filter
	stage

	// Of the request, as it was looked up.
	state      state
	control    policy.Control
	head       bool // HEAD
	identified bool
	plain      bool // what the upstream is asked is neither the client's condition nor for a part, so that its answer is one for all
	hash       uint64
	url        []byte
	prefix     []byte
	asked      message.Fields // of a request that went on to the upstream
	began      mono.Time
	until      mono.Time // when it has waited long enough; 0: it has not waited
	since      generation

	// What is kept.
	entry     *entry // the answer, what it is asked about, or what may stand in for an error
	use       policy.Use
	condition policy.Condition
	part      policy.Part
	span      policy.Span
	asking    bool // the request asks about the entry
	stripped  bool // the client's conditions were left out
	late      bool // it has waited for another's answer as long as it may
	stale     bool // the answer is
	tiered    bool // Redis has been asked

	flight *flight // that the request leads
	said   policy.Said
}

// state is what the filter means to do with the answer.
type state uint8

const (
	// passing: nothing.
	passing state = iota
	// changing: take out what an unsafe request made doubtful.
	changing
	// missing: keep it, if it may be kept.
	missing
	// serving: it is ours.
	serving
	// refusing: it is ours, and says that there is nothing.
	refusing
)

// waitUntil returns when the request has waited long enough, however often it waits.
func (v *visit) waitUntil(x *gateway.Exchange) mono.Time {
	if v.until == 0 {
		v.until = x.Now().Add(v.f.spec.Collapse.Timeout)
	}
	return v.until
}

// scratch is a loop's.
type scratch struct {
	visits  *visit
	pooled  int
	bytes   []byte
	respond gateway.Respond
	counts  *loopCounts
}

// visitsKept bounds the pool of one loop: it is for a busy turn, and not for a burst.
const visitsKept = 1024

// urlKept bounds what a pooled visit keeps of a long URL.
const urlKept = 1 << 10

func (f *Filter) take(x *gateway.Exchange) *visit {
	s := f.loops.On(x)
	if s.counts == nil {
		s.counts = f.store.counts.on(x.LoopIndex())
		f.store.query.Store(&f.spec.Query)
	}
	v := s.visits
	if v == nil {
		v = &visit{home: s}
	} else {
		s.visits, v.free = v.free, nil
		s.pooled--
	}
	v.f = f
	return v
}

// release gives the visit back.
func (v *visit) release() {
	s := v.home
	if s.pooled >= visitsKept {
		return
	}
	url, prefix, asked := v.url[:0], v.prefix[:0], v.asked
	if cap(url) > urlKept {
		url = nil
	}
	asked.Reset()
	*v = visit{home: s, free: s.visits, url: url, prefix: prefix, asked: asked}
	s.visits = v
	s.pooled++
}

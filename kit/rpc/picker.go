package rpc

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
	"google.golang.org/grpc/balancer"
)

// errNobodyHealthy is what calls are told when there are connections and none may be used, which can be only when panic is
// switched off.
var errNobodyHealthy = errors.New("rpc: no endpoint is healthy")

// picker chooses among the endpoints that were ready when it was made. It takes no lock: the weights are in a table that is
// replaced as a whole, what is known of an endpoint in atomic words that outlive the picker.
type picker struct {
	ready []readyEndpoint
	table atomic.Pointer[loadaware.Table]
}

type readyEndpoint struct {
	*endpoint
	picker balancer.Picker // of its pick_first child
}

func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	table := p.table.Load()
	if table.Empty() {
		return balancer.PickResult{}, errNobodyHealthy
	}
	i := 0
	if len(p.ready) > 1 {
		more := rand.Uint64()
		first, second := table.Draw(rand.Uint64(), more)
		i = table.Prefer(first, second, p.ready[first].inFlight.Load(), p.ready[second].inFlight.Load(), more)
	}
	chosen := &p.ready[i]
	result, err := chosen.picker.Pick(info)
	if err != nil {
		return result, err
	}
	c := newCall()
	c.endpoint, c.next, c.stream, c.began = chosen.endpoint, result.Done, isStream(info.Ctx), mono.Now()
	c.endpoint.begin(c.began, c.stream)
	result.Done = c.done
	return result, nil
}

// call is a call on its way. gRPC calls Done once, and then it is used again.
type call struct {
	endpoint *endpoint
	began    mono.Time
	stream   bool
	next     func(balancer.DoneInfo) // of the child
	done     func(balancer.DoneInfo) // finish, made once
}

var calls sync.Pool

func newCall() *call {
	if c, ok := calls.Get().(*call); ok {
		return c
	}
	c := &call{}
	c.done = c.finish
	return c
}

func (c *call) finish(info balancer.DoneInfo) {
	if c.endpoint == nil {
		return
	}
	if c.next != nil {
		c.next(info)
	}
	c.endpoint.end(c.began, mono.Now(), c.stream, &info)
	c.endpoint, c.next = nil, nil
	calls.Put(c)
}

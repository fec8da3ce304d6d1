package gateway

import (
	"bytes"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/proxyproto"
)

// Passage is where the connections of a listener go that are bytes only: a TCP listener's all to one cluster, those of a
// listener that leaves TLS alone by the server's name they ask for. Frozen.
type Passage struct {
	Names     map[string]*Route // in lower case
	Wildcards map[string]*Route // by what follows the star: ".example.com"
	Default   *Route            // nil: others are turned away
}

// find returns the route of a name, which is in lower case and empty if the client gave none.
func (p *Passage) find(name []byte) *Route {
	if r := p.Names[string(name)]; r != nil {
		return r
	}
	// As in the routes of requests, a wildcard stands for any number of labels, and the longest one wins.
	for rest := name; len(p.Wildcards) > 0; {
		dot := bytes.IndexByte(rest[min(1, len(rest)):], '.')
		if dot < 0 {
			break
		}
		rest = rest[1+dot:]
		if r := p.Wildcards[string(rest)]; r != nil {
			return r
		}
	}
	return p.Default
}

// pass is the story of a connection of bytes, up to the first attempt. What its client sends meanwhile is held as a body is.
func (x *Exchange) pass(l *Listener, s *engine.Stream, c *engine.ServerConn, name []byte) {
	x.snapshot, x.listener, x.client, x.peer = x.w.snapshot, l, s, c.Peer()
	x.snapshot.Hold()
	x.Request = x.w.engine.Heads.Get()
	x.Request.Method = x.Request.StoreString("TCP") // which is no method that could be sent again
	x.Request.Authority = x.Request.Store(name)
	x.method, x.path = x.Request.Method, x.Request.Path
	x.ClientAddr, x.local = x.peer.Addr().Unmap(), c.Local()
	x.began, x.raw = x.w.now(), true
	x.w.shard.RequestStarted()
	passage := x.snapshot.Passages[l.Name]
	if passage != nil {
		x.Route = passage.find(name)
	}
	if x.Route == nil {
		x.fail(noRoute)
		return
	}
	x.cluster = x.Route.Cluster
	x.proxy()
}

// joined begins the passage on a connection to the upstream that stands.
func (a *Attempt) joined(c *engine.ClientConn) {
	x := a.x
	s, err := c.Request(nil, false, a)
	if err != nil {
		c.Close()
		a.failed(connectFailed)
		return
	}
	a.stream, a.headAt = s, x.w.now()
	x.answered, x.status = true, 200
	ended := x.bodyEnded
	a.tunnel()
	x.bodyEnded = ended
	if version := a.cluster.Spec().Proxy; version != 0 {
		a.introduce(version)
	}
	x.passBody()
	if x.client != nil && !x.bodyEnded && !a.full() {
		x.client.Resume()
	}
}

// introduce tells the upstream who its client is, before anything else.
func (a *Attempt) introduce(version int) {
	x := a.x
	b := x.w.scratch[:0]
	if version == 1 {
		b = proxyproto.AppendV1(b, x.peer, x.local)
	} else {
		b = proxyproto.AppendV2(b, x.peer, x.local)
	}
	x.w.scratch = b
	var head buf.Chain
	head.Append(x.w.engine.Bufs, b)
	// A tunnel takes any number of bytes.
	_ = a.stream.SendData(&head, head.Len())
}

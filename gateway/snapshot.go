package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Snapshot is a whole configuration, compiled. It is immutable, but for the count of those who use it.
type Snapshot struct {
	Revision uint64
	Table    *route.Table
	Routes   []*Route // as the table counts them
	Clusters []*upstream.Group
	Passages map[string]*Passage // of listeners that carry bytes and no requests, by their names
	// Changes are what this snapshot makes of the groups, carried out on each loop when it comes into force.
	Changes []*upstream.Prepared
	Path    message.PathPolicy
	View    *metrics.View
	Guards  []*Guard // of all filters, each once
	// Retired is called once, on any goroutine, when the snapshot is out of force and its last exchange has ended.
	Retired func()

	users atomic.Int64 // exchanges, and one for being in force
}

// Hold and Drop count those for whom the snapshot must stay as it is.
func (s *Snapshot) Hold() { s.users.Add(1) }

// Drop undoes one Hold.
func (s *Snapshot) Drop() {
	if s.users.Add(-1) == 0 && s.Retired != nil {
		s.Retired()
	}
}

// Listener is what the exchanges of a listener need of its configuration. Frozen.
type Listener struct {
	Name         string
	Scheme       string // "http", or "https" where TLS ends here
	BodyBytesMax int64  // 0: no bound
	Trust        Trust
	// AnswerID has X-Request-ID in the answers of upstreams, too, and not in the gateway's own alone.
	AnswerID bool
	// ClientCert says what of a client's certificate is told to the upstream, in X-Forwarded-Client-Cert; nil: nothing. What
	// clients that are not trusted say in that field is dropped.
	ClientCert *tlsconn.ForwardFields
}

// Trust says whose word about the client is believed and how it is passed on.
type Trust struct {
	From      []netip.Prefix
	XFields   bool // X-Forwarded-For, -Proto, -Host
	Forwarded bool // RFC 7239
}

func (t *Trust) trusts(peer netip.Addr) bool {
	for _, p := range t.From {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// Route is where a request goes. Frozen. Exactly one of Cluster, Respond and Redirect is set.
type Route struct {
	Name    string
	Index   int
	Filters []Hooks

	Cluster      *upstream.Group
	ClusterIndex int
	Key          *Key // for balancing by hash; nil where the algorithm needs none
	Retry        *retry.Policy
	Hedge        *retry.Hedge // nil: none
	// NonIdempotent lets POST and the like be tried again after they were sent.
	NonIdempotent bool
	Request       time.Duration // the whole exchange; 0: no bound
	FirstByte     time.Duration
	BetweenBytes  time.Duration

	Respond  *Respond
	Redirect *Redirect
}

// Respond is an answer the configuration gives, or a filter.
type Respond struct {
	Status int
	Body   []byte // not changed until the answer is sent
	Fields []Field
	Reason string // the word for log and metric; empty: the configuration's, or that a translator had to say something
	// Stored: the answer was an upstream's and is given as it was. Its fields are all it has; the reason is not shown to the client.
	Stored bool
}

// Field is a header field to be set.
type Field struct{ Name, Value string }

// Redirect is an answer that sends the client elsewhere.
type Redirect struct {
	Status int
	To     Template
}

// Key says what of a request balancing by hash goes by, or a guard counts by.
type Key struct {
	By   KeyBy
	Name string // of the header, the cookie, the path parameter or the claim
}

// KeyBy is a part of a request.
type KeyBy uint8

// The parts a key can be made of.
const (
	ByClientAddress KeyBy = iota
	ByHeader
	ByCookie
	ByPathParam
	// Those below are for guards alone.
	ByClaim
	ByHost
	ByMethod
	ByPath
	ByRoute
	ByListener
)

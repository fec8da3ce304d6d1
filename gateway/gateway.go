// Package gateway is the data plane: the passage of one request from a client to an upstream and of its response back.
//
// An Exchange is opened when a request's head is complete. It pins the Snapshot of the configuration in force, finds its
// Route, runs the route's filters, and makes Attempts at endpoints of a cluster until one answers or none may be tried
// any more. Every way to go wrong is a Failure, from which the client's answer, the metric, the endpoint's record and the
// decision to try again derive.
//
// A Gateway has one Worker for each loop; a worker and all exchanges on it are touched on that loop only. What is shared
// between loops is frozen (snapshots) or published (counters). The package binds no address, reads no file and starts no
// goroutine: the control plane does, and hands snapshots in.
package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/telemetry/log"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Gateway is the data plane of a process. Its methods are for the control plane's goroutines.
type Gateway struct {
	Workers []*Worker

	current    atomic.Pointer[Snapshot]
	challenges atomic.Pointer[map[string]string]
	words      *words
	unwanted   *unwantedStatuses
	offload    func(work func()) bool
	wall       func() time.Time
}

// Config is what a gateway is made of.
type Config struct {
	Engines []*engine.Worker
	Metrics *metrics.Registry
	// AccessLog has a ring for each worker, and is nil when off.
	AccessLog *log.Access
	// LogHeaders are the request's fields that the access log shows, at most log.HeadersMax.
	LogHeaders []string
	// Wall tells the time of day, for the Date of the gateway's own answers.
	Wall func() time.Time
	// Offload has work done by another goroutine, or returns false if too much waits already; nil offloads nothing.
	Offload func(work func()) bool
	// Reasons are the words that filters answer with, beside the gateway's own.
	Reasons []string
	// IDSeed makes request ids of this process differ from those of any other.
	IDSeed [8]byte
}

// New returns a gateway that has no configuration yet.
func New(cfg Config) *Gateway {
	g := &Gateway{words: newWords(cfg.Reasons), unwanted: newUnwantedStatuses(), wall: cfg.Wall, offload: cfg.Offload}
	for i, e := range cfg.Engines {
		g.Workers = append(g.Workers, newWorker(g, i, e, cfg))
	}
	return g
}

// challengePrefix is where a certificate authority looks whether a name leads here (RFC 8555 8.3).
const challengePrefix = "/.well-known/acme-challenge/"

// SetChallenges says what is answered to an authority, by token. Whatever routes say, these requests are ours while there
// is an answer.
func (g *Gateway) SetChallenges(answers map[string]string) {
	if len(answers) == 0 {
		g.challenges.Store(nil)
		return
	}
	g.challenges.Store(&answers)
}

// Snapshot returns the configuration in force, nil before the first.
func (g *Gateway) Snapshot() *Snapshot { return g.current.Load() }

// Swap puts a snapshot into force. On every loop it happens between two turns, together with what the snapshot says of the
// clusters, so that an exchange sees one configuration as a whole; exchanges that are under way end with the one they
// began with. It returns when the last loop has changed over, and the snapshot that was in force.
func (g *Gateway) Swap(s *Snapshot) *Snapshot {
	old := g.current.Swap(s)
	var wg sync.WaitGroup
	for _, w := range g.Workers {
		wg.Add(1)
		if !w.engine.Loop.Post(func() { defer wg.Done(); w.swap(s) }) {
			wg.Done()
		}
	}
	wg.Wait()
	return old
}

// SetAccessLog puts an access log in the place of the present one; nil is none. It returns when no loop adds to the former,
// which may then be closed. The headers are as in Config.
func (g *Gateway) SetAccessLog(a *log.Access, headers []string) {
	g.OnEach(func(w *Worker) { w.setAccessLog(a, headers) })
}

// OnEach runs do on each worker's loop, one after the other, and waits.
func (g *Gateway) OnEach(do func(w *Worker)) {
	for _, w := range g.Workers {
		done := make(chan struct{})
		if w.engine.Loop.Post(func() { defer close(done); do(w) }) {
			<-done
		}
	}
}

package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/revision"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Origins of changes that begin here.
const (
	originFile     = "file"
	originStart    = "start"
	originRollback = "rollback to " // and the number
)

// work is one change on its way: what it asks for, and what was made for it so far. Owned by the controller's goroutine.
type work struct {
	Change
	plan *compile.Plan

	secrets   *secrets
	authority *authority // nil: no certificates are had from one
	listeners []*listener
	clusters  []*cluster
	commits   []*upstream.Prepared // of clusters that are in use already
	access    accessLog
	admin     *adminSocket
	view      *metrics.View
	snapshot  *gateway.Snapshot
	revision  revision.Revision

	undone []func() // in the order in which they were done
}

// undo remembers how to undo a step.
func (w *work) undo(f func()) { w.undone = append(w.undone, f) }

// giveUp undoes what was done, last first.
func (w *work) giveUp() {
	for i := len(w.undone) - 1; i >= 0; i-- {
		w.undone[i]()
	}
}

// step is one step of a change that can fail. Until the last of them nothing that runs has been touched.
type step struct {
	name string
	do   func(c *Controller, ctx context.Context, w *work) error
}

// steps are what comes before a change is in force. Afterwards nothing can fail but what is said and lived with (settle).
var steps = []step{
	{"read the certificates", func(c *Controller, _ context.Context, w *work) error { return c.openSecrets(w) }},
	{"bind the listeners", func(c *Controller, _ context.Context, w *work) error { return c.bind(w) }},
	{"bind the admin API", func(c *Controller, _ context.Context, w *work) error { return c.bindAdmin(w) }},
	{"open the access log", func(c *Controller, _ context.Context, w *work) error { return c.openAccessLog(w) }},
	{"begin the snapshot", func(c *Controller, _ context.Context, w *work) error { c.begin(w); return nil }},
	{"prepare the clusters", (*Controller).prepareClusters},
	{"record the revision", func(c *Controller, _ context.Context, w *work) error { return c.record(w) }},
}

// change carries a compiled change through. It runs on the owner's goroutine.
func (c *Controller) change(ctx context.Context, ch Change, plan *compile.Plan, report *compile.Report) (Result, error) {
	result := Result{Revision: c.current.Number, Report: report}
	switch {
	case c.stopping.Load():
		return result, ErrStopping
	case ch.Expect != 0 && ch.Expect != c.current.Number:
		return result, &ConflictError{ch.Expect, c.current.Number}
	case plan == nil:
		c.tidy(len(ch.Text))
		c.attempted(metrics.ReloadRefused, fmt.Errorf("%s: %w:\n%s", ch.Name, ErrInvalid, report))
		return result, ErrInvalid
	case c.current.Number != 0 && revision.Sum(ch.Text) == c.current.SHA256:
		c.tidy(len(ch.Text))
		c.forgive()
		c.logger.Info("nothing changed: the configuration is the one in force", "revision", result.Revision, "origin", ch.Origin, "file", ch.Name)
		return result, nil
	}
	if err := c.carryOut(ctx, ch, plan); err != nil {
		result.Revision = c.current.Number
		result.Changed = c.plan == plan
		return result, err
	}
	result.Revision, result.Changed, result.Later = c.current.Number, true, c.later(plan.Document)
	c.logger.Info("a configuration is in force", "revision", result.Revision, "origin", ch.Origin, "file", ch.Name)
	if len(result.Later) > 0 {
		c.logger.Warn("some of the configuration takes effect with the next upgrade or restart", "keys", result.Later)
	}
	return result, nil
}

// carryOut is the story of a change: steps that may fail, the swap, and what follows from it.
func (c *Controller) carryOut(ctx context.Context, ch Change, plan *compile.Plan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)() // a gateway that is told to stop does not wait for a resolver
	w := &work{Change: ch, plan: plan}
	for _, s := range steps {
		err := c.interrupt(s.name)
		if err == nil {
			err = s.do(c, ctx, w)
		}
		if err != nil {
			w.giveUp()
			c.dropTickets()
			err = fmt.Errorf("%s: %w", s.name, err)
			c.attempted(metrics.ReloadFailed, err)
			return err
		}
	}
	c.swap(w)
	err := c.settle(w)
	c.publish()
	result := metrics.ReloadApplied
	if strings.HasPrefix(ch.Origin, originRollback) {
		result = metrics.ReloadRolledBack
	}
	c.attempted(result, err)
	return err
}

// begin makes the snapshot with its counters, yet without what lives.
func (c *Controller) begin(w *work) {
	p := w.plan
	routes, clusters := make([]string, len(p.Routes)), make([]string, len(p.Clusters))
	for i, r := range p.Routes {
		routes[i] = r.Name
	}
	for i, cl := range p.Clusters {
		clusters[i] = cl.Name
	}
	w.view = c.plane.registry.View(routes, clusters)
	w.undo(w.view.Release)
	w.snapshot = &gateway.Snapshot{Table: p.Table, Path: p.Path, View: w.view, Guards: p.Guards}
}

// join gives the routes of the plan their live clusters.
func (w *work) join() {
	s := w.snapshot
	for _, cl := range w.clusters {
		s.Clusters = append(s.Clusters, cl.group)
	}
	routes := make([]gateway.Route, len(w.plan.Routes)) // one block: there may be 100,000
	s.Routes = make([]*gateway.Route, len(routes))
	for i, r := range w.plan.Routes {
		routes[i] = r.Route
		routes[i].Index = i
		if r.Cluster >= 0 {
			routes[i].Cluster, routes[i].ClusterIndex = w.clusters[r.Cluster].group, r.Cluster
		}
		s.Routes[i] = &routes[i]
	}
	w.joinPassages()
}

// joinPassages gives listeners that carry bytes their routes.
func (w *work) joinPassages() {
	s := w.snapshot
	for i := range w.plan.Passages {
		p := &w.plan.Passages[i]
		passage := &gateway.Passage{Names: map[string]*gateway.Route{}, Wildcards: map[string]*gateway.Route{}}
		for name, route := range p.Names {
			passage.Names[name] = s.Routes[route]
		}
		for name, route := range p.Wildcards {
			passage.Wildcards[name] = s.Routes[route]
		}
		if p.Default >= 0 {
			passage.Default = s.Routes[p.Default]
		}
		if s.Passages == nil {
			s.Passages = map[string]*gateway.Passage{}
		}
		s.Passages[p.Listener] = passage
	}
}

// record writes the change into the history. From here on it is what a restart would find, so it is the last step that can
// fail. A text that the history ends with needs no second entry: the process was started again with the same file.
func (c *Controller) record(w *work) error {
	if c.current.Number == 0 {
		if last, err := c.history.Latest(); err == nil && last.SHA256 == revision.Sum(w.Text) && last.Name == w.Name {
			w.revision = last
			return nil
		}
	}
	r, err := c.history.Append(time.Now(), w.Origin, w.Name, w.Text)
	w.revision = r
	return err
}

// swap puts the snapshot into force on every loop. It cannot fail.
func (c *Controller) swap(w *work) {
	w.join()
	s := w.snapshot
	s.Revision = w.revision.Number
	memory := w.plan.Memory
	memory.Hold()
	s.Retired = func() {
		c.mail.post(func() {
			c.retire(s)
			memory.Drop()
		})
	}
	for _, change := range w.commits {
		change.Commit()
	}
	c.groups.hold(s)
	c.untidy = max(c.untidy, len(c.current.Text), len(w.Text)) // until the snapshot before retires
	c.plane.gateway.Swap(s)
	c.current, c.plan = w.revision, w.plan
}

// retire ends what only an old snapshot still used: its last exchange is over.
func (c *Controller) retire(s *gateway.Snapshot) {
	c.groups.drop(s)
	s.View.Release()
	c.tidy(0)
}

// settle does what follows from a swap. What fails here is said; the configuration is in force all the same.
func (c *Controller) settle(w *work) error {
	c.history.SetKeep(w.plan.Document.Revisions.Keep)
	c.keepDecisions(&w.plan.Document.Telemetry.Decisions)
	before := c.secrets
	c.secrets = w.secrets
	err := c.serve(w)
	c.closeSecrets(before)
	c.dropTickets()
	c.swapAuthority(w.authority, w.secrets)
	c.serveAdmin(w)
	c.swapAccessLog(w)
	c.swapClusters(w)
	c.plane.quota.SetMax(connectionsMax(w.plan.Document.Limits.Connections, c.descriptors))
	var known []byte
	if w.Origin == originFile {
		known = w.Text
	}
	c.watch(w.plan.Document.Watch, known)
	return err
}

package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/file"
	"github.com/yumen-io/yumen/control/revision"
)

// Start builds the data plane and puts the first configuration into force. When it returns without an error the gateway
// serves, and a predecessor, if there was one, drains. With an error nothing serves, and Stop must still be called. It must
// be called once; the other methods are for after it, and for the servers that Options.Admin made.
func (c *Controller) Start(ctx context.Context) (Result, error) {
	ch := Change{Origin: originStart, Name: c.options.DocumentName, Text: c.options.Document}
	var err error
	if c.options.File != "" {
		ch.Origin, ch.Name = originFile, c.options.File
		ch.Text, err = file.Read(ch.Name)
	}
	var result Result
	if err == nil {
		plan, report := c.read(ch.Name, ch.Text)
		result.Report = report
		if err = ErrInvalid; plan != nil {
			err = ErrStopping
			c.do(func() { result.Later, err = nil, c.start(ctx, ch, plan) })
			result.Revision, result.Changed = c.Current().Number, err == nil
		}
	}
	if err != nil {
		err = fmt.Errorf("start the gateway: %w", err)
		if in := c.options.Inherited; in != nil {
			why := err
			if errors.Is(err, ErrInvalid) {
				why = fmt.Errorf("%w:\n%s", err, result.Report)
			}
			in.Fail(why)
		}
	}
	return result, err
}

// start is the story of a start, on the owner's goroutine.
func (c *Controller) start(ctx context.Context, ch Change, plan *compile.Plan) error {
	descriptors, err := raiseDescriptors()
	if err != nil {
		return err
	}
	c.descriptors = descriptors
	if c.history, err = c.openHistory(plan.Document); err != nil {
		return err
	}
	c.revisionsSaid = plan.Document.Revisions.Directory
	if c.plane, err = newPlane(c.options, plan.Document); err != nil {
		return err
	}
	c.plane.registry.SetSources(c.sources())
	c.background.Go(c.tick)
	c.logger.Info("the data plane runs", "loops", len(c.plane.engines), "descriptors", descriptors,
		"connections", connectionsMax(plan.Document.Limits.Connections, descriptors))
	c.sayWhatRanLast(ch)
	kept := c.readSplits()
	if c.options.Inherited == nil { // else the predecessor knows better, and says it last
		c.restoreSplits(plan, kept)
	}

	// A successor builds everything before its predecessor lets it accept.
	c.accepting = c.options.Inherited == nil
	if err := c.carryOut(ctx, ch, plan); err != nil {
		return err
	}
	if err := c.preparePID(); err != nil {
		return err
	}
	if in := c.options.Inherited; in != nil {
		if err := in.Ready(); err != nil {
			return err
		}
		c.restorePassed(in.State())
		if err := c.acceptAll(); err != nil {
			return err
		}
		c.publish()
	}
	if err := c.writePID(); err != nil {
		return err
	}
	c.background.Go(c.watchSplits)
	c.tidyAtOnce(len(ch.Text))
	if in := c.options.Inherited; in != nil {
		c.logger.Info("this process took over from the one before")
		return in.Serving()
	}
	return nil
}

// acceptAll begins to accept on listeners and the admin API that were only bound so far.
func (c *Controller) acceptAll() error {
	c.accepting = true
	c.listeners = slices.Clone(c.listeners) // the published list is frozen
	for i, l := range c.listeners {
		l = &listener{plan: l.plan, index: l.index, socket: l.socket}
		c.listeners[i] = l
		if err := c.accept(l); err != nil {
			return fmt.Errorf("listener %q: %w", l.plan.Name, err)
		}
	}
	c.beginAdmin()
	if a := c.authority; a != nil && !a.started {
		a.started = true
		a.manager.Start()
	}
	return nil
}

// openHistory opens the history of revisions. Where nothing can be written (a container's read-only root, a mounted
// ConfigMap) it is kept in memory, unless a directory was asked for.
func (c *Controller) openHistory(doc *config.Document) (*revision.History, error) {
	cfg := revision.Config{Directory: c.options.RevisionDir, Keep: doc.Revisions.Keep, Logger: c.logger}
	asked := true
	switch {
	case cfg.Directory != "":
	case doc.Revisions.Directory != "":
		cfg.Directory = doc.Revisions.Directory
	case c.options.File != "":
		asked = false
		// By the file's name, too: two gateways whose documents share a folder do not share a history.
		cfg.Directory = filepath.Join(filepath.Dir(c.options.File), ".yumen", filepath.Base(c.options.File))
	}
	h, err := revision.Open(cfg)
	if err == nil || asked {
		return h, err
	}
	c.logger.Warn("revisions are kept in memory only: a restart forgets them, and rollback with them", "error", err)
	cfg.Directory = ""
	return revision.Open(cfg)
}

// sayWhatRanLast tells of a surprise: what ran before the restart is not what the file says.
func (c *Controller) sayWhatRanLast(ch Change) {
	last, err := c.history.Latest()
	if err == nil && last.Origin != originFile && last.SHA256 != revision.Sum(ch.Text) {
		c.logger.Warn("the file is not what ran last: it is in force now, roll back to have the other again",
			"file", ch.Name, "revision", last.Number, "origin", last.Origin, "at", last.Time.Format(time.RFC3339))
	}
}

// preparePID writes the pid file beside its place, so that what can go wrong goes wrong before a successor accepts.
func (c *Controller) preparePID() error {
	if c.options.PIDFile == "" {
		return nil
	}
	if err := os.WriteFile(c.options.PIDFile+".new", fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

// writePID says which process serves. Whoever reads the file finds one number or the other, never half of one. A successor
// writes over its predecessor's.
func (c *Controller) writePID() error {
	if c.options.PIDFile == "" {
		return nil
	}
	if err := os.Rename(c.options.PIDFile+".new", c.options.PIDFile); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}

// removePID removes the pid file unless a successor has made it its own.
func (c *Controller) removePID() {
	path := c.options.PIDFile
	if path == "" {
		return
	}
	if text, err := os.ReadFile(path); err == nil && string(text) == fmt.Sprintf("%d\n", os.Getpid()) {
		_ = os.Remove(path) // left behind, it names a process that is gone, which its readers must expect anyway
	}
}

// watch begins or ends to watch the file. known is what the caller has read of it, nil if he has not: what it says by the
// time the watch begins is then taken as known.
func (c *Controller) watch(wanted bool, known []byte) {
	switch {
	case wanted && c.watcher == nil && c.options.File != "":
		w, err := file.Watch(file.Config{
			Path: c.options.File, Known: known, Logger: c.logger,
			Changed: func(text []byte) {
				// What becomes of it is in log, metrics and readiness.
				_, _ = c.Apply(c.life, Change{Origin: originFile, Name: c.options.File, Text: text})
			},
		})
		if err != nil {
			c.logger.Error("the configuration is not watched: changes take effect by reload", "error", err)
			return
		}
		c.watcher = w
	case !wanted && c.watcher != nil:
		// In the background: the watcher may be waiting for the very change that ends it.
		c.background.Go(c.watcher.Close)
		c.watcher = nil
	}
}

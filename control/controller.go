package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/etcd"
	"github.com/yumen-io/yumen/control/file"
	"github.com/yumen-io/yumen/control/revision"
	"github.com/yumen-io/yumen/control/upgrade"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Options are what a Controller is told beside the configuration. Zero values mean the defaults.
type Options struct {
	// File is the configuration's path, read by Start and Reload and watched while the document says so. Empty: there is no
	// file, and Start takes Document, which problems call DocumentName; empty: "document".
	File         string
	Document     []byte
	DocumentName string
	// Env looks up the variables of documents; nil is os.LookupEnv.
	Env func(string) (string, bool)

	Version, Commit string // of the program, for metrics
	Logger          *slog.Logger

	// Loops is how many event loops run. 0: what the document says, by default one for each core this process may use.
	Loops int
	// RevisionDir is where revisions are kept, whatever the document says. Empty: what the document says, by default
	// .yumen/NAME beside the file called NAME; without a file, in memory.
	RevisionDir string
	// PIDFile is written once the gateway serves, and removed when it stops. Empty: none.
	PIDFile string

	// Admin makes the server of the admin API for an address; nil: there is none, whatever the document says.
	Admin func(c *Controller, address string) AdminServer

	// Inherited is what upgrade.Inherit returned: nil in a process that was not started by an upgrade.
	Inherited *upgrade.Inheritance
	// Program is what Upgrade starts; the zero value is the program that runs.
	Program upgrade.Program
}

// Errors of changes.
var (
	// ErrStopping: the gateway drains, or has stopped.
	ErrStopping = errors.New("the gateway is stopping")
	// ErrNoFile: there is no file to load again.
	ErrNoFile = errors.New("the gateway runs without a configuration file")
	// ErrInvalid: the document has errors; the report says which.
	ErrInvalid = errors.New("the configuration has errors")
	// ErrNothingEarlier is returned for a rollback when no revision before the one in force has another text.
	ErrNothingEarlier = errors.New("there is no earlier revision with another text")
)

// ConflictError is returned for a change of a revision that is not in force any more: somebody else was quicker.
type ConflictError struct{ Expected, Current uint64 }

// Error says which.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("the change is based on revision %d, but revision %d is in force", e.Expected, e.Current)
}

// Controller is the control plane of a process. Its methods may be called from any goroutine.
type Controller struct {
	// Frozen.
	options Options
	logger  *slog.Logger
	env     func(string) (string, bool)
	program upgrade.Program
	mail    *mailbox
	memory  *gateway.Memory
	ended   chan struct{} // closed when the owner's goroutine has ended
	stopped chan struct{} // closed when nothing of the gateway is left
	// life ends with giveUp, when the gateway is told to stop: changes and upgrades under way do not keep it.
	life   context.Context
	giveUp context.CancelFunc

	signals chan os.Signal // for Run; nil until they are caught

	// Set by Start, frozen then.
	plane         *plane
	history       *revision.History
	descriptors   int    // that may be open
	revisionsSaid string // the document's directory of revisions

	// Published.
	published  atomic.Pointer[state]
	stopping   atomic.Bool
	lastChange atomic.Pointer[attempt]
	logs       logCounts

	// Owned by the goroutine of run.
	current   revision.Revision
	plan      *compile.Plan
	secrets   *secrets
	authority *authority                // nil: there is none
	tickets   map[time.Duration]tickets // by how often their keys change
	listeners []*listener
	clusters  []*cluster
	groups    groups
	access    accessLog
	admin     *adminSocket
	watcher   *file.Watcher
	accepting bool
	collector collector
	untidy    int // size of the largest document read or left since memory was given back

	etcd       *etcd.Registries // guards itself
	challenges challenges       // guards itself
	splitsKept splitsKept       // likewise

	// background is what ends by itself and is waited for by Stop.
	background sync.WaitGroup
	stop       sync.Once

	// interrupt is asked before each step of a change: a test's way to let it fail there.
	interrupt func(step string) error
	// clock is that of certificates' files: the zero Clock but in tests, which do not wait for minutes.
	clock certs.Clock
}

// New returns a controller that runs nothing yet. Stop must be called in the end, whatever became of Start.
func New(o Options) (*Controller, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.DocumentName == "" {
		o.DocumentName = "document"
	}
	c := &Controller{
		options: o, logger: o.Logger, env: o.Env, program: o.Program,
		mail: newMailbox(), memory: gateway.NewMemory(), stopped: make(chan struct{}), ended: make(chan struct{}),
		groups: groups{}, tickets: map[time.Duration]tickets{},
		interrupt: func(string) error { return nil },
	}
	c.etcd = etcd.NewRegistries(c.kept("endpoints"), c.logger)
	c.life, c.giveUp = context.WithCancel(context.Background())
	if c.program.Path == "" {
		p, err := upgrade.ThisProgram()
		if err != nil {
			return nil, err
		}
		c.program = p
	}
	go func() {
		defer close(c.ended)
		c.mail.run()
	}()
	return c, nil
}

// Change is a configuration that somebody wants in force.
type Change struct {
	Origin string // "file", "admin", "rollback to 7"
	Name   string // what problems call the text; empty: the one in force
	Text   []byte
	Expect uint64 // the revision the change is based on; 0: any
	DryRun bool   // only say what would be
}

// Result is what became of a change.
type Result struct {
	Revision uint64 // in force now; of a dry run, the one in force
	Changed  bool   // the change was put into force, or for a dry run would be
	Report   *compile.Report
	// Later names what the document says that takes effect with the next upgrade or restart.
	Later []string
}

// Apply puts a change into force, or leaves everything as it was and says why: ErrInvalid with a report, a
// ConflictError, ErrStopping, or what could not be opened, resolved or recorded. A text equal to the one in force is no
// change. Ending ctx gives the change up as long as that leaves everything as it was.
func (c *Controller) Apply(ctx context.Context, ch Change) (Result, error) {
	now := c.state()
	if ch.Name == "" {
		ch.Name = now.revision.Name
	}
	c.collector.hold(len(ch.Text))
	plan, report := c.read(ch.Name, ch.Text)
	if ch.DryRun {
		if ch.Expect != 0 && ch.Expect != now.revision.Number {
			return Result{Revision: now.revision.Number, Report: report}, &ConflictError{ch.Expect, now.revision.Number}
		}
		r := Result{Revision: now.revision.Number, Report: report}
		if plan != nil {
			CheckFiles(plan.Document, report, c.inUse, time.Now())
		}
		if report.Errors() {
			return r, ErrInvalid
		}
		r.Changed = revision.Sum(ch.Text) != now.revision.SHA256
		r.Later = c.later(plan.Document)
		return r, nil
	}
	var result Result
	err := ErrStopping
	c.do(func() { result, err = c.change(ctx, ch, plan, report) })
	return result, err
}

// Reload applies the file, if it differs from what is in force.
func (c *Controller) Reload(ctx context.Context) (Result, error) {
	if c.options.File == "" {
		return Result{Revision: c.Current().Number}, ErrNoFile
	}
	text, err := file.Read(c.options.File)
	if err != nil {
		c.attempted(metrics.ReloadFailed, err)
		return Result{Revision: c.Current().Number}, fmt.Errorf("reload the configuration: %w", err)
	}
	return c.Apply(ctx, Change{Origin: originFile, Name: c.options.File, Text: text})
}

// Rollback puts the text of an earlier revision into force, as a new revision; 0 is the newest one whose text differs from
// the one in force. The file is left as it is, so a restart, or the next change of the file, brings its text back.
func (c *Controller) Rollback(ctx context.Context, to uint64) (Result, error) {
	if c.history == nil {
		return Result{}, ErrStopping
	}
	now := c.Current()
	if to == 0 {
		if to = c.before(now); to == 0 {
			return Result{Revision: now.Number}, fmt.Errorf("roll back: %w", ErrNothingEarlier)
		}
	}
	r, err := c.history.Get(to)
	if err != nil {
		return Result{Revision: now.Number}, fmt.Errorf("roll back: %w", err)
	}
	return c.Apply(ctx, Change{Origin: originRollback + strconv.FormatUint(to, 10), Name: r.Name, Text: r.Text, Expect: now.Number})
}

// before returns the newest revision older than r with another text; 0 if none is kept.
func (c *Controller) before(r revision.Revision) uint64 {
	to := uint64(0)
	for _, old := range c.history.List() {
		if old.Number < r.Number && old.SHA256 != r.SHA256 {
			to = old.Number
		}
	}
	return to
}

// Current returns the revision in force, with its text.
func (c *Controller) Current() revision.Revision { return c.state().revision }

// Revisions returns the history, oldest first, without texts.
func (c *Controller) Revisions() []revision.Revision {
	if c.history == nil {
		return nil
	}
	return c.history.List()
}

// Revision returns one revision of the history with its text; revision.ErrNone if it is not kept.
func (c *Controller) Revision(number uint64) (revision.Revision, error) {
	if c.history == nil {
		return revision.Revision{}, revision.ErrNone
	}
	return c.history.Get(number)
}

// Plan returns what the revision in force compiled to; nil before Start.
func (c *Controller) Plan() *compile.Plan { return c.state().plan }

// Metrics serves the metrics of the process.
func (c *Controller) Metrics() http.Handler { return http.HandlerFunc(c.serveMetrics) }

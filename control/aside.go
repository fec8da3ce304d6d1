package control

import (
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/descriptors"
)

// largeBytes is the size of a document that takes long enough to be felt by requests: 64 kB are some 700 routes and 10 ms.
const largeBytes = 64 << 10

// untidyBytes is the size of a document that leaves enough memory behind to be given back: 1 MB some 30.
const untidyBytes = 1 << 20

// read parses and compiles a text. It touches nothing that runs, so it takes place where the change came from and not on the
// owner's goroutine, which is needed meanwhile. A large one, which takes a second for 100,000 routes, is worked on aside.
func (c *Controller) read(name string, text []byte) (plan *compile.Plan, report *compile.Report) {
	work := func() {
		doc, problems := config.Parse(name, text, c.env)
		plan, report = compile.Compile(doc, problems, c.schemas().Get, c.memory.Recollect())
	}
	if len(text) < largeBytes {
		work()
	} else {
		aside(work)
	}
	return plan, report
}

// schemas gets what filters transcode by. What servers say of themselves is kept beside the revisions.
func (c *Controller) schemas() *descriptors.Reader {
	return &descriptors.Reader{Folder: c.kept("descriptors"), Logger: c.logger}
}

// kept returns the folder beside the revisions in which something is kept; empty if there is none.
func (c *Controller) kept(what string) string {
	switch {
	case c.options.RevisionDir != "":
		return filepath.Join(c.options.RevisionDir, what)
	case c.options.File != "":
		return filepath.Join(filepath.Dir(c.options.File), ".yumen", filepath.Base(c.options.File), what)
	}
	return ""
}

// aside does work on a thread of its own that gives way to the loops' threads where they want the same core, and waits for
// it. Without it the scheduler of the kernel shares a core fairly between a loop and a compiler, a few milliseconds each, and
// every request of the loop waits out the compiler's. The thread cannot be given its priority back without a privilege,
// so it ends with its goroutine, which never unlocks it; the runtime starts no other thread from one that is locked.
//
// A panic is the caller's, who may be a request that the admin API's server recovers from.
func aside(work func()) {
	failed := make(chan any, 1)
	go func() {
		defer func() { failed <- recover() }()
		runtime.LockOSThread()
		giveWay()
		work()
	}()
	if r := <-failed; r != nil {
		panic(r)
	}
}

// tidy sees to it that memory is given back which large documents have used: what the parser built, and the configuration before once
// its last exchange is over. bytes is the size of a document that was read beside those in force. It runs on the owner's goroutine.
//
// It forces no collection: one that runs while requests do costs those of some 50 ms their place on a core. The runtime's own come
// every two minutes: the first frees the memory, and after the second it goes back to the system.
func (c *Controller) tidy(bytes int) {
	if max(bytes, c.untidy) < untidyBytes || c.stopping.Load() {
		return
	}
	c.untidy = 0
	c.collector.leave()
}

// tidyAtOnce gives back what the first document used, before any request came: 560 MB instead of 150 for 100,000 routes.
func (c *Controller) tidyAtOnce(bytes int) {
	if bytes < untidyBytes {
		return
	}
	c.background.Go(func() {
		debug.FreeOSMemory()
		c.collector.release()
	})
}

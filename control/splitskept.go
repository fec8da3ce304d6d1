package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/upgrade"
	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// splitsName is the file's name, in the directory of revisions.
const splitsName = "splits.state"

// splitsMagic begins the file: text that people can read, its first line a checksum over all that is below it.
//
//	yumen splits <SHA256 of everything below this line>
//	{"version":1,"splits":{"shop":{...}}}
const splitsMagic = "yumen splits "

// splitsVersion is the form of the file. One of another form is not read: a program that does not know it could only guess.
const splitsVersion = 1

// Bounds of what is kept.
const (
	// splitsBytesMax bounds the file, and what a successor is passed: a split has some kB, one with a canary 30.
	splitsBytesMax = 16 << 20
	// splitsPause is how long evidence on a running canary is not written down: after a crash it has to be found again.
	splitsPause = 10 * time.Second
	// splitsLook is how often it is looked whether a judge has changed something.
	splitsLook = gateway.TickPause
)

// splitsKept is what is written down of splits, so that weights that were set and canaries outlive the process.
type splitsKept struct {
	path string // empty: there is no directory. Set before anybody asks

	mu      sync.Mutex
	passed  bool   // a successor has it, and this process changes nothing of it any more
	written []byte // what the file has; nil: there is none
	err     error  // of the last attempt
	told    bool   // that it failed
}

// failure says why nothing is kept; empty: it is.
func (k *splitsKept) failure() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		return ""
	}
	return k.err.Error()
}

// splitsDocument is the file's JSON.
type splitsDocument struct {
	Version int                    `json:"version"`
	Splits  map[string]*split.Kept `json:"splits"`
}

// errNotKept is why there is no file.
var errNotKept = errors.New("there is no directory for it")

// readSplits reads what a process before this one has kept. A file that is broken is said and left.
func (c *Controller) readSplits() map[string]*split.Kept {
	k := &c.splitsKept
	dir := c.history.Directory()
	if dir == "" {
		k.err = errNotKept
		return nil
	}
	k.path = filepath.Join(dir, splitsName)
	content, err := readBounded(k.path, splitsBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept map[string]*split.Kept
	if err == nil {
		k.written = content // also of a broken one: it is there
		kept, err = decodeSplits(content)
	}
	if err != nil {
		c.logger.Error("what was kept of splits cannot be read: they begin with the document's weights", "file", k.path, "error", err)
	}
	return kept
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("it is longer than %d bytes", most)
	}
	return content, err
}

// decodeSplits reads a file's content.
func decodeSplits(content []byte) (map[string]*split.Kept, error) {
	first, rest, ok := bytes.Cut(content, []byte{'\n'})
	sum := sha256.Sum256(rest)
	if !ok || string(first) != splitsMagic+hex.EncodeToString(sum[:]) {
		return nil, errors.New("it is not as it was written")
	}
	return parseSplits(rest)
}

// parseSplits reads what is below the checksum, or what a predecessor passes.
func parseSplits(text []byte) (map[string]*split.Kept, error) {
	var version struct{ Version int }
	if err := json.Unmarshal(text, &version); err != nil {
		return nil, err
	}
	if version.Version != splitsVersion {
		return nil, fmt.Errorf("it is of version %d, and this program knows version %d", version.Version, splitsVersion)
	}
	var d splitsDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	return d.Splits, nil
}

func encodeSplits(text []byte) []byte {
	sum := sha256.Sum256(text)
	return slices.Concat([]byte(splitsMagic), hex.AppendEncode(nil, sum[:]), []byte{'\n'}, text)
}

// restoreSplits gives the splits of a plan, which no request has met yet, what was kept of them.
func (c *Controller) restoreSplits(plan *compile.Plan, kept map[string]*split.Kept) {
	if len(kept) == 0 {
		return
	}
	now := mono.Now()
	for _, f := range plan.Splits {
		k := kept[f.Name()]
		if k == nil {
			continue
		}
		delete(kept, f.Name())
		r := f.Restore(k, now)
		if r.Left != "" {
			c.logger.Warn("of a split not all is as it was before this process", "split", f.Name(), "left", r.Left)
		}
		switch {
		case r.Canary:
			c.logger.Info("a canary goes on where it was before this process", "split", f.Name(), "state", k.Canary.Judge.State, "weights", f.String())
		case r.Weights:
			c.logger.Info("the weights of a split are as they were set before this process", "split", f.Name(), "weights", f.String())
		}
	}
	for name, k := range kept {
		if k != nil {
			c.logger.Warn("of a split not all is as it was before this process", "split", name, "left", "the document has no such split any more")
		}
	}
}

// restorePassed is for a successor that is ready: nobody has been served yet. What was passed is newer than the file.
func (c *Controller) restorePassed(passed []byte) {
	if passed == nil { // the predecessor knows of none
		return
	}
	kept, err := parseSplits(passed)
	if err != nil {
		c.logger.Error("what the process before passed of splits cannot be read: they begin with the document's weights", "error", err)
		return
	}
	c.restoreSplits(c.plan, kept)
}

// describeSplits gathers what there is to keep; nil if nothing.
func describeSplits(list []*split.Filter) ([]byte, error) {
	d := splitsDocument{Version: splitsVersion, Splits: map[string]*split.Kept{}}
	now := mono.Now()
	for _, f := range list {
		if k := f.Keep(now); k != nil {
			d.Splits[f.Name()] = k
		}
	}
	if len(d.Splits) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(d)
	if err == nil && len(text)+len(splitsMagic)+2*sha256.Size+1 > splitsBytesMax {
		err = fmt.Errorf("it would be longer than %d bytes", splitsBytesMax)
	}
	return text, err
}

// keepSplits writes down what has changed. What cannot be written is said, and tried again with the next change.
func (c *Controller) keepSplits() {
	k := &c.splitsKept
	k.mu.Lock()
	defer k.mu.Unlock()
	c.keepSplitsLocked()
}

func (c *Controller) keepSplitsLocked() {
	k := &c.splitsKept
	if k.path == "" || k.passed || c.Plan() == nil {
		return
	}
	var content []byte
	text, err := describeSplits(c.splits())
	if err == nil && text != nil {
		content = encodeSplits(text)
	}
	if err == nil && !bytes.Equal(content, k.written) {
		if err = replaceFile(k.path, content); err == nil {
			k.written = content
		}
	}
	if k.err = err; err != nil && !k.told {
		c.logger.Error("weights of splits cannot be written down: a restart forgets them", "file", k.path, "error", err)
	}
	k.told = err != nil
}

// replaceFile puts content into a file's place so that a crash leaves either the old or the new one; nil removes it.
func replaceFile(path string, content []byte) error {
	if content == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDirectory(filepath.Dir(path))
	}
	const ownerOnly = 0o600
	unfinished := path + ".unfinished"
	f, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, ownerOnly)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(unfinished, path)
	}
	if err != nil {
		_ = os.Remove(unfinished) // left behind, it is written over the next time
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// watchSplits writes down what judges do, soon after they do it, and what they have seen, now and then; until the gateway is told to
// stop. What operators do is written when they do it.
func (c *Controller) watchSplits() {
	look := time.NewTicker(splitsLook)
	defer look.Stop()
	var last uint64
	var lastPlan *compile.Plan
	var at time.Time
	for {
		select {
		case <-c.life.Done():
			c.keepSplits()
			return
		case now := <-look.C:
			plan, version, watched := c.Plan(), uint64(0), false
			for _, f := range c.splits() {
				version += f.Version()
				watched = watched || now.Sub(at) >= splitsPause && f.Watched()
			}
			if plan != lastPlan || version != last || watched {
				lastPlan, last, at = plan, version, now
				c.keepSplits()
			}
		}
	}
}

// passSplits is what a successor goes on with. From here on this process changes nothing of it, unless takeBackSplits is called.
func (c *Controller) passSplits() []byte {
	k := &c.splitsKept
	k.mu.Lock()
	defer k.mu.Unlock()
	c.keepSplitsLocked()
	text, err := describeSplits(c.splits())
	if err != nil {
		c.logger.Error("weights of splits cannot be passed to the new process: it begins with the document's", "error", err)
	}
	if text == nil || err != nil {
		text = fmt.Appendf(nil, `{"version":%d}`, splitsVersion)
	}
	k.passed = true
	return text
}

// takeBackSplits is for an upgrade that failed.
func (c *Controller) takeBackSplits() {
	c.splitsKept.mu.Lock()
	defer c.splitsKept.mu.Unlock()
	c.splitsKept.passed = false
}

var _ [upgrade.StateBytesMax - splitsBytesMax]struct{} // what is kept can be passed

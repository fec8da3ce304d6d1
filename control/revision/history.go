// Package revision is the numbered history of configurations: what ran when, where it came from, and its text, so that
// an earlier one can be put back.
//
// It owns a directory with one file for each revision, of which the latest few are kept, and the numbers: one is never
// given twice, also over restarts and also when its file was lost. A file is written beside its place, synced, renamed
// into it, and the directory synced, so that a crash leaves either the whole revision or none; a checksum over the whole
// file tells what a disk did to it since. Without a directory the history lives and ends with the process.
//
// It knows nothing of what the texts mean, and decides neither what runs nor what is put back.
package revision

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Revision is one configuration that was put into force. Frozen.
type Revision struct {
	Number uint64    `json:"number"` // from 1
	Time   time.Time `json:"time"`   // when it was recorded
	Origin string    `json:"origin"` // who asked for it: file, admin, "rollback to 7"
	Name   string    `json:"name"`   // what problems call the text, usually the path of a file
	SHA256 string    `json:"sha256"` // of the text, hexadecimal
	Text   []byte    `json:"-"`      // nil in lists
}

// Sum returns the SHA256 of a text as revisions show it.
func Sum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ErrNone is returned when there is no revision of a number (any more).
var ErrNone = errors.New("no such revision is kept")

// keepDefault is a busy day of changes.
const keepDefault = 20

// Config says where a history is.
type Config struct {
	Directory string       // made if missing; empty: in memory only
	Keep      int          // revisions that are kept, the one in force included; 0 is 20
	Logger    *slog.Logger // told of files that are damaged or cannot be removed; nil tells nobody
}

// History is the revisions that are kept. Safe for use by several goroutines; Append waits for the disk.
type History struct {
	// Frozen.
	directory string // empty: memory only
	logger    *slog.Logger
	files     files

	mu struct {
		sync.Mutex
		keep int
		last uint64     // the highest number ever given
		list []Revision // oldest first; with texts only if there is no directory
	}
}

// Open reads the history in a directory. What is damaged there is skipped, said in the log, and left for people to look
// at; it counts among those kept no more. The error is about the directory: it cannot be made, read or written to.
func Open(c Config) (*History, error) { return open(c, systemFiles) }

func open(c Config, files files) (*History, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	h := &History{directory: c.Directory, logger: c.Logger, files: files}
	h.SetKeep(c.Keep)
	if c.Directory == "" {
		return h, nil
	}
	if err := h.load(); err != nil {
		return nil, fmt.Errorf("open the history of revisions in %s: %w", c.Directory, err)
	}
	return h, nil
}

func (h *History) load() error {
	if err := h.files.makeDir(h.directory); err != nil {
		return err
	}
	if err := h.files.checkWritable(h.directory); err != nil {
		return err
	}
	names, err := h.files.list(h.directory)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, unfinished) {
			h.remove(name) // a crash came between its creation and its renaming
			continue
		}
		number, ok := numberOf(name)
		if !ok {
			continue
		}
		h.mu.last = max(h.mu.last, number)
		r, err := h.read(number)
		if err != nil {
			h.logger.Error("a revision is damaged and skipped", "file", filepath.Join(h.directory, name), "error", err)
			continue
		}
		r.Text = nil
		h.mu.list = append(h.mu.list, r)
	}
	slices.SortFunc(h.mu.list, func(a, b Revision) int { return int(int64(a.Number - b.Number)) })
	return nil
}

// Directory returns where the history is kept, empty if only in memory.
func (h *History) Directory() string { return h.directory }

// SetKeep changes how many revisions are kept, from the next Append on; 0 is 20.
func (h *History) SetKeep(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n <= 0 {
		n = keepDefault
	}
	h.mu.keep = n
}

// Append records a text under the next number and returns when it will survive a crash. If it fails, nothing was
// recorded and the history is as before, but for the number, which is not given again.
func (h *History) Append(at time.Time, origin, name string, text []byte) (Revision, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.skipTaken(); err != nil {
		return Revision{}, fmt.Errorf("number the next revision in %s: %w", h.directory, err)
	}
	h.mu.last++
	r := Revision{Number: h.mu.last, Time: at.UTC(), Origin: origin, Name: name, SHA256: Sum(text), Text: text}
	if h.directory != "" {
		if err := h.write(r); err != nil {
			return Revision{}, fmt.Errorf("record revision %d in %s: %w", r.Number, h.directory, err)
		}
	}
	kept := r
	if h.directory != "" {
		kept.Text = nil
	}
	h.mu.list = append(h.mu.list, kept)
	for len(h.mu.list) > h.mu.keep {
		if h.directory != "" {
			h.remove(fileName(h.mu.list[0].Number))
		}
		h.mu.list = slices.Delete(h.mu.list, 0, 1)
	}
	return r, nil
}

// skipTaken goes past numbers that another process gave: a successor that was started for an upgrade and then failed.
func (h *History) skipTaken() error {
	if h.directory == "" {
		return nil
	}
	names, err := h.files.list(h.directory)
	for _, name := range names {
		if number, ok := numberOf(name); ok {
			h.mu.last = max(h.mu.last, number)
		}
	}
	return err
}

// remove deletes a file that is of no use any more. Its staying costs its bytes and nothing else.
func (h *History) remove(name string) {
	if err := h.files.remove(filepath.Join(h.directory, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.logger.Warn("an old revision could not be removed", "file", filepath.Join(h.directory, name), "error", err)
	}
}

// List returns what is kept, oldest first, without the texts.
func (h *History) List() []Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.mu.list)
	for i := range list {
		list[i].Text = nil
	}
	return list
}

// Latest returns the newest revision that is whole, with its text; ErrNone if there is none.
func (h *History) Latest() (Revision, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.mu.list); n > 0 {
		return h.get(h.mu.list[n-1])
	}
	return Revision{}, ErrNone
}

// Get returns a revision with its text; ErrNone if it is not kept.
func (h *History) Get(number uint64) (Revision, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.mu.list {
		if r.Number == number {
			return h.get(r)
		}
	}
	return Revision{}, fmt.Errorf("revision %d: %w", number, ErrNone)
}

func (h *History) get(r Revision) (Revision, error) {
	if h.directory == "" {
		return r, nil
	}
	return h.read(r.Number)
}

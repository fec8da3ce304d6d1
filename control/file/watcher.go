// Package file watches one file and tells when its content has become another.
//
// Editors, package managers and Kubernetes save in different ways: they truncate and write, rename a new file over the
// old one, or turn a symbolic link that is two links away. What they have in common is that something happens in the
// directory of the path, or of a link on the way to the file; that is what is watched. Since a network file system tells
// nothing and a folder can be renamed above our heads, the file is also looked at now and then.
//
// An event means nothing but "look again": whether the content differs is found by reading it. The package does not know
// what the file is for, and does not judge what it reads; a file that cannot be read is said once and waited for.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a file must be left alone before it is read: a save is several events, and a file that was
	// truncated and is being written is half a file for some microseconds.
	settle = 50 * time.Millisecond
	// settleMax bounds the wait for a file that is never left alone.
	settleMax = time.Second
	// poll is how often the file is looked at although nobody said anything.
	poll = 30 * time.Second
	// sizeMax is more than any configuration, and less than what would hurt to read by mistake.
	sizeMax = 64 << 20
)

// Config says what to watch. Path and Changed are required.
type Config struct {
	Path string
	// Known is the content that the caller has read already: if it is another by now, he is told at once. nil: what the
	// file holds when the watch begins.
	Known []byte
	// Changed is told of each new content, on the watcher's goroutine; the next one waits until it returns.
	Changed func(text []byte)
	Logger  *slog.Logger // told when the file cannot be read and when it can be again; nil tells nobody

	// After is time.After, unless a test has a clock of its own.
	After func(time.Duration) <-chan time.Time
}

// Watcher watches one file, on one goroutine, until Close.
type Watcher struct {
	config Config
	notify *fsnotify.Watcher
	stop   chan struct{}
	done   chan struct{}

	// Owned by the goroutine.
	text    []byte          // last seen
	missing bool            // the file could not be read, and it was said
	folders map[string]bool // watched
}

// Watch begins to watch.
func Watch(c Config) (*Watcher, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.After == nil {
		c.After = time.After
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", c.Path, err)
	}
	c.Path = path
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", c.Path, err)
	}
	w := &Watcher{config: c, notify: notify, stop: make(chan struct{}), done: make(chan struct{}), folders: map[string]bool{}}
	w.follow()
	if len(w.folders) == 0 {
		notify.Close()
		return nil, fmt.Errorf("watch %s: its folder cannot be watched", c.Path)
	}
	if w.text = c.Known; w.text == nil {
		w.text, err = Read(c.Path)
		w.missing = err != nil
	}
	go w.run()
	return w, nil
}

// Close ends the watch and waits for a Changed that is under way.
func (w *Watcher) Close() {
	close(w.stop)
	<-w.done
}

// run is the watcher's goroutine.
func (w *Watcher) run() {
	defer close(w.done)
	defer w.notify.Close()
	var quiet, enough <-chan time.Time // running since an event that was not looked into yet
	backstop := w.config.After(poll)
	if w.config.Known != nil {
		quiet = w.config.After(settle) // it may be another already, and may be half-way there
	}
	for {
		select {
		case <-w.stop:
			return
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if event.Op == fsnotify.Chmod {
				continue // backups and indexers touch files all day; a changed mode shows at the next look
			}
			quiet = w.config.After(settle)
			if enough == nil {
				enough = w.config.After(settleMax)
			}
			continue
		case <-w.notify.Errors:
			// Events were lost. Which ones does not matter.
		case <-quiet:
		case <-enough:
		case <-backstop:
			backstop = w.config.After(poll)
		}
		quiet, enough = nil, nil
		w.look()
	}
}

// look reads the file and tells of a new content.
func (w *Watcher) look() {
	w.follow()
	text, err := Read(w.config.Path)
	if err != nil {
		if !w.missing {
			w.config.Logger.Error("the file cannot be read, what was read last stays", "file", w.config.Path, "error", err)
		}
		w.missing = true
		return
	}
	if w.missing {
		w.config.Logger.Info("the file can be read again", "file", w.config.Path)
	}
	w.missing = false
	if bytes.Equal(text, w.text) {
		return
	}
	w.text = text
	w.config.Changed(text)
}

// linksMax ends a walk along links that lead in a circle.
const linksMax = 16

// follow watches the folder of the path and of every link on the way from it to the file, and no others any more. In a
// Kubernetes volume the path is a link to ..data/NAME, and ..data, in the same folder, is the link that turns.
func (w *Watcher) follow() {
	wanted := map[string]bool{}
	path := w.config.Path
	for range linksMax {
		wanted[filepath.Dir(path)] = true
		target, err := os.Readlink(path)
		if err != nil {
			break // no link, or nothing there
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	for folder := range wanted {
		// Also those that are watched already: a folder that was removed and made anew is another one, and adding one twice
		// does no harm. What cannot be watched is polled.
		if err := w.notify.Add(folder); err == nil {
			w.folders[folder] = true
		} else {
			delete(w.folders, folder)
		}
	}
	for folder := range w.folders {
		if !wanted[folder] {
			_ = w.notify.Remove(folder) // or it is gone already
			delete(w.folders, folder)
		}
	}
}

// Read reads a file whole. It refuses what is no file, or larger than 64 MiB.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is a directory")}
	}
	text, err := io.ReadAll(io.LimitReader(f, sizeMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > sizeMax {
		return nil, fmt.Errorf("read %s: it is larger than %d MiB", path, sizeMax>>20)
	}
	return text, nil
}

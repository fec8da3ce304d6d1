package compile

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/yumen-io/yumen/control/file"
	"github.com/yumen-io/yumen/gateway"
)

// followedFile is a list that a filter works with and that is kept in a file: read when a document that names it is compiled,
// and followed while such a document is in force. It is remembered from one configuration to the next, so that a change of
// something else does not have it read by halves: what filters use is what was read last without a mistake.
type followedFile[T any] struct {
	path  string
	parse func(text []byte) (*T, error)

	// Published: what filters use.
	value atomic.Pointer[T]

	err error // why the first reading failed; then value is nil

	// Of the goroutine of watch, and of whoever starts and ends it.
	text  []byte
	watch *file.Watcher
}

// follow returns the contents of a file of that kind, as filters of the configuration before use it or as it is now. The
// error is for whoever wrote the document.
func follow[T any](c *compiler, kind, path string, parse func(text []byte) (*T, error)) (*atomic.Pointer[T], error) {
	f := gateway.Recall(c.plan.Memory, "file/"+kind+"/"+path, func() *followedFile[T] {
		f := &followedFile[T]{path: path, parse: parse}
		f.read()
		return f
	})
	if f.err != nil {
		return nil, f.err
	}
	return &f.value, nil
}

// read is the first reading.
func (f *followedFile[T]) read() {
	text, err := file.Read(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.err = fmt.Errorf("the file %q does not exist: put it there, or correct the path; where it does not begin with a slash, it is looked for in the directory the gateway is started in", f.path)
		return
	case err != nil:
		f.err = err
		return
	}
	v, err := f.parse(text)
	if err != nil {
		f.err = fmt.Errorf("%s: %w", f.path, err)
		return
	}
	f.text = text
	f.value.Store(v)
}

// Start begins to follow the file. A file that cannot be followed serves as it was read.
func (f *followedFile[T]) Start() {
	w, err := file.Watch(file.Config{Path: f.path, Known: f.text, Changed: f.changed, Logger: slog.Default()})
	if err != nil {
		slog.Error("the file is not followed, what was read of it stays", "file", f.path, "error", err)
		return
	}
	f.watch = w
}

// Close ends that.
func (f *followedFile[T]) Close() {
	if f.watch != nil {
		f.watch.Close()
		f.watch = nil
	}
}

// changed is called by the watcher.
func (f *followedFile[T]) changed(text []byte) {
	f.text = text
	v, err := f.parse(text)
	if err != nil {
		slog.Error("the file has a mistake, what was read before stays", "file", f.path, "error", err)
		return
	}
	f.value.Store(v)
	slog.Info("the file has changed and is in use", "file", f.path)
}

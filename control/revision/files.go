package revision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// files is what a history does with the file system: functions, so that a test can let one of them fail the way a full or
// dying disk does.
type files struct {
	makeDir       func(path string) error
	checkWritable func(path string) error
	list          func(dir string) ([]string, error)
	read          func(path string) ([]byte, error)
	write         func(path string, content []byte) error // a new file, synced
	rename        func(from, to string) error
	syncDir       func(path string) error
	remove        func(path string) error
}

// Documents can hold secrets: nobody but the owner reads the history.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

var systemFiles = files{
	makeDir:       func(path string) error { return os.MkdirAll(path, dirMode) },
	checkWritable: func(path string) error { return unix.Access(path, unix.W_OK|unix.X_OK) },
	list:          listNames,
	read:          os.ReadFile,
	write:         writeSynced,
	rename:        os.Rename,
	syncDir:       syncDir,
	remove:        os.Remove,
}

func listNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes a rename within a directory survive a crash.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write puts a revision's file into its place.
func (h *History) write(r Revision) error {
	content, err := encode(r)
	if err != nil {
		return err
	}
	path := filepath.Join(h.directory, fileName(r.Number))
	if err := h.files.write(path+unfinished, content); err != nil {
		h.remove(fileName(r.Number) + unfinished)
		return err
	}
	if err := h.files.rename(path+unfinished, path); err != nil {
		h.remove(fileName(r.Number) + unfinished)
		return err
	}
	if err := h.files.syncDir(h.directory); err != nil {
		h.remove(fileName(r.Number)) // who is told that it failed must not find it after a restart
		return err
	}
	return nil
}

func (h *History) read(number uint64) (Revision, error) {
	content, err := h.files.read(filepath.Join(h.directory, fileName(number)))
	if err != nil {
		return Revision{}, fmt.Errorf("read revision %d: %w", number, err)
	}
	r, err := decode(content)
	if err != nil {
		return Revision{}, fmt.Errorf("read revision %d: %w", number, err)
	}
	if r.Number != number {
		return Revision{}, fmt.Errorf("read revision %d: %w: it is revision %d", number, errDamaged, r.Number)
	}
	return r, nil
}

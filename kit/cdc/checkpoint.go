package cdc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Checkpoint is where a source goes on. The zero Checkpoint is that of a source that never ran.
type Checkpoint struct {
	// Position is the GTID position: all before it has been handled.
	Position string `json:"position"`
	// Origin, File and Offset name the server and the place in its binlog that the position was at, by which another
	// history under the same numbers is noticed.
	Origin string `json:"origin"`
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// Epoch is the last epoch that was told.
	Epoch uint64 `json:"epoch"`
}

// ErrBroken is what a Store returns for a checkpoint that is there and cannot be read. A source begins a new epoch then.
var ErrBroken = errors.New("cdc: the checkpoint cannot be read")

// Store keeps the checkpoint of one source.
type Store interface {
	// Load returns what was last saved, the zero Checkpoint if nothing was, or an error: ErrBroken, or another that is tried
	// again.
	Load(ctx context.Context) (Checkpoint, error)
	// Save returns when the checkpoint is safe.
	Save(ctx context.Context, c Checkpoint) error
}

func decode(data []byte, from string) (Checkpoint, error) {
	var c Checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %s: %w", ErrBroken, from, err)
	}
	return c, nil
}

// Memory returns a Store that forgets with the process, for tests and for consumers whose copies do so too.
func Memory() Store { return &memory{} }

type memory struct {
	mu struct {
		sync.Mutex
		c Checkpoint
	}
}

func (m *memory) Load(context.Context) (Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.c, nil
}

func (m *memory) Save(_ context.Context, c Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.c = c
	return nil
}

// File returns a Store that keeps the checkpoint in a file of that name, in a folder that is there. A file is replaced as
// a whole, and is on the disk when Save returns.
func File(name string) Store { return file(name) }

type file string

func (f file) Load(context.Context) (Checkpoint, error) {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("cdc: reading the checkpoint: %w", err)
	}
	return decode(data, string(f))
}

func (f file) Save(_ context.Context, c Checkpoint) error {
	if err := f.save(c); err != nil {
		return fmt.Errorf("cdc: saving the checkpoint: %w", err)
	}
	return nil
}

func (f file) save(c Checkpoint) (err error) {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(f))
	t, err := os.CreateTemp(dir, filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(t.Name())
		}
	}()
	_, err = t.Write(append(data, '\n'))
	if err == nil {
		err = t.Sync()
	}
	if e := t.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Rename(t.Name(), string(f)); err != nil {
		return err
	}
	// The rename itself is on the disk when the folder is.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// A file is one line, "yumen-registry 1 <crc32c of the rest> <length of the rest>", and the rest is a JSON snapshot.
	snapshotHead = "yumen-registry 1 %08x %d\n"
	// snapshotBytesMax is above any service of instancesMax ordinary instances.
	snapshotBytesMax = 64 << 20
	// snapshotPause is between two writings: what changes a hundred times in it is written once.
	snapshotPause = time.Second
	// snapshotRetry is the pause after the disk was full.
	snapshotRetry = 10 * time.Second
)

// snapshot is the last good set of a service, as a process without etcd begins with.
type snapshot struct {
	Service string    `json:"service"`
	Prefix  string    `json:"prefix"`
	Saved   time.Time `json:"saved"`
	// Cluster is the id of the etcd that said so: another one later is expected to be empty at first.
	Cluster   uint64            `json:"cluster"`
	Instances []json.RawMessage `json:"instances"` // values of schema 1
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// archive writes snapshots, at most one a second and service. A failure is counted and tried again, and is never fatal.
type archive struct {
	dir, prefix string
	logger      *slog.Logger
	stats       *counters
	wake        chan struct{} // capacity one

	mu struct {
		sync.Mutex
		due map[string]archived
	}
}

// archived is what is to be written of a service.
type archived struct {
	instances []Instance
	cluster   uint64
}

func newArchive(cfg *Config, stats *counters) *archive {
	a := &archive{dir: cfg.SnapshotDir, prefix: cfg.Prefix, logger: cfg.Logger, stats: stats, wake: make(chan struct{}, 1)}
	a.mu.due = map[string]archived{}
	return a
}

// save has the set written soon. Any goroutine.
func (a *archive) save(service string, instances []Instance, cluster uint64) {
	if a.dir == "" {
		return
	}
	a.mu.Lock()
	a.mu.due[service] = archived{instances, cluster}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then once more what is due.
func (a *archive) run(ctx context.Context) {
	failing := false
	for {
		select {
		case <-ctx.Done():
		case <-a.wake:
		}
		if ctx.Err() != nil {
			_ = a.flush() // counted; there is nobody left to try again
			return
		}
		err := a.flush()
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				a.logger.LogAttrs(ctx, slog.LevelWarn, "snapshots of the registry cannot be written", slog.Any("error", err))
			} else {
				a.logger.LogAttrs(ctx, slog.LevelInfo, "snapshots of the registry are written again")
			}
		}
		if err != nil {
			pause(ctx, snapshotRetry)
			select {
			case a.wake <- struct{}{}:
			default:
			}
			continue
		}
		pause(ctx, snapshotPause)
	}
}

// flush writes all that is due. What fails stays due, unless it was saved anew meanwhile.
func (a *archive) flush() error {
	a.mu.Lock()
	due := a.mu.due
	a.mu.due = map[string]archived{}
	a.mu.Unlock()
	var errs []error
	for service, d := range due {
		if err := a.write(service, d); err != nil {
			a.stats.snapshotFailures.Add(1)
			errs = append(errs, err)
			a.mu.Lock()
			if _, newer := a.mu.due[service]; !newer {
				a.mu.due[service] = d
			}
			a.mu.Unlock()
			continue
		}
		a.stats.snapshotsWritten.Add(1)
	}
	return errors.Join(errs...)
}

func (a *archive) file(service string) string { return filepath.Join(a.dir, service+".snapshot") }

func (a *archive) write(service string, d archived) (err error) {
	s := snapshot{Service: service, Prefix: a.prefix, Saved: time.Now().UTC(), Cluster: d.cluster, Instances: []json.RawMessage{}}
	for n := range d.instances {
		text, err := encode(&d.instances[n])
		if err != nil {
			return err
		}
		s.Instances = append(s.Instances, text)
	}
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("registry: encode snapshot of %s: %w", service, err)
	}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return fmt.Errorf("registry: write snapshot: %w", err)
	}
	// A name of its own for each writing: several processes of a machine may share the folder, and the last rename wins.
	f, err := os.CreateTemp(a.dir, ".snapshot-*")
	if err != nil {
		return fmt.Errorf("registry: write snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = fmt.Fprintf(f, snapshotHead, crc32.Checksum(body, castagnoli), len(body))
	if err == nil {
		_, err = f.Write(body)
	}
	if err == nil {
		err = f.Sync() // or a machine that loses its power may keep the name and not the bytes
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), a.file(service))
	}
	if err != nil {
		return fmt.Errorf("registry: write snapshot: %w", err)
	}
	return nil
}

// load reads the snapshot of a service. A missing file is no error and ok is false; a broken one is reported and ignored.
func (a *archive) load(ctx context.Context, service string) (instances []Instance, s snapshot, ok bool) {
	if a.dir == "" {
		return nil, s, false
	}
	instances, s, err := a.read(service)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, s, false
	}
	if err != nil {
		a.stats.snapshotsBroken.Add(1)
		a.logger.LogAttrs(ctx, slog.LevelWarn, "a snapshot of the registry is ignored", slog.String("file", a.file(service)), slog.Any("error", err))
		return nil, s, false
	}
	a.stats.snapshotsRead.Add(1)
	return instances, s, true
}

func (a *archive) read(service string) ([]Instance, snapshot, error) {
	f, err := os.Open(a.file(service))
	if err != nil {
		return nil, snapshot{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, snapshotBytesMax+1))
	if err != nil {
		return nil, snapshot{}, err
	}
	return decodeSnapshot(text, a.prefix, service)
}

// decodeSnapshot checks and reads the text of a file. One instance that is malformed makes the whole file broken: the
// checksum was right, so somebody else wrote it.
func decodeSnapshot(text []byte, prefix, service string) ([]Instance, snapshot, error) {
	var s snapshot
	if len(text) > snapshotBytesMax {
		return nil, s, fmt.Errorf("snapshot is longer than %d bytes", snapshotBytesMax)
	}
	head, body, _ := bytes.Cut(text, []byte("\n"))
	var sum uint32
	var length int
	if _, err := fmt.Sscanf(string(head)+"\n", snapshotHead, &sum, &length); err != nil {
		return nil, s, errors.New("snapshot does not begin with yumen-registry 1, checksum and length")
	}
	if length != len(body) || sum != crc32.Checksum(body, castagnoli) {
		return nil, s, fmt.Errorf("snapshot is torn: %d bytes of %d, or a wrong checksum", len(body), length)
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, s, fmt.Errorf("snapshot: %w", err)
	}
	if s.Service != service || s.Prefix != prefix {
		return nil, s, fmt.Errorf("snapshot is of %q under %q, wanted %q under %q", clip(s.Service), clip(s.Prefix), service, prefix)
	}
	if len(s.Instances) > instancesMax {
		return nil, s, fmt.Errorf("snapshot has %d instances, at most %d are allowed", len(s.Instances), instancesMax)
	}
	seen := map[string]bool{}
	var instances []Instance
	for _, v := range s.Instances {
		var named struct{ ID string }
		if err := json.Unmarshal(v, &named); err != nil {
			return nil, s, fmt.Errorf("snapshot: %w", err)
		}
		i, err := decode(service, named.ID, v)
		if err != nil {
			return nil, s, fmt.Errorf("snapshot: %w", err)
		}
		if seen[i.ID] {
			return nil, s, fmt.Errorf("snapshot has %q twice", i.ID)
		}
		seen[i.ID] = true
		instances = append(instances, i)
	}
	return instances, s, nil
}

package file

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is time as a test wants it: settling is over at once after the last event, a poll comes when it is asked for.
type clock struct {
	poll chan time.Time
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	switch d {
	case poll:
		return c.poll
	case settle:
		return time.After(time.Millisecond) // real, because the events are
	}
	return nil
}

// watched is a watch on a real file and what it told.
type watched struct {
	t     *testing.T
	path  string
	clock clock
	told  chan string
	log   lockedBuffer
	*Watcher
}

func watch(t *testing.T, path string) *watched {
	t.Helper()
	w := &watched{t: t, path: path, clock: clock{make(chan time.Time)}, told: make(chan string, 100)}
	var err error
	w.Watcher, err = Watch(Config{
		Path: path, Changed: func(text []byte) { w.told <- string(text) }, After: w.clock.after,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// want waits until the watch has told of a content. What was seen half-way before it is let pass: a real clock would have
// waited it out.
func (w *watched) want(text string) {
	w.t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case got := <-w.told:
			if got == text {
				return
			}
			w.t.Logf("on the way: %q", got)
		case <-deadline:
			w.t.Fatalf("nobody told of %q", text)
		}
	}
}

// settled makes the watch look once more, and twice, so that the first look is over; nothing new may come of it.
func (w *watched) settled() {
	w.t.Helper()
	w.clock.poll <- time.Time{}
	w.clock.poll <- time.Time{}
	select {
	case got := <-w.told:
		w.t.Errorf("told of %q, though nothing changed", got)
	default:
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The ways to save. Each is done three times over, because the second time is where a watch on an inode is blind.
func TestWaysToSave(t *testing.T) {
	ways := map[string]func(t *testing.T, path, text string){
		"truncate and write": write,
		"rename over it": func(t *testing.T, path, text string) { // vim with backupcopy=no, sed -i, kubectl cp, most programs
			write(t, path+".tmp", text)
			do(t, os.Rename(path+".tmp", path))
		},
		"move away, then write anew": func(t *testing.T, path, text string) { // vim with a backup, emacs
			do(t, os.Rename(path, path+"~"))
			write(t, path, text)
		},
		"remove, then write anew": func(t *testing.T, path, text string) {
			do(t, os.Remove(path))
			write(t, path, text)
		},
		"turn a link": func(t *testing.T, path, text string) { // ln -sfn
			target := filepath.Join(t.TempDir(), "release")
			write(t, target, text)
			do(t, os.Symlink(target, path+".tmp"))
			do(t, os.Rename(path+".tmp", path))
		},
	}
	for name, save := range ways {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gateway.yaml")
			write(t, path, "zero")
			w := watch(t, path)
			for _, text := range []string{"one", "two", "three"} {
				save(t, path, text)
				w.want(text)
			}
			w.settled()
		})
	}
}

// A ConfigMap in a pod: gateway.yaml -> ..data/gateway.yaml, ..data -> ..2026_1; an update makes ..2026_2 and turns ..data.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	update := func(version, text string) {
		t.Helper()
		do(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version, "gateway.yaml"), text)
		do(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		do(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	update("..2026_1", "zero")
	path := filepath.Join(dir, "gateway.yaml")
	do(t, os.Symlink("..data/gateway.yaml", path))
	w := watch(t, path)
	for i, text := range []string{"one", "two", "three"} {
		update("..2026_"+string(rune('2'+i)), text)
		w.want(text)
		do(t, os.RemoveAll(filepath.Join(dir, "..2026_"+string(rune('1'+i)))))
	}
	w.settled()
}

// The path is a link into another folder, and the file there is saved.
func TestFileBehindALinkIsSaved(t *testing.T) {
	target := filepath.Join(t.TempDir(), "real.yaml")
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, target, "zero")
	do(t, os.Symlink(target, path))
	w := watch(t, path)
	write(t, target, "one")
	w.want("one")
}

// The file vanishes: that is said once, nobody is told of an empty content, and when the file comes back with
// another content that is seen.
func TestFileVanishesAndComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, path, "zero")
	w := watch(t, path)
	do(t, os.Remove(path))
	for range 3 {
		w.settled()
	}
	if n := strings.Count(w.log.String(), "cannot be read"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.log.String())
	}
	write(t, path+".tmp", "zero") // in one step: the test's clock does not wait for the second half of a file
	do(t, os.Rename(path+".tmp", path))
	w.settled()
	write(t, path, "one")
	w.want("one")
	if !strings.Contains(w.log.String(), "again") {
		t.Errorf("nobody said that it is back:\n%s", w.log.String())
	}
}

// The whole folder is moved away and made anew, of which no event tells: the poll sees it, and events work again.
func TestFolderIsMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	path := filepath.Join(dir, "gateway.yaml")
	do(t, os.Mkdir(dir, 0o700))
	write(t, path, "zero")
	w := watch(t, path)
	do(t, os.Rename(dir, dir+".old"))
	do(t, os.Mkdir(dir, 0o700))
	write(t, path, "one")
	w.clock.poll <- time.Time{}
	w.want("one")
	write(t, path, "two")
	w.want("two")
}

// The file was saved between being read and being watched.
func TestChangeBeforeTheWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, path, "one")
	told := make(chan string, 1)
	w, err := Watch(Config{Path: path, Known: []byte("zero"), Changed: func(text []byte) { told <- string(text) }})
	do(t, err)
	defer w.Close()
	if got := <-told; got != "one" {
		t.Errorf("told of %q", got)
	}
}

// Nobody tells of a change (NFS): the poll finds it.
func TestPollFindsWhatNobodyTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, path, "zero")
	w := watch(t, path)
	do(t, w.notify.Remove(filepath.Dir(path)))
	write(t, path, "one")
	w.clock.poll <- time.Time{}
	w.want("one")
}

// A file that is written without a pause is read all the same, after settleMax; one that is left alone is read once.
func TestSettling(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, path, "zero")
	asked := make(chan time.Duration, 100)
	quiet, enough := make(chan time.Time), make(chan time.Time)
	told := make(chan string, 100)
	w, err := Watch(Config{Path: path, Changed: func(text []byte) { told <- string(text) }, After: func(d time.Duration) <-chan time.Time {
		asked <- d
		switch d {
		case settle:
			return quiet
		case settleMax:
			return enough
		}
		return nil
	}})
	do(t, err)
	defer w.Close()
	await := func(want time.Duration) {
		t.Helper()
		for {
			select {
			case d := <-asked:
				if d == want {
					return
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("nobody asked for a timer of %v", want)
			}
		}
	}
	write(t, path, "one")
	await(settle)
	write(t, path, "two")
	await(settle)
	if len(told) > 0 {
		t.Fatalf("told of %q while the file was being written", <-told)
	}
	enough <- time.Time{}
	if got := <-told; got != "two" {
		t.Errorf("told of %q", got)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Watch(Config{Path: filepath.Join(dir, "no", "folder", "x"), Changed: func([]byte) {}}); err == nil {
		t.Error("a folder that does not exist is watched")
	}
}

package revision

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func openAt(t *testing.T, dir string, keep int) *History {
	t.Helper()
	h, err := Open(Config{Directory: dir, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func appendText(t *testing.T, h *History, origin, text string) Revision {
	t.Helper()
	r, err := h.Append(noon, origin, "gateway.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// story lists a history the way a person would note it.
func story(t *testing.T, h *History) string {
	t.Helper()
	var lines []string
	for _, r := range h.List() {
		full, err := h.Get(r.Number)
		if err != nil {
			t.Fatal(err)
		}
		if full.SHA256 != Sum(full.Text) || full.SHA256 != r.SHA256 || !full.Time.Equal(noon) || full.Name != "gateway.yaml" {
			t.Errorf("revision %d is %+v", r.Number, full)
		}
		lines = append(lines, fmt.Sprintf("%d %s %s", r.Number, r.Origin, full.Text))
	}
	return strings.Join(lines, ", ")
}

func TestHistoryOverARestart(t *testing.T) {
	for _, kind := range []string{"on disk", "in memory"} {
		t.Run(kind, func(t *testing.T) {
			dir := ""
			if kind == "on disk" {
				dir = filepath.Join(t.TempDir(), "a", "b") // neither exists
			}
			h := openAt(t, dir, 3)
			for i := range 5 {
				appendText(t, h, "file", fmt.Sprint("text", i))
			}
			if got, want := story(t, h), "3 file text2, 4 file text3, 5 file text4"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if _, err := h.Get(2); !errors.Is(err, ErrNone) {
				t.Errorf("a revision past the last kept: %v", err)
			}
			if dir == "" {
				return
			}
			h = openAt(t, dir, 2)
			appendText(t, h, "rollback to 4", "text3")
			if got, want := story(t, h), "5 file text4, 6 rollback to 4 text3"; got != want {
				t.Errorf("after a restart:\ngot  %s\nwant %s", got, want)
			}
			if names, _ := listNames(dir); !slices.Equal(names, []string{"00000005.revision", "00000006.revision"}) {
				t.Errorf("files: %v", names)
			}
		})
	}
}

// A successor in an upgrade records a revision and fails; the old process goes on and gives the next number.
func TestTwoProcessesGiveNoNumberTwice(t *testing.T) {
	dir := t.TempDir()
	old := openAt(t, dir, 0)
	appendText(t, old, "file", "one")
	appendText(t, openAt(t, dir, 0), "file", "two")
	if r := appendText(t, old, "file", "three"); r.Number != 3 {
		t.Errorf("the old process gave %d, want 3", r.Number)
	}
}

func TestEmptyHistoryHasNoLatest(t *testing.T) {
	if _, err := openAt(t, t.TempDir(), 0).Latest(); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
}

// The file of the latest revision ends at every byte, or one of its bits is flipped: it is skipped with a word in the log,
// the one before is the latest, and its number is not given again.
func TestTornAndFlippedFilesAreSkipped(t *testing.T) {
	dir := t.TempDir()
	h := openAt(t, dir, 0)
	appendText(t, h, "file", "listen: \":1\"\n")
	appendText(t, h, "admin", "listen: \":2\"\n\n# end\n")
	path := filepath.Join(dir, fileName(2))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(t *testing.T, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, fileMode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		h, err := Open(Config{Directory: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := h.Latest(); err != nil || r.Number != 1 {
			t.Fatalf("latest is %d, %v; want 1", r.Number, err)
		}
		if h.mu.last != 2 {
			t.Fatalf("the number %d would be given again", h.mu.last+1)
		}
		if !strings.Contains(log.String(), "00000002.revision") {
			t.Fatalf("the log says %q", log.String())
		}
	}
	for n := range whole {
		damaged(t, whole[:n])
	}
	for n := range whole {
		flipped := slices.Clone(whole)
		flipped[n] ^= 1 << (n % 8)
		damaged(t, flipped)
	}
	if err := os.WriteFile(path, whole, fileMode); err != nil {
		t.Fatal(err)
	}
	if got, want := story(t, openAt(t, dir, 0)), "1 file listen: \":1\"\n, 2 admin listen: \":2\"\n\n# end\n"; got != want {
		t.Errorf("whole again:\ngot  %q\nwant %q", got, want)
	}
}

// A file that was copied over another is whole, and is not that revision.
func TestFileOfAnotherNumberIsSkipped(t *testing.T) {
	dir := t.TempDir()
	h := openAt(t, dir, 0)
	appendText(t, h, "file", "one")
	if err := os.Rename(filepath.Join(dir, fileName(1)), filepath.Join(dir, fileName(7))); err != nil {
		t.Fatal(err)
	}
	h = openAt(t, dir, 0)
	if len(h.List()) != 0 {
		t.Errorf("kept: %v", h.List())
	}
	if r := appendText(t, h, "file", "two"); r.Number != 8 {
		t.Errorf("the next number is %d, want 8", r.Number)
	}
}

// Each step of writing fails once, as on a full disk: the error says what and why, the history is as before, a restart
// finds the same, and the next Append works.
func TestFailureAtEachStepOfWriting(t *testing.T) {
	steps := map[string]func(*files){
		"write": func(f *files) {
			f.write = func(path string, content []byte) error {
				_ = os.WriteFile(path, content[:len(content)/2], fileMode) // what there was room for
				return syscall.ENOSPC
			}
		},
		"rename": func(f *files) { f.rename = func(string, string) error { return syscall.ENOSPC } },
		"sync":   func(f *files) { f.syncDir = func(string) error { return syscall.EIO } },
	}
	for name, spoil := range steps {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := openAt(t, dir, 0)
			appendText(t, h, "file", "one")
			spoil(&h.files)
			_, err := h.Append(noon, "file", "gateway.yaml", []byte("two"))
			if err == nil || !strings.Contains(err.Error(), dir) || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
				t.Fatalf("the error says %v", err)
			}
			if got := story(t, h); got != "1 file one" {
				t.Errorf("now it is %s", got)
			}
			if got := story(t, openAt(t, dir, 0)); got != "1 file one" {
				t.Errorf("after a restart it is %s", got)
			}
			h.files = systemFiles
			appendText(t, h, "file", "three")
			if got, want := story(t, h), "1 file one, 3 file three"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// What a crash left between creating a file and renaming it is removed, and what is not ours is not touched.
func TestLeftoversOfACrash(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{fileName(3) + unfinished, "notes.txt", "3.revision"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), fileMode); err != nil {
			t.Fatal(err)
		}
	}
	h := openAt(t, dir, 0)
	if names, _ := listNames(dir); !slices.Equal(names, []string{"3.revision", "notes.txt"}) {
		t.Errorf("left: %v", names)
	}
	if r := appendText(t, h, "file", "one"); r.Number != 1 {
		t.Errorf("the first number is %d", r.Number)
	}
}

func TestDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Directory: filepath.Join(file, "sub")}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyTheOwnerReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	appendText(t, openAt(t, dir, 0), "file", "secret")
	for path, want := range map[string]os.FileMode{dir: dirMode, filepath.Join(dir, fileName(1)): fileMode} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %o", path, info.Mode(), err, want)
		}
	}
}

package binlog_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/binlog"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// history checks that no change is missing: each row counts its own changes from 1, so a consumer sees for each key a
// number, the next, or an older one again, unless an epoch has come in between.
type history struct {
	seen   map[string]int64
	epochs map[cdc.Reason]int
	wrong  []string
}

func newHistory() *history {
	return &history{seen: make(map[string]int64), epochs: make(map[cdc.Reason]int)}
}

func (h *history) add(e cdc.Event) {
	if e.Kind == cdc.Epoch {
		h.epochs[e.Reason]++
		clear(h.seen)
		return
	}
	if e.Table != "counts" {
		return
	}
	value, ok := e.After.Get("v")
	if !ok {
		h.wrong = append(h.wrong, fmt.Sprintf("no column v in %s", story([]cdc.Event{e})))
		return
	}
	v := value.(int64)
	if last, known := h.seen[e.Key]; known && v > last+1 {
		h.wrong = append(h.wrong, fmt.Sprintf("key %s: %d after %d", e.Key, v, last))
	}
	h.seen[e.Key] = v
}

// writer changes rows until it is stopped, and passes over errors: what was not answered may have been committed.
type writer struct {
	db   *sql.DB
	done sync.WaitGroup
	stop context.CancelFunc
}

const keys = 5

func write(t *testing.T, s *mariadb.Server, database string) *writer {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(database)+"&timeout=1s&readTimeout=2s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{db: db, stop: cancel}
	for k := range keys {
		w.done.Go(func() {
			pause := time.NewTicker(2 * time.Millisecond)
			defer pause.Stop()
			for ctx.Err() == nil {
				_, _ = db.Exec("UPDATE counts SET v = v + 1 WHERE id = ?", k) // not ctx: one that is under way ends before end does
				<-pause.C
			}
		})
	}
	t.Cleanup(w.end)
	return w
}

func (w *writer) end() {
	w.stop()
	w.done.Wait()
	_ = w.db.Close()
}

func prepareCounts(t *testing.T, db *sql.DB) {
	t.Helper()
	run(t, db, "CREATE TABLE counts (id INT PRIMARY KEY, v BIGINT NOT NULL)", "CREATE TABLE marks (id INT PRIMARY KEY)")
	for k := range keys {
		run(t, db, fmt.Sprintf("INSERT INTO counts VALUES (%d, 0)", k))
	}
}

// settled waits until a mark has come through, checks the history, and compares what it says with the table.
func settled(t *testing.T, r *recorder, db *sql.DB, mark int) *history {
	t.Helper()
	run(t, db, fmt.Sprintf("INSERT INTO marks VALUES (%d)", mark))
	events := r.wait(t, func(events []cdc.Event) bool {
		for _, e := range events {
			if e.Table == "marks" && e.Key == strconv.Itoa(mark) {
				return true
			}
		}
		return false
	})
	h := newHistory()
	for _, e := range events {
		h.add(e)
	}
	for _, w := range h.wrong {
		t.Error(w)
	}
	rows, err := db.Query("SELECT id, v FROM counts")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var v int64
		if err := rows.Scan(&id, &v); err != nil {
			t.Fatal(err)
		}
		if seen, known := h.seen[id]; known && seen != v {
			t.Errorf("key %s is %d, and %d was told", id, v, seen)
		}
	}
	return h
}

// more waits for another n events.
func more(t *testing.T, r *recorder, n int) {
	t.Helper()
	r.mu.Lock()
	had := len(r.events)
	r.mu.Unlock()
	r.wait(t, func(e []cdc.Event) bool { return len(e) >= had+n })
}

// The server is killed, restarted and frozen, and a table altered, while rows change; then the source is stopped and what
// it would need next is taken away.
func TestNothingIsMissedOverOutages(t *testing.T) {
	s := mariadb.Start(t)
	database := s.Database(t)
	db := s.Open(t, database)
	db.SetMaxIdleConns(0)
	prepareCounts(t, db)
	store := cdc.File(filepath.Join(t.TempDir(), "checkpoint"))
	r := newRecorder()
	source, stop := follow(t, config(s, database, store), r.handle)
	r.wait(t, started)
	w := write(t, s, database)
	more(t, r, 50)

	s.Kill()
	s.Restart(t)
	more(t, r, 50)
	s.Stop(t)
	s.Restart(t)
	more(t, r, 50)

	sessions := source.Stats().Sessions
	s.Freeze()
	silent := time.NewTicker(10 * time.Millisecond)
	defer silent.Stop()
	for source.Stats().Connected {
		<-silent.C
	}
	s.Thaw()
	more(t, r, 50)
	if got := source.Stats(); got.Sessions <= sessions || got.SessionFailures == 0 {
		t.Errorf("%+v", got)
	}

	run(t, db, "ALTER TABLE counts ADD before_v VARCHAR(10) DEFAULT 'x' AFTER id")
	more(t, r, 50)
	run(t, db, "FLUSH BINARY LOGS")
	more(t, r, 50)
	w.end()
	h := settled(t, r, db, 1)
	if got := fmt.Sprint(h.epochs); got != "map[schema:1 start:1]" {
		t.Errorf("epochs: %s", got)
	}

	// Stopped and started again: no epoch, and what changed meanwhile is told.
	_ = stop()
	run(t, db, "UPDATE counts SET v = v + 1")
	_, stop = follow(t, config(s, database, store), r.handle)
	h = settled(t, r, db, 2)
	if h.epochs[cdc.Gap]+h.epochs[cdc.History] != 0 || h.seen["0"] == 0 {
		t.Errorf("epochs: %v, seen: %v", h.epochs, h.seen)
	}

	// What it did not read is purged.
	_ = stop()
	run(t, db, "UPDATE counts SET v = v + 1", "FLUSH BINARY LOGS", "UPDATE counts SET v = v + 1")
	purge(t, db)
	_, stop = follow(t, config(s, database, store), r.handle)
	epochs(t, r, 3)
	if h = settled(t, r, db, 3); h.epochs[cdc.Gap] != 1 {
		t.Errorf("epochs: %v", h.epochs)
	}

	// The binlog begins anew, shorter than the checkpoint.
	_ = stop()
	run(t, db, "RESET MASTER", "UPDATE counts SET v = v + 1")
	_, stop = follow(t, config(s, database, store), r.handle)
	epochs(t, r, 4)
	if h = settled(t, r, db, 4); h.epochs[cdc.Gap]+h.epochs[cdc.History] != 2 {
		t.Errorf("epochs: %v", h.epochs)
	}

	// And it begins anew and has passed the number of the checkpoint, which the server would take for its own.
	_ = stop()
	run(t, db, "RESET MASTER")
	for range 50 {
		run(t, db, "UPDATE counts SET v = v + 1 WHERE id = 1")
	}
	source, stop = follow(t, config(s, database, store), r.handle)
	epochs(t, r, 5)
	if h = settled(t, r, db, 5); h.epochs[cdc.Gap]+h.epochs[cdc.History] != 3 {
		t.Errorf("epochs: %v", h.epochs)
	}

	// The same while it is connected.
	w = write(t, s, database)
	more(t, r, 20)
	run(t, db, "FLUSH BINARY LOGS")
	run(t, db, "RESET MASTER")
	more(t, r, 50)
	w.end()
	settled(t, r, db, 6)

	// The file of the checkpoint is torn.
	_ = stop()
	if err := os.WriteFile(fileOf(store), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := source.Stats().Epoch
	told := len(epochsOf(r.wait(t, started)))
	source, _ = follow(t, config(s, database, store), r.handle)
	epochs(t, r, told+1)
	if h = settled(t, r, db, 7); h.epochs[cdc.Start] != 2 || source.Stats().Epoch <= before {
		t.Errorf("epochs: %v, %d after %d", h.epochs, source.Stats().Epoch, before)
	}
}

// epochs waits for so many in all. What is written before one is not told.
func epochs(t *testing.T, r *recorder, n int) {
	t.Helper()
	r.wait(t, func(events []cdc.Event) bool { return len(epochsOf(events)) >= n })
}

func epochsOf(events []cdc.Event) (epochs []cdc.Event) {
	for _, e := range events {
		if e.Kind == cdc.Epoch {
			epochs = append(epochs, e)
		}
	}
	return epochs
}

func fileOf(s cdc.Store) string { return fmt.Sprint(s) }

// purge removes all binlogs but the last.
func purge(t *testing.T, db *sql.DB) {
	t.Helper()
	run(t, db, "FLUSH BINARY LOGS")
	var file, do, ignore string
	var offset uint64
	if err := db.QueryRow("SHOW MASTER STATUS").Scan(&file, &offset, &do, &ignore); err != nil {
		t.Fatal(err)
	}
	// The server keeps files that a transaction may still need for a moment.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		run(t, db, "PURGE BINARY LOGS TO '"+file+"'")
		var n int
		rows, err := db.Query("SHOW BINARY LOGS")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			n++
		}
		_ = rows.Close()
		if n == 1 {
			return
		}
		<-tick.C
	}
}

// A process with a source is killed by SIGKILL after handling and before the checkpoint, again and again.
func TestAKilledProcessRepeatsAndLosesNothing(t *testing.T) {
	if os.Getenv("CDC_TEST_ADDR") != "" {
		child(t)
		return
	}
	s := mariadb.Shared(t)
	database := s.Database(t)
	db := s.Open(t, database)
	prepareCounts(t, db)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	w := write(t, s, database)
	wrote := 0
	for range 4 {
		cmd := childProcess(dir, s.Addr(), database, t.Name())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 30 && lines.Scan(); n++ {
			wrote++
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	w.end()
	if wrote < 100 {
		t.Fatalf("%d events in all", wrote)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	epochs, repeated := 0, 0
	for line := range strings.Lines(string(text)) {
		var key string
		var v int
		if n, _ := fmt.Sscanf(line, "%s %d\n", &key, &v); n != 2 {
			continue // torn by the kill; it comes again
		}
		if key == "epoch" {
			epochs++
			continue
		}
		if last, known := seen[key]; known && v > last+1 {
			t.Errorf("key %s: %d after %d", key, v, last)
		} else if known && v <= last {
			repeated++
		}
		seen[key] = v
	}
	if epochs != 1 || repeated == 0 {
		t.Errorf("%d epochs, %d events came again", epochs, repeated)
	}
}

func childProcess(dir, addr, database, name string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), "CDC_TEST_ADDR="+addr, "CDC_TEST_DATABASE="+database, "CDC_TEST_DIR="+dir)
	return cmd
}

// child writes each event to a file and says so, and saves its position only now and then.
func child(t *testing.T) {
	dir := os.Getenv("CDC_TEST_DIR")
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	source, err := binlog.New(binlog.Config{
		Addr: os.Getenv("CDC_TEST_ADDR"), User: "root", Tables: []string{os.Getenv("CDC_TEST_DATABASE") + ".counts"},
		Checkpoints: cdc.File(filepath.Join(dir, "checkpoint")), CheckpointEvery: 30 * time.Millisecond, BatchEvents: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Fatal(source.Run(context.Background(), func(_ context.Context, events []cdc.Event) error {
		for _, e := range events {
			line := "epoch 1\n"
			if v, ok := e.After.Get("v"); ok {
				line = fmt.Sprintf("%s %d\n", e.Key, v)
			}
			if _, err := log.WriteString(line); err != nil {
				return err
			}
			_, _ = os.Stdout.WriteString(line)
		}
		return nil
	}))
}

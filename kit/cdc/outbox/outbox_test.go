package outbox_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/outbox"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sqliteDSN(file string) string {
	return "file:" + file + "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(20000)&_txlock=immediate"
}

// onEach runs a test on SQLite and on MariaDB.
func onEach(t *testing.T, f func(t *testing.T, db *sql.DB, dialect outbox.Dialect)) {
	t.Run("sqlite", func(t *testing.T) {
		db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(t.TempDir(), "test.db")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		f(t, db, outbox.SQLite)
	})
	t.Run("mariadb", func(t *testing.T) {
		s := mariadb.Shared(t)
		f(t, s.Open(t, s.Database(t)), outbox.MySQL)
	})
}

func create(t *testing.T, db *sql.DB, dialect outbox.Dialect) *outbox.Outbox {
	t.Helper()
	box, err := outbox.New(outbox.Config{DB: db, Dialect: dialect})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := box.CreateTables(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return box
}

// collector is a Handler that checks the order: payloads of a key count from 1.
type collector struct {
	mu       sync.Mutex
	seen     map[string]int
	repeated int
	wrong    []string
	all      []cdc.Event
	fresh    chan struct{}
}

func newCollector() *collector {
	return &collector{seen: make(map[string]int), fresh: make(chan struct{}, 1)}
}

func (c *collector) handle(_ context.Context, events []cdc.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.all = append(c.all, e)
		n, err := strconv.Atoi(string(e.Payload))
		if err != nil {
			continue
		}
		switch last := c.seen[e.Key]; {
		case n > last+1:
			c.wrong = append(c.wrong, fmt.Sprintf("key %s: %d after %d", e.Key, n, last))
		case n <= last:
			c.repeated++
		}
		c.seen[e.Key] = n
	}
	select {
	case c.fresh <- struct{}{}:
	default:
	}
	return nil
}

const patience = 60 * time.Second

func (c *collector) wait(t *testing.T, enough func() bool) {
	t.Helper()
	end := time.After(patience)
	for {
		c.mu.Lock()
		ok := enough()
		c.mu.Unlock()
		if ok {
			break
		}
		select {
		case <-c.fresh:
		case <-end:
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Fatalf("it does not come; there are %d events: %v", len(c.all), c.seen)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wrong {
		t.Error(w)
	}
}

func (c *collector) upTo(keys, n int) func() bool {
	return func() bool {
		for k := range keys {
			if c.seen["k"+strconv.Itoa(k)] != n {
				return false
			}
		}
		return true
	}
}

func tail(t *testing.T, box *outbox.Outbox, handle cdc.Handler) (*outbox.Tailer, func() error) {
	t.Helper()
	tailer, err := outbox.NewTailer(outbox.TailerConfig{
		Outbox: box, BatchEvents: 20, Poll: 10 * time.Millisecond, Lease: time.Second, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tailer.Run(ctx, handle) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return tailer, stop
}

func do(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// count adds one to a row and says so, in one transaction.
func count(ctx context.Context, db *sql.DB, box *outbox.Outbox, key int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "UPDATE counts SET v = v + 1 WHERE id = ?", key); err != nil {
		return err
	}
	var v int
	if err := tx.QueryRowContext(ctx, "SELECT v FROM counts WHERE id = ?", key).Scan(&v); err != nil {
		return err
	}
	if err := box.Append(ctx, tx, outbox.Message{Topic: "counts", Key: "k" + strconv.Itoa(key), Payload: []byte(strconv.Itoa(v))}); err != nil {
		return err
	}
	return tx.Commit()
}

func prepareCounts(t *testing.T, db *sql.DB, keys int) {
	t.Helper()
	do(t, db, "CREATE TABLE counts (id INT PRIMARY KEY, v INT NOT NULL)")
	for k := range keys {
		do(t, db, fmt.Sprintf("INSERT INTO counts VALUES (%d, 0)", k))
	}
}

func TestSeveralTailersKeepTheOrderOfEachKey(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect outbox.Dialect) {
		const keys, times = 8, 25
		box := create(t, db, dialect)
		prepareCounts(t, db, keys)
		c := newCollector()
		fails := 0
		for range 3 {
			tail(t, box, func(ctx context.Context, events []cdc.Event) error {
				c.mu.Lock()
				fails++
				fail := fails%5 == 0
				c.mu.Unlock()
				if fail {
					return errors.New("not now")
				}
				return c.handle(ctx, events)
			})
		}
		var writers sync.WaitGroup
		for k := range keys {
			writers.Go(func() {
				for range times {
					if err := count(t.Context(), db, box, k); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		c.wait(t, c.upTo(keys, times))
		// All that was handed over is deleted.
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 1; n > 0; <-tick.C {
			var err error
			if n, _, err = box.Waiting(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The message with the smaller number is committed after the other one was handed over and deleted.
func TestCommitsInAnotherOrderThanNumbers(t *testing.T) {
	s := mariadb.Shared(t)
	db := s.Open(t, s.Database(t))
	box := create(t, db, outbox.MySQL)
	c := newCollector()
	tail(t, box, c.handle)
	begin := func(payload string) *sql.Tx {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := box.Append(t.Context(), tx, outbox.Message{Key: "same", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	first, second, third := begin("first"), begin("second"), begin("third")
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func() bool { return len(c.all) == 1 })
	if err := third.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func() bool { return len(c.all) == 2 })
	var got []string
	for _, e := range c.all {
		got = append(got, e.Transaction+" "+string(e.Payload))
	}
	if strings.Join(got, ", ") != "2 second, 1 first" {
		t.Error(got)
	}
}

func TestWhatAnEventHolds(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect outbox.Dialect) {
		box := create(t, db, dialect)
		c := newCollector()
		tailer, stop := tail(t, box, c.handle)
		before := time.Now().Add(-time.Minute)
		if err := box.Append(t.Context(), db0{db}, outbox.Message{Topic: "t", Key: "A\x00ä", Payload: []byte{0, 0xff}}, outbox.Message{}); err != nil {
			t.Fatal(err)
		}
		tailer.Wake()
		c.wait(t, func() bool { return len(c.all) == 2 })
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		e := c.all[0]
		if !e.Time.After(before) || e.Time.After(time.Now().Add(time.Minute)) {
			t.Error(e.Time)
		}
		e.Time = time.Time{}
		got := fmt.Sprintf("%+v", e)
		want := fmt.Sprintf("%+v", cdc.Event{Source: "outbox", Kind: cdc.Message, Topic: "t", Key: "A\x00ä", Payload: []byte{0, 0xff}, Transaction: "1", Last: true})
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if s := tailer.Stats(); s.Events != 2 || s.Fresh.IsZero() || s.Connected {
			t.Errorf("%+v", s)
		}
	})
}

// db0 is a transaction of one statement.
type db0 struct{ *sql.DB }

func TestBoundsOfAMessage(t *testing.T) {
	box, err := outbox.New(outbox.Config{DB: &sql.DB{}, Dialect: outbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []outbox.Message{
		{Topic: strings.Repeat("x", outbox.TopicBytesMax+1)}, {Key: strings.Repeat("x", outbox.KeyBytesMax+1)}, {Payload: make([]byte, outbox.PayloadBytesMax+1)},
	} {
		if err := box.Append(t.Context(), nil, m); !errors.Is(err, outbox.ErrMessage) {
			t.Error(err)
		}
	}
	_, err = outbox.New(outbox.Config{Table: "a b"})
	for _, field := range []string{"DB", "Dialect", "Table"} {
		if err == nil || !strings.Contains(err.Error(), "outbox: "+field) {
			t.Errorf("%v lacks %s", err, field)
		}
	}
}

func TestWithoutTables(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, dialect outbox.Dialect) {
		box, err := outbox.New(outbox.Config{DB: db, Dialect: dialect})
		if err != nil {
			t.Fatal(err)
		}
		tailer, err := outbox.NewTailer(outbox.TailerConfig{Outbox: box})
		if err != nil {
			t.Fatal(err)
		}
		if err := tailer.Run(t.Context(), nil); !errors.Is(err, outbox.ErrNoTables) {
			t.Error(err)
		}
	})
}

// The server is killed and frozen while a tailer reads.
func TestTheServerIsGoneForATime(t *testing.T) {
	s := mariadb.Start(t)
	name := s.Database(t)
	db, err := sql.Open("mysql", s.DSN(name)+"&timeout=1s&readTimeout=1s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	box := create(t, db, outbox.MySQL)
	prepareCounts(t, db, 3)
	c := newCollector()
	tailer, _ := tail(t, box, c.handle)
	add := func(upTo int) {
		for k := range 3 {
			for {
				var v int
				if err := db.QueryRow("SELECT v FROM counts WHERE id = ?", k).Scan(&v); err == nil && v >= upTo {
					break
				}
				_ = count(t.Context(), db, box, k)
			}
		}
		c.wait(t, c.upTo(3, upTo))
	}
	add(5)
	s.Kill()
	s.Restart(t)
	add(10)
	failures := tailer.Stats().SessionFailures
	s.Freeze()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for tailer.Stats().SessionFailures == failures {
		<-tick.C
	}
	s.Thaw()
	add(15)
}

// Processes with tailers are killed by SIGKILL between handling and deleting, and the last one takes over.
func TestAKilledTailerRepeatsAndLosesNothing(t *testing.T) {
	if file := os.Getenv("OUTBOX_TEST_FILE"); file != "" {
		child(t, file)
		return
	}
	const keys, times = 4, 40
	file := filepath.Join(t.TempDir(), "test.db")
	db, err := sql.Open("sqlite", sqliteDSN(file))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	box := create(t, db, outbox.SQLite)
	prepareCounts(t, db, keys)
	for k := range keys {
		for range times {
			if err := count(t.Context(), db, box, k); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := newCollector()
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "OUTBOX_TEST_FILE="+file)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 30 && lines.Scan(); n++ {
			key, payload, _ := strings.Cut(lines.Text(), " ")
			_ = c.handle(t.Context(), []cdc.Event{{Key: key, Payload: []byte(payload)}})
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	tail(t, box, c.handle)
	c.wait(t, c.upTo(keys, times))
	if c.repeated == 0 {
		t.Error("nothing was repeated, so nothing was tested")
	}
}

// child says what it handles and never gets to delete the last of it.
func child(t *testing.T, file string) {
	db, err := sql.Open("sqlite", sqliteDSN(file))
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.New(outbox.Config{DB: db, Dialect: outbox.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	tailer, err := outbox.NewTailer(outbox.TailerConfig{Outbox: box, BatchEvents: 16, Lease: time.Second, Poll: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	t.Fatal(tailer.Run(context.Background(), func(_ context.Context, events []cdc.Event) error {
		for _, e := range events {
			_, _ = os.Stdout.WriteString(e.Key + " " + string(e.Payload) + "\n")
			n++
		}
		if n >= 30 {
			select {} // killed here
		}
		return nil
	}))
}

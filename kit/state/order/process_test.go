//go:build unix

package order_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/internal/servers/self"
	"github.com/yumen-io/yumen/kit/state"
	"github.com/yumen-io/yumen/kit/state/order"
)

// Real processes: the test binary runs itself as consumers that are given the messages of all orders again and again, in any order, and
// kills them with SIGKILL at random moments. Beside each step stands a posting, which no unique key protects: in the end each
// message has one, and each order is where its messages lead.

func TestMain(m *testing.M) {
	self.Main(consume)
	goleak.VerifyTestMain(m)
}

// stories are what happens to orders; an order has that of its number. No message of one is allowed before those ahead of it, so that the
// order in which they are delivered does not matter.
var stories = [][]order.Event{
	{order.Pay, order.Ship, order.Complete},
	{order.Pay, order.Refund, order.RefundSettle},
	{order.Cancel},
}

const orders = 60

func storyOf(id int) []order.Event { return stories[id%len(stories)] }

// told is what a consumer is told.
type told struct{ Driver, DSN string }

func rowsOf(driver string) (*state.Table[order.State, order.Event], error) {
	d := state.SQLite
	if driver == "mysql" {
		d = state.MySQL
	}
	return order.Machine().NewTable(state.TableConfig{Dialect: d, Table: "orders"})
}

// consume applies messages until it is killed.
func consume(ctx context.Context, text string) error {
	var to told
	if err := json.Unmarshal([]byte(text), &to); err != nil {
		return err
	}
	rows, err := rowsOf(to.Driver)
	if err != nil {
		return err
	}
	db, err := sql.Open(to.Driver, to.DSN)
	if err != nil {
		return err
	}
	defer db.Close()
	self.Ready()
	for ctx.Err() == nil {
		id := 1 + rand.IntN(orders)
		n := rand.IntN(len(storyOf(id)))
		err := apply(ctx, db, rows, id, n)
		if err != nil && !errors.Is(err, state.ErrNotAllowed) && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("order %d, message %d: %w", id, n, err)
		}
	}
	return nil
}

// apply makes a step and its posting, which are one commit.
func apply(ctx context.Context, db *sql.DB, rows *state.Table[order.State, order.Event], id, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	event := storyOf(id)[n]
	step, err := rows.Apply(ctx, tx, id, event, fmt.Sprintf("%d/%d", id, n))
	if err != nil {
		return err
	}
	if !step.Repeated {
		if _, err := tx.ExecContext(ctx, "INSERT INTO postings (id, event, version) VALUES (?, ?, ?)", id, event.String(), int64(step.Version)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func TestConsumersAreKilledAtAnyTime(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "orders.db")
		killConsumers(t, told{"sqlite", "file:" + (&url.URL{Path: path}).EscapedPath() +
			"?_txlock=deferred&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(20000)"})
	})
	t.Run("mariadb", func(t *testing.T) {
		s := mariadb.Shared(t)
		killConsumers(t, told{"mysql", s.DSN(s.Database(t))})
	})
}

func killConsumers(t *testing.T, to told) {
	db, err := sql.Open(to.Driver, to.DSN)
	must(t, err)
	defer db.Close()
	rows, err := rowsOf(to.Driver)
	must(t, err)
	for _, statement := range []string{"CREATE TABLE orders (id BIGINT PRIMARY KEY, state VARCHAR(32) NOT NULL, version BIGINT NOT NULL)",
		"CREATE TABLE postings (id BIGINT, event VARCHAR(32), version BIGINT)", rows.LogSchema()} {
		_, err := db.ExecContext(t.Context(), statement)
		must(t, err)
	}
	for id := range orders {
		_, err := db.ExecContext(t.Context(), "INSERT INTO orders VALUES (?, ?, 0)", id+1, order.Created.String())
		must(t, err)
	}
	text, err := json.Marshal(to)
	must(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const processes = 3
	var group [processes]*self.Process
	for i := range group {
		group[i] = self.Start(t, string(text))
	}
	want, left := 0, 0
	for id := range orders {
		want += len(storyOf(id + 1))
	}
	kills := 0
	look := time.NewTicker(3 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(time.Minute); ; <-look.C {
		must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM orders WHERE state NOT IN ('COMPLETED', 'CANCELLED', 'REFUNDED')").Scan(&left))
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d orders have not ended", left)
		}
		if i := rnd.IntN(4 * processes); i < processes {
			group[i].Kill()
			kills++
			group[i] = self.Start(t, string(text))
		}
	}
	for _, p := range group {
		p.Kill()
	}
	for id := range orders {
		id++
		at := order.Machine().Initial()
		for version, event := range storyOf(id) {
			at, _ = order.Machine().Next(at, event)
			n, v := 0, 0
			must(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*), COALESCE(MAX(version), 0) FROM postings WHERE id = ? AND event = ?", id, event.String()).Scan(&n, &v))
			if n != 1 || v != version+1 {
				t.Errorf("order %d has %d postings of %s, the last of version %d; want one of version %d", id, n, event, v, version+1)
			}
		}
		var got string
		var version int
		must(t, db.QueryRowContext(t.Context(), "SELECT state, version FROM orders WHERE id = ?", id).Scan(&got, &version))
		if got != at.String() || version != len(storyOf(id)) {
			t.Errorf("order %d is %s %d, want %s %d", id, got, version, at, len(storyOf(id)))
		}
	}
	t.Logf("%d messages, %d processes killed", want, kills)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

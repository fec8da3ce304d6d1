package mq_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/mq"
)

// databases runs f with SQLite and with MariaDB.
func databases(t *testing.T, f func(t *testing.T, o *mq.Offsets, db *sql.DB)) {
	run := func(t *testing.T, db *sql.DB) {
		o, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "g"})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := o.CreateTable(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.Exec("CREATE TABLE done (off BIGINT NOT NULL)"); err != nil {
			t.Fatal(err)
		}
		f(t, o, db)
	}
	t.Run("sqlite", func(t *testing.T) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		run(t, db)
	})
	t.Run("mariadb", func(t *testing.T) {
		s := mariadb.Shared(t)
		run(t, s.Open(t, s.Database(t)))
	})
}

func batch(topic string, epoch int64, offsets ...int64) mq.Batch {
	b := mq.Batch{Topic: topic, Partition: 3, Epoch: epoch}
	for _, o := range offsets {
		b.Messages = append(b.Messages, mq.Message{Topic: topic, Partition: 3, Offset: o})
	}
	return b
}

func insert(ctx context.Context, tx *sql.Tx, b mq.Batch) error {
	for _, m := range b.Messages {
		if _, err := tx.ExecContext(ctx, "INSERT INTO done (off) VALUES (?)", m.Offset); err != nil {
			return err
		}
	}
	return nil
}

func done(t *testing.T, db *sql.DB) (offsets []int64) {
	t.Helper()
	rows, err := db.Query("SELECT off FROM done")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var o int64
		if err := rows.Scan(&o); err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	return offsets
}

func TestWhatComesAgainIsDoneOnce(t *testing.T) {
	databases(t, func(t *testing.T, o *mq.Offsets, db *sql.DB) {
		p, err := o.Claim(t.Context(), "t", 3)
		if err != nil || p.Next != -1 || p.Epoch != 1 {
			t.Fatalf("%+v, %v", p, err)
		}
		h := o.Handler(insert)
		for _, b := range []mq.Batch{
			batch("t", 1, 5, 6, 9), // gaps are the queue's business
			batch("t", 1, 5, 6, 9), // all of it again
			batch("t", 1, 9, 10),   // a part of it
			batch("t", 1, 11),
		} {
			if err := h(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		if got := done(t, db); !slices.Equal(got, []int64{5, 6, 9, 10, 11}) {
			t.Fatalf("done %v", got)
		}
		if err := h(t.Context(), batch("t", 1, 12, 3)); err == nil {
			t.Fatal("offsets that go back within a batch were taken")
		}
		// Another consumer claims: it goes on behind, and the first is refused.
		p, err = o.Claim(t.Context(), "t", 3)
		if err != nil || p.Next != 12 || p.Epoch != 2 {
			t.Fatalf("%+v, %v", p, err)
		}
		if err := h(t.Context(), batch("t", 1, 12)); !errors.Is(err, mq.ErrFenced) {
			t.Fatalf("%v", err)
		}
		if err := h(t.Context(), batch("T", 2, 1)); !errors.Is(err, mq.ErrFenced) {
			t.Fatalf("a topic that nobody has claimed: %v", err)
		}
		if err := h(t.Context(), batch("t", 2, 12)); err != nil {
			t.Fatal(err)
		}
		if err := o.Forget(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		if p, err := o.Claim(t.Context(), "t", 3); err != nil || p.Next != -1 {
			t.Fatalf("forgotten: %+v, %v", p, err)
		}
	})
}

func TestErrorLeavesNeitherRowsNorOffset(t *testing.T) {
	databases(t, func(t *testing.T, o *mq.Offsets, db *sql.DB) {
		if _, err := o.Claim(t.Context(), "t", 3); err != nil {
			t.Fatal(err)
		}
		odd := errors.New("odd")
		fail := o.Handler(func(ctx context.Context, tx *sql.Tx, b mq.Batch) error {
			return errors.Join(insert(ctx, tx, b), odd)
		})
		var retry *mq.RetryError
		if err := fail(t.Context(), batch("t", 1, 1, 2)); !errors.Is(err, odd) || errors.As(err, &retry) {
			t.Fatalf("%v", err)
		}
		if err := o.Handler(insert)(t.Context(), batch("t", 1, 1)); err != nil {
			t.Fatal(err)
		}
		if got := done(t, db); !slices.Equal(got, []int64{1}) {
			t.Fatalf("done %v", got)
		}
		// The index of a poisoned message counts from the whole batch, of which the handler sees the rest.
		at := o.Handler(func(context.Context, *sql.Tx, mq.Batch) error { return mq.PoisonAt(1, odd) })
		var poison *mq.PoisonError
		if err := at(t.Context(), batch("t", 1, 1, 2, 3)); !errors.As(err, &poison) || poison.Index != 2 {
			t.Fatalf("%v", err)
		}
	})
}

// An unmarked error is a Retry when the database is gone, so that an outage buries nothing.
func TestDatabaseThatIsKilledIsARetry(t *testing.T) {
	s := mariadb.Start(t)
	db := s.Open(t, s.Database(t))
	o, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "g"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Claim(t.Context(), "t", 3); err != nil {
		t.Fatal(err)
	}
	h := o.Handler(func(ctx context.Context, tx *sql.Tx, _ mq.Batch) error {
		s.Kill()
		_, err := tx.ExecContext(ctx, "INSERT INTO done (off) VALUES (1)")
		return fmt.Errorf("in the program's words: %v", err)
	})
	var retry *mq.RetryError
	for range 2 { // in the handler, and before it
		if err := h(t.Context(), batch("t", 1, 1)); !errors.As(err, &retry) {
			t.Fatalf("%v", err)
		}
	}
	if _, err := o.Claim(t.Context(), "t", 3); err == nil {
		t.Fatal("claimed without a database")
	}
}

func TestOffsetsConfigNamesEveryBadField(t *testing.T) {
	_, err := mq.NewOffsets(mq.OffsetsConfig{Table: "a;b"})
	for _, field := range []string{"DB ", "Group ", "Table "} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
}

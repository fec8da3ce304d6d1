package cdc_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/cdc"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func table(t *testing.T, db *sql.DB, name string) *cdc.Table {
	t.Helper()
	table, err := cdc.NewTable(db, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestEachStoreKeepsWhatWasLastSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "checkpoint")
	db := database(t)
	for name, store := range map[string]func() cdc.Store{
		"file":   func() cdc.Store { return cdc.File(file) },
		"sqlite": func() cdc.Store { return table(t, db, "a") },
	} {
		t.Run(name, func(t *testing.T) { keeps(t, store) })
	}
	memory := cdc.Memory()
	t.Run("memory", func(t *testing.T) { keeps(t, func() cdc.Store { return memory }) })
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func keeps(t *testing.T, open func() cdc.Store) {
	ctx := t.Context()
	if c, err := open().Load(ctx); err != nil || c != (cdc.Checkpoint{}) {
		t.Fatalf("%+v, %v", c, err)
	}
	for epoch := range uint64(3) {
		want := cdc.Checkpoint{Position: "0-1-" + strings.Repeat("7", int(epoch)), Origin: "server_id 1", File: "binlog.000001", Offset: 1 << 40, Epoch: epoch}
		if err := open().Save(ctx, want); err != nil {
			t.Fatal(err)
		}
		if c, err := open().Load(ctx); err != nil || c != want {
			t.Fatalf("%+v, %v", c, err)
		}
	}
}

func TestATornCheckpointIsBroken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "checkpoint")
	if err := os.WriteFile(file, []byte(`{"position": "0-1`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cdc.File(file).Load(t.Context()); !errors.Is(err, cdc.ErrBroken) {
		t.Error(err)
	}
	db := database(t)
	store := table(t, db, "a")
	if _, err := db.Exec("INSERT INTO cdc_checkpoint VALUES ('a', '')"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(t.Context()); !errors.Is(err, cdc.ErrBroken) {
		t.Error(err)
	}
	_ = db.Close()
	if _, err := store.Load(t.Context()); err == nil || errors.Is(err, cdc.ErrBroken) {
		t.Error(err)
	}
	if err := cdc.File(filepath.Join(t.TempDir(), "no", "folder")).Save(context.Background(), cdc.Checkpoint{}); err == nil {
		t.Error("saved in a folder that is not there")
	}
	for _, name := range []string{"", strings.Repeat("x", 65), "ä"} {
		if _, err := cdc.NewTable(db, name); err == nil {
			t.Errorf("name %q", name)
		}
	}
}

func TestAnEventAsJSON(t *testing.T) {
	e := cdc.Event{
		Source: "s", Kind: cdc.Insert, Database: "shop", Table: "orders", Key: "18446744073709551615", Transaction: "0-1-2", Last: true, Time: time.Unix(0, 0).UTC(), Epoch: 3,
		After: &cdc.Row{Columns: []string{"id", "b", "n", "price"}, Values: []any{uint64(18446744073709551615), []byte{0xff}, nil, "1.50"}},
	}
	got, err := json.Marshal(e)
	want := `{"source":"s","kind":"insert","database":"shop","table":"orders","key":"18446744073709551615",` +
		`"after":{"id":18446744073709551615,"b":"/w==","n":null,"price":"1.50"},` +
		`"transaction":"0-1-2","index":0,"last":true,"time":"1970-01-01T00:00:00Z","epoch":3}`
	if err != nil || string(got) != want {
		t.Errorf("got\n%s\nwant\n%s, %v", got, want, err)
	}
	if _, ok := e.Before.Get("id"); ok {
		t.Error("a row that is not there has a column")
	}
}

func TestLag(t *testing.T) {
	now := time.Unix(100, 0)
	for _, c := range []struct {
		fresh time.Time
		want  time.Duration
	}{{time.Time{}, 0}, {time.Unix(90, 0), 10 * time.Second}, {time.Unix(110, 0), 0}} {
		if got := (cdc.Stats{Fresh: c.fresh}).Lag(now); got != c.want {
			t.Errorf("%v: %v", c.fresh, got)
		}
	}
}

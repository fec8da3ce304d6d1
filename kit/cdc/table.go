package cdc

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Table is a Store in a database: one row for each name, in the table cdc_checkpoint, which CreateTable makes. The row of a
// source in the very database that it follows is written about once a minute even when nothing else happens, since each
// write of it is a transaction that moves the position.
type Table struct {
	db   *sql.DB
	name string
}

// NewTable returns the Store of the source with that name, of 1 to 64 ASCII characters.
func NewTable(db *sql.DB, name string) (*Table, error) {
	switch {
	case db == nil:
		return nil, errors.New("cdc: a table of checkpoints wants a database")
	case name == "" || len(name) > 64:
		return nil, fmt.Errorf("cdc: name of a checkpoint: want 1 to 64 bytes, have %d", len(name))
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return nil, fmt.Errorf("cdc: name of a checkpoint: want ASCII, have %q", name)
		}
	}
	return &Table{db: db, name: name}, nil
}

// CreateTable makes the table if it is not there, on SQLite, MySQL and MariaDB.
func (t *Table) CreateTable(ctx context.Context) error {
	_, err := t.db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS cdc_checkpoint (name VARCHAR(64) NOT NULL PRIMARY KEY, data MEDIUMTEXT NOT NULL)")
	if err != nil {
		return fmt.Errorf("cdc: creating the table of checkpoints: %w", err)
	}
	return nil
}

// Load implements Store.
func (t *Table) Load(ctx context.Context) (Checkpoint, error) {
	var data []byte
	err := t.db.QueryRowContext(ctx, "SELECT data FROM cdc_checkpoint WHERE name = ?", t.name).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("cdc: reading the checkpoint: %w", err)
	}
	return decode(data, "the row "+t.name)
}

// Save implements Store.
func (t *Table) Save(ctx context.Context, c Checkpoint) error {
	data, err := json.Marshal(c)
	if err == nil {
		_, err = t.db.ExecContext(ctx, "REPLACE INTO cdc_checkpoint (name, data) VALUES (?, ?)", t.name, string(data))
	}
	if err != nil {
		return fmt.Errorf("cdc: saving the checkpoint: %w", err)
	}
	return nil
}

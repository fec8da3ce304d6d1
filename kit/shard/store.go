package shard

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Store keeps the map for all processes. SQLStore is one; a key in etcd, changed by a transaction that compares its
// revision, makes another. Methods may be called by any goroutine.
type Store interface {
	// Load returns the map, or ErrNoMap. It must never return one older than a Swap that has succeeded before.
	Load(ctx context.Context) (*Map, error)
	// Swap stores m in the place of the map with the version before it, durably, or fails with ErrStaleMap where another
	// one is stored. After any other error it is unknown which one is.
	Swap(ctx context.Context, m *Map) error
}

// SQLStore is a Store in a table, shard_map, of one database, which may be one of those that are sharded.
type SQLStore struct {
	db      *sql.DB
	dialect Dialect
}

// NewSQLStore returns a store in db. It fails if one of its arguments is missing.
func NewSQLStore(db *sql.DB, dialect Dialect) (*SQLStore, error) {
	if db == nil || !dialect.valid() {
		return nil, errors.New("shard: a SQLStore wants a database, and SQLite or MySQL as its dialect")
	}
	return &SQLStore{db, dialect}, nil
}

// Setup creates the table, and stores the map if there is none. It may be called at each start.
func (s *SQLStore) Setup(ctx context.Context, first *Map) error {
	body, err := json.Marshal(first)
	if err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, s.dialect.create("shard_map", "id {int} NOT NULL PRIMARY KEY, version {int} NOT NULL, body {text} NOT NULL")); err != nil {
		return fmt.Errorf("shard: creating the table of the map: %w", err)
	}
	if _, err := s.db.ExecContext(ctx, s.dialect.insertNew("shard_map", "id, version, body"), 1, int64(first.version), string(body)); err != nil {
		return fmt.Errorf("shard: storing the first map: %w", err)
	}
	return nil
}

// Load implements Store.
func (s *SQLStore) Load(ctx context.Context) (*Map, error) {
	var body []byte
	err := s.db.QueryRowContext(ctx, "SELECT body FROM shard_map WHERE id = 1").Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("shard: table shard_map is empty: %w", ErrNoMap)
	}
	if err != nil {
		return nil, fmt.Errorf("shard: loading the map: %w", err)
	}
	return ParseMap(body)
}

// Swap implements Store.
func (s *SQLStore) Swap(ctx context.Context, m *Map) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	res, err := s.db.ExecContext(ctx, "UPDATE shard_map SET version = ?, body = ? WHERE id = 1 AND version = ?", int64(m.version), string(body), int64(m.version-1))
	if err != nil {
		return fmt.Errorf("shard: storing the map: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("shard: storing version %d of the map: %w", m.version, ErrStaleMap)
	}
	return nil
}

package shard_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/shard"
)

// Two databases with four tables each. A user's orders are written and read, and then the user's slot moves to the other
// database, of which the program sees nothing.
func Example() {
	if err := run(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// user 7 is in slot 695 at 1/01
	// 1 order
	// user 7 is in slot 695 at 0/03
	// 1 order
}

func run() error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "shard")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var dbs []*sql.DB
	for n := range 2 {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, fmt.Sprintf("%d.db", n))+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)")
		if err != nil {
			return err
		}
		defer db.Close()
		for table := range 4 {
			if _, err := db.Exec(fmt.Sprintf("CREATE TABLE orders_%02d (id INTEGER PRIMARY KEY, user_id INTEGER, item TEXT)", table)); err != nil {
				return err
			}
		}
		dbs = append(dbs, db)
	}

	first, err := shard.Even(2, 4, 0)
	if err != nil {
		return err
	}
	store, err := shard.NewSQLStore(dbs[0], shard.SQLite)
	if err != nil {
		return err
	}
	if err := store.Setup(ctx, first); err != nil {
		return err
	}
	router, err := shard.New(shard.Config{
		Databases: dbs, Dialect: shard.SQLite, Store: store, Tables: []shard.Table{{Name: "orders", Key: "user_id"}},
	})
	if err != nil {
		return err
	}
	defer router.Close()
	if err := router.Setup(ctx); err != nil {
		return err
	}

	user := int64(7)
	s := router.For(user)
	if _, err := s.Exec(ctx, "INSERT INTO {orders} (id, user_id, item) VALUES (?, ?, ?)", 1001, user, "lamp"); err != nil {
		return err
	}
	show := func() error {
		var n int
		if err := s.QueryRow(ctx, "SELECT COUNT(*) FROM {orders} WHERE user_id = ?", user).Scan(&n); err != nil {
			return err
		}
		fmt.Printf("user %d is in slot %d at %s\n%d order\n", user, s.Slot(), s.Place(), n)
		return nil
	}
	if err := show(); err != nil {
		return err
	}

	mover, err := shard.NewMover(shard.MoverConfig{Router: router})
	if err != nil {
		return err
	}
	// Move waits for ReadLease before it cleans up. An operator's program does; this one leaves that to the next Resume.
	moving, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := mover.Move(moving, s.Slot(), shard.Place{Database: 0, Table: 3})
		ended <- err
	}()
	for s.Place().Database == 1 {
		if err := router.Refresh(ctx); err != nil {
			return err
		}
	}
	cancel()
	<-ended
	return show()
}

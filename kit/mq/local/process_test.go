package local_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/mqtest"
	"github.com/yumen-io/yumen/kit/mq/local"
)

// runChild is a consumer that is to be killed. Words are the files of the queue and of the database.
func runChild() {
	mqtest.RunChild(func(words []string) (*sql.DB, func(mq.Claim) mq.Consumer) {
		db, err := sql.Open("sqlite", words[1])
		if err != nil {
			panic(err)
		}
		queue, err := local.Open(context.Background(), local.Config{Path: words[0]})
		if err != nil {
			panic(err)
		}
		return db, func(claim mq.Claim) mq.Consumer {
			c, err := local.NewConsumer(queue, local.ConsumerConfig{
				Group: "children", Topics: []string{"t"}, Lease: time.Second, Claim: claim, Delivery: mq.Delivery{BatchMessages: 50},
			})
			if err != nil {
				panic(err)
			}
			return c
		}
	})
}

func TestKilledConsumersWriteEachRowOnce(t *testing.T) {
	dir := t.TempDir()
	dsn := "file:" + filepath.Join(dir, "rows") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mqtest.CreateRows(t, db)
	path := filepath.Join(dir, "queue")
	queue := open(t, local.Config{Path: path, Partitions: 4})
	mqtest.Killing(t, db, []string{path, dsn}, "t", queue, 3_000, 4, 30*time.Second, nil)
}

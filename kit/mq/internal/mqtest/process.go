package mqtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/yumen-io/yumen/kit/mq"
)

// childEnv holds what a consumer process is told: words with spaces between, the first of which is the queue's.
const childEnv = "MQ_TEST_CHILD"

// RunChild runs a consumer and never returns, in a process that Killing has started, and returns in all others. It is
// called by TestMain. open makes the database and the consumer from the words.
func RunChild(open func(words []string) (*sql.DB, func(claim mq.Claim) mq.Consumer)) {
	words := strings.Split(os.Getenv(childEnv), " ")
	if len(words) < 2 {
		return
	}
	db, consumer := open(words)
	offsets, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "children"})
	if err == nil {
		err = consumer(offsets.Claim).Run(context.Background(), offsets.Handler(InsertRows))
	}
	fmt.Fprintln(os.Stderr, "the consumer ended:", err)
	os.Exit(1)
}

// CreateRows makes the table of InsertRows, which takes duplicates: they are to be seen.
func CreateRows(t T, db *sql.DB) *mq.Offsets {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE event_rows (value VARCHAR(100) NOT NULL)"); err != nil {
		t.Fatalf("%v", err)
	}
	offsets, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "children"})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := offsets.CreateTable(t.Context()); err != nil {
		t.Fatalf("%v", err)
	}
	return offsets
}

// InsertRows writes a row for each message, by one statement.
func InsertRows(ctx context.Context, tx *sql.Tx, batch mq.Batch) error {
	values := make([]any, len(batch.Messages))
	for i, m := range batch.Messages {
		values[i] = string(m.Value)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO event_rows (value) VALUES (?)"+strings.Repeat(", (?)", len(values)-1), values...)
	return err
}

// Killing publishes so many messages while two consumer processes, which get words, write them into db and are killed
// again and again by SIGKILL, and trouble does what it likes to the queue. In the end each message is a row, once.
func Killing(t T, db *sql.DB, words []string, topic string, publisher mq.Publisher, total, kills int, patience time.Duration, trouble func(step int)) {
	t.Helper()
	spawn := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(words, " "))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = childOf()
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v", err)
		}
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
	children := []*exec.Cmd{spawn(), spawn()}
	defer func() {
		for _, child := range children {
			kill(child)
		}
	}()
	count := func() (rows, values int) {
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT value) FROM event_rows").Scan(&rows, &values); err != nil {
			t.Fatalf("%v", err)
		}
		return rows, values
	}
	published := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		const piece = 50
		for n := 0; n < total; n += piece {
			messages := make([]mq.Message, piece)
			for i := range messages {
				messages[i] = mq.Message{Topic: topic, Key: fmt.Appendf(nil, "key%d", (n+i)%37), Value: fmt.Appendf(nil, "event-%d", n+i)}
			}
			if err := publisher.Publish(ctx, messages...); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	for step := range kills {
		Eventually(t, patience, "more rows", func() bool { _, values := count(); return values > total*(step+1)/(kills+3) })
		kill(children[step%2])
		children[step%2] = spawn()
		if trouble != nil {
			trouble(step)
		}
	}
	if err := <-published; err != nil {
		t.Fatalf("publishing: %v", err)
	}
	Eventually(t, patience, "all rows", func() bool { _, values := count(); return values == total })
	if rows, values := count(); rows != total || values != total {
		t.Fatalf("%d rows of %d values, want %d", rows, values, total)
	}
}

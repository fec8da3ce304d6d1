package binlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/binlog"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that keeps what it gets.
type recorder struct {
	mu     sync.Mutex
	events []cdc.Event
	calls  []int
	fresh  chan struct{} // closed and made anew by each call
}

func newRecorder() *recorder { return &recorder{fresh: make(chan struct{})} }

func (r *recorder) handle(_ context.Context, events []cdc.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
	r.calls = append(r.calls, len(events))
	close(r.fresh)
	r.fresh = make(chan struct{})
	return nil
}

// patience is for servers that start on a busy machine.
const patience = 60 * time.Second

// wait returns all events once they satisfy enough.
func (r *recorder) wait(t *testing.T, enough func([]cdc.Event) bool) []cdc.Event {
	t.Helper()
	end := time.After(patience)
	for {
		r.mu.Lock()
		events, fresh := r.events[:len(r.events):len(r.events)], r.fresh
		r.mu.Unlock()
		if enough(events) {
			return events
		}
		select {
		case <-fresh:
		case <-end:
			t.Fatalf("it does not come; there are %d events:\n%s", len(events), story(events[max(0, len(events)-20):]))
		}
	}
}

// upTo waits for a row of the table "marks" and returns what came before it since the last call, without marks.
func (r *recorder) upTo(t *testing.T, mark string) []cdc.Event {
	t.Helper()
	is := func(e cdc.Event) bool { return e.Table == "marks" && e.Key == mark }
	events := r.wait(t, func(events []cdc.Event) bool { return len(events) > 0 && is(events[len(events)-1]) })
	var out []cdc.Event
	for _, e := range events {
		if e.Table == "marks" {
			if !is(e) {
				out = nil
			}
			continue
		}
		out = append(out, e)
	}
	return out
}

// story writes events one a line.
func story(events []cdc.Event) string {
	var b strings.Builder
	for _, e := range events {
		switch e.Kind {
		case cdc.Epoch:
			fmt.Fprintf(&b, "epoch %s\n", e.Reason)
			continue
		}
		fmt.Fprintf(&b, "%s %s %s", e.Kind, e.Table, e.Key)
		for _, r := range []*cdc.Row{e.Before, e.After} {
			if r == nil {
				continue
			}
			b.WriteString(" [")
			for i, c := range r.Columns {
				if i > 0 {
					b.WriteByte(' ')
				}
				fmt.Fprintf(&b, "%s=%v", c, r.Values[i])
			}
			b.WriteByte(']')
		}
		if e.Last {
			b.WriteString(" last")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// follow runs a source until the test ends or stop is called, which returns what Run returned.
func follow(t *testing.T, config binlog.Config, handle cdc.Handler) (s *binlog.Source, stop func() error) {
	t.Helper()
	s, err := binlog.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, handle) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func config(s *mariadb.Server, database string, store cdc.Store) binlog.Config {
	return binlog.Config{
		Name: "test", Addr: s.Addr(), User: "root", Tables: []string{database + ".*"}, Checkpoints: store,
		BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond, Silence: time.Second,
	}
}

func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func started(events []cdc.Event) bool { return len(events) > 0 }

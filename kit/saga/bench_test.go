package saga

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// BenchmarkSaga runs sagas of three steps from Start to Done, with commits that reach the disk. "one" has the log and the
// effects in one database, where an effect and the transition are one commit; "two" has the effects in another one, on
// the same server or in another file. "commit" is what the disk gives: one row in each of as many commits at the same time.
func BenchmarkSaga(b *testing.B) {
	b.Run("sqlite/one", func(b *testing.B) {
		db := sqliteFile(b, "FULL")
		benchSaga(b, db, db, SQLite)
	})
	b.Run("sqlite/two", func(b *testing.B) { benchSaga(b, sqliteFile(b, "FULL"), sqliteFile(b, "FULL"), SQLite) })
	b.Run("sqlite/commit", func(b *testing.B) { benchCommit(b, sqliteFile(b, "FULL")) })
	open := func(b *testing.B) *sql.DB {
		s := mariadb.Shared(b)
		db, err := sql.Open("mysql", s.DSN(s.Database(b))+"&interpolateParams=true")
		must(b, err)
		db.SetMaxIdleConns(64)
		b.Cleanup(func() { _ = db.Close() })
		return db
	}
	b.Run("mariadb/one", func(b *testing.B) {
		db := open(b)
		benchSaga(b, db, db, MySQL)
	})
	b.Run("mariadb/two", func(b *testing.B) { benchSaga(b, open(b), open(b), MySQL) })
	b.Run("mariadb/commit", func(b *testing.B) { benchCommit(b, open(b)) })
}

func benchCommit(b *testing.B, db *sql.DB) {
	run(b, db, "CREATE TABLE one (n BIGINT PRIMARY KEY)")
	began := time.Now()
	var next atomic.Int64
	done := make(chan error, 32)
	for range cap(done) {
		go func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					done <- nil
					return
				}
				if _, err := db.Exec("INSERT INTO one VALUES (?)", n); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range cap(done) {
		must(b, <-done)
	}
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "commits/s")
}

func benchSaga(b *testing.B, db, effects *sql.DB, d Dialect) {
	l, p := newLog(b, db, d, nil), newParty(b, effects, d, nil)
	run(b, effects, "CREATE TABLE account (n INTEGER PRIMARY KEY, money INTEGER NOT NULL)")
	for n := range 100 {
		run(b, effects, "INSERT INTO account VALUES (?, 1000000)", n)
	}
	var next atomic.Int64
	pay := func(ctx context.Context, tx *sql.Tx, c *Call[amount]) error {
		_, err := tx.ExecContext(ctx, "UPDATE account SET money = money - 1 WHERE n = ?", (int64(c.Data.N)+next.Add(7919))%100)
		return err
	}
	plan := define(b, Plan[amount]{Name: "bench", Version: 1, Steps: []Step[amount]{
		Local[amount]{Name: "a", Party: p, Do: pay}, Local[amount]{Name: "b", Party: p, Do: pay}, Local[amount]{Name: "c", Party: p, Do: pay}}})
	e := newEngine(b, Config{Log: l, Definitions: []AnyDefinition{plan}, Workers: 32, Poll: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	const starters = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, starters)
	for range starters {
		go func() {
			for {
				n := left.Add(-1)
				if n < 0 {
					done <- nil
					return
				}
				if err := plan.Start(ctx, l, db, fmt.Sprint(n), amount{int(n)}); err != nil {
					done <- err
					return
				}
				e.Wake()
			}
		}()
	}
	for range starters {
		must(b, <-done)
	}
	until(b, func() bool { return e.Stats().Done >= uint64(b.N) })
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "sagas/s")
	b.StopTimer()
	b.ReportMetric(float64(number(b, db, "SELECT SUM(writes) FROM saga_log"))/float64(b.N), "writes/saga")
	cancel()
	must(b, <-ended)
}

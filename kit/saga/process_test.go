package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/yumen-io/yumen/kit/internal/servers/self"
)

// Real processes: the test binary runs itself as workers that run engines, and kills them with SIGKILL at random moments
// while it starts sagas, freezes them too, and starts new ones. The effects of a saga are in two databases: that of the
// log, and another one. In the ledgers each effect has to be there once if the saga is done, and not at all, on balance,
// if it is undone. The tables have no unique key that could hide a second one.

// told is what a worker is told.
type told struct {
	Driver     string // "sqlite" or "mysql" for the log
	Log, Other string // the DSNs of the log and of the other database, which is SQLite
}

// worker runs an engine.
func worker(ctx context.Context, text string) error {
	var to told
	if err := json.Unmarshal([]byte(text), &to); err != nil {
		return err
	}
	d := SQLite
	if to.Driver == "mysql" {
		d = MySQL
	}
	db, err := sql.Open(to.Driver, to.Log)
	if err != nil {
		return err
	}
	defer db.Close()
	other, err := sql.Open("sqlite", to.Other)
	if err != nil {
		return err
	}
	defer other.Close()
	l, plan, err := ledgerPlan(db, d, other)
	if err != nil {
		return err
	}
	e, err := New(Config{Log: l, Definitions: []AnyDefinition{plan}, Workers: 4, Poll: 10 * time.Millisecond, BackoffMin: time.Millisecond,
		BackoffMax: 50 * time.Millisecond, Logger: silent()})
	if err != nil {
		return err
	}
	self.Ready()
	return e.Run(ctx)
}

type amount struct{ N int }

// ledgerPlan takes in the log's database, gives in the other one, and then fails for every third saga.
func ledgerPlan(db *sql.DB, d Dialect, other *sql.DB) (*Log, *Definition[amount], error) {
	l, err := NewLog(LogConfig{DB: db, Dialect: d})
	if err != nil {
		return nil, nil, err
	}
	near, err := NewParty(PartyConfig{DB: db, Dialect: d})
	if err != nil {
		return nil, nil, err
	}
	far, err := NewParty(PartyConfig{DB: other, Dialect: SQLite})
	if err != nil {
		return nil, nil, err
	}
	write := func(sign int) func(context.Context, *sql.Tx, *Call[amount]) error {
		return func(ctx context.Context, tx *sql.Tx, c *Call[amount]) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO ledger (saga, step, times) VALUES (?, ?, ?)", c.Saga, c.Step, sign)
			return err
		}
	}
	// Short timeouts make short leases, so that the work of the killed is soon taken up.
	const timeout, attempts = 500 * time.Millisecond, 30
	plan, err := Define(Plan[amount]{Name: "ledger", Version: 1, Steps: []Step[amount]{
		Local[amount]{Name: "take", Party: near, Do: write(1), Undo: write(-1), Timeout: timeout, Attempts: attempts},
		Local[amount]{Name: "give", Party: far, Do: write(1), Undo: write(-1), Timeout: timeout, Attempts: attempts},
		Remote[amount]{Name: "send", Timeout: timeout, Attempts: attempts, Do: func(ctx context.Context, c *Call[amount]) error {
			if c.Data.N%3 == 0 {
				return Failed(fmt.Errorf("%d is refused", c.Data.N))
			}
			reply, err := far.Do(ctx, c.Key(), func(tx *sql.Tx) ([]byte, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO ledger (saga, step, times) VALUES (?, ?, 1)", c.Saga, c.Step)
				return []byte("sent"), err
			})
			if err == nil && string(reply) != "sent" {
				err = fmt.Errorf("reply %q", reply)
			}
			return err
		}, Undo: func(ctx context.Context, c *Call[amount]) error {
			_, err := far.Do(ctx, c.Key(), func(tx *sql.Tx) ([]byte, error) {
				_, err := tx.ExecContext(ctx, "INSERT INTO ledger (saga, step, times) VALUES (?, ?, -1)", c.Saga, c.Step)
				return nil, err
			})
			return err
		}},
	}})
	return l, plan, err
}

func TestProcessesAreKilledAtAnyTime(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		other := sqliteFile(t, "NORMAL")
		l := newLog(t, db, d, nil)
		newParty(t, db, d, nil)
		newParty(t, other, SQLite, nil)
		for _, db := range []*sql.DB{db, other} {
			run(t, db, "CREATE TABLE ledger (saga VARCHAR(64), step VARCHAR(64), times INTEGER)")
		}
		_, plan, err := ledgerPlan(db, d, other)
		must(t, err)
		driver := "sqlite"
		if d == MySQL {
			driver = "mysql"
		}
		text, err := json.Marshal(told{driver, dsnOf(t, db, d), dsnOf(t, other, SQLite)})
		must(t, err)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))

		const processes, sagas = 3, 100
		var group [processes]*self.Process
		for i := range group {
			group[i] = self.Start(t, string(text))
		}
		kills := 0
		pause := time.NewTimer(0)
		defer pause.Stop()
		for n := range sagas {
			must(t, plan.Start(t.Context(), l, db, fmt.Sprint("s", n), amount{n}))
			switch i := rnd.IntN(processes); rnd.IntN(12) {
			case 0, 1:
				group[i].Kill()
				kills++
				group[i] = self.Start(t, string(text))
			case 2:
				// Frozen while holding whatever it holds, for less than anybody's patience.
				group[i].Freeze()
				pause.Reset(time.Duration(rnd.IntN(20)) * time.Millisecond)
				<-pause.C
				group[i].Thaw()
			}
			pause.Reset(time.Duration(rnd.IntN(10)) * time.Millisecond)
			<-pause.C
		}
		until(t, func() bool { return number(t, db, "SELECT COUNT(*) FROM saga_log WHERE state < 2") == 0 })
		var wrong []string
		for n := range sagas {
			id := fmt.Sprint("s", n)
			st, err := l.Status(t.Context(), id)
			must(t, err)
			const times = "SELECT COALESCE(SUM(times), 0) FROM ledger WHERE saga = ? AND step = ?"
			got := fmt.Sprint(st.State, number(t, db, times, id, "take"), number(t, other, times, id, "give"), number(t, other, times, id, "send"))
			want := "done 1 1 1"
			if n%3 == 0 {
				want = "undone 0 0 0"
			}
			// Attempts are many, so that no saga is undone because its workers were killed too often.
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s: %s, want %s (%s)", id, got, want, st.Error))
			}
		}
		t.Logf("%d sagas, %d processes killed", sagas, kills)
		if wrong != nil {
			t.Errorf("of seed %d:\n%s", seed, strings.Join(wrong, "\n"))
		}
	})
}

// dsnOf finds out where an open database is.
func dsnOf(t *testing.T, db *sql.DB, d Dialect) string {
	t.Helper()
	if d == SQLite {
		var seq int
		var name, file string
		must(t, db.QueryRowContext(t.Context(), "PRAGMA database_list").Scan(&seq, &name, &file))
		return sqliteDSN(file, "NORMAL")
	}
	var database, port string
	must(t, db.QueryRowContext(t.Context(), "SELECT DATABASE(), @@port").Scan(&database, &port))
	return "root@tcp(127.0.0.1:" + port + ")/" + database + "?interpolateParams=true"
}

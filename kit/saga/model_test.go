package saga

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// The model: money in accounts of three databases. A has the log as well, B is another database of the same program, and C
// belongs to a service at the other end of a bad line. A transfer takes money in A, takes a fee into B and gives the rest
// in C. Processes die at each side of each commit, and freeze there until somebody else has done their work; requests and
// answers get lost, are repeated and come late. At the end the money adds up, each effect is there once or not at all, as
// the saga's state says, and each saga has ended.

const accounts = 4

type transfer struct {
	From, To, Amount int
	Trace            string // grows in each step: what a lost process knew is known to the next
}

type world struct {
	t       testing.TB
	clock   *clock
	rand    *rand.Rand
	a, b, c *sql.DB
	log     *Log
	partyA  *Party
	partyB  *Party
	partyC  *Party
	plan    *Definition[transfer]
	late    []func() // requests that the line still has
	calm    bool     // no faults any more
	faults  float64  // of each kind, at each place

	at     func(where string) // what happens at a failpoint
	frozen int                // processes that stand at a failpoint
}

type crash struct{ where string }

var errLine = errors.New("the line is bad")

func newWorld(t testing.TB) *world {
	w := &world{t: t, clock: newClock(), a: sqliteMemory(t), b: sqliteMemory(t), c: sqliteMemory(t)}
	w.log = newLog(t, w.a, SQLite, w.clock.now)
	w.partyA, w.partyB, w.partyC = newParty(t, w.a, SQLite, w.clock.now), newParty(t, w.b, SQLite, w.clock.now), newParty(t, w.c, SQLite, w.clock.now)
	at := func(where string) {
		if w.at != nil && !w.calm {
			w.at(where)
		}
	}
	w.log.fail, w.partyA.fail, w.partyB.fail = at, at, at
	for _, db := range []*sql.DB{w.a, w.b, w.c} {
		run(t, db, "CREATE TABLE account (n INTEGER PRIMARY KEY, money INTEGER NOT NULL)")
		run(t, db, "CREATE TABLE ledger (saga TEXT, step TEXT, times INTEGER)")
		for n := range accounts {
			run(t, db, "INSERT INTO account VALUES (?, 100)", n)
		}
	}
	w.plan = define(t, Plan[transfer]{Name: "transfer", Version: 1, Deadline: 10 * time.Minute, Steps: []Step[transfer]{
		Local[transfer]{Name: "take", Party: w.partyA, Do: w.local(-1, "A"), Undo: w.local(+1, "a")},
		Local[transfer]{Name: "fee", Party: w.partyB, Attempts: 2,
			Do: func(ctx context.Context, tx *sql.Tx, c *Call[transfer]) error {
				c.Data.Trace += "B"
				return book(ctx, tx, c.Saga, c.Step, 0, 1, 1)
			},
			Undo: func(ctx context.Context, tx *sql.Tx, c *Call[transfer]) error {
				if !strings.HasPrefix(c.Data.Trace, "AB") {
					w.t.Errorf("undo of the fee does not know what the fee did: %q", c.Data.Trace)
				}
				return book(ctx, tx, c.Saga, c.Step, 0, -1, -1)
			}},
		Remote[transfer]{Name: "give", Attempts: 3,
			Do:   func(ctx context.Context, c *Call[transfer]) error { return w.send(ctx, c, +1) },
			Undo: func(ctx context.Context, c *Call[transfer]) error { return w.send(ctx, c, -1) }},
	}})
	return w
}

func (w *world) local(sign int, mark string) func(context.Context, *sql.Tx, *Call[transfer]) error {
	return func(ctx context.Context, tx *sql.Tx, c *Call[transfer]) error {
		if !w.calm && w.rand.Float64() < w.faults/2 {
			panic("a mistake")
		}
		c.Data.Trace += mark
		return book(ctx, tx, c.Saga, c.Step, c.Data.From, sign*c.Data.Amount, -sign)
	}
}

// book moves money and writes down that it did. An action, which counts as 1, may not overdraw.
func book(ctx context.Context, tx *sql.Tx, saga, step string, account, money, count int) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO ledger VALUES (?, ?, ?)", saga, step, count); err != nil {
		return err
	}
	var left int
	if err := tx.QueryRowContext(ctx, "UPDATE account SET money = money + ? WHERE n = ? RETURNING money", money, account).Scan(&left); err != nil {
		return err
	}
	if count > 0 && left < 0 {
		return Failed(errors.New("not enough money"))
	}
	return nil
}

// send is the line to C: it may lose the request, repeat it, keep it for later, or lose the answer.
func (w *world) send(ctx context.Context, c *Call[transfer], sign int) error {
	key, to, amount := c.Key(), c.Data.To, c.Data.Amount-1
	k, err := ParseKey(key)
	if err != nil {
		return err
	}
	serve := func(ctx context.Context) error {
		_, err := w.partyC.Do(ctx, key, func(tx *sql.Tx) ([]byte, error) {
			return nil, book(ctx, tx, k.Saga, k.Step, to, sign*amount, sign)
		})
		return err
	}
	if w.calm {
		return serve(ctx)
	}
	switch dice := w.rand.Float64() / w.faults; {
	case dice < 1:
		return errLine
	case dice < 2:
		w.late = append(w.late, func() { _ = serve(context.Background()) })
		return context.DeadlineExceeded
	case dice < 3:
		_ = serve(ctx)
		return errLine
	case dice < 4:
		_ = serve(ctx)
	case dice < 5 && sign > 0:
		return Failed(errors.New("the account is closed"))
	}
	return serve(ctx)
}

func (w *world) deliver() {
	late := w.late
	w.late = nil
	for _, f := range late {
		f()
	}
}

// process is the life of one: it runs what is due until it dies or nothing is.
func (w *world) process() (where string) {
	defer func() {
		if p := recover(); p != nil {
			c, ok := p.(crash)
			if !ok {
				panic(p)
			}
			where = c.where
		}
	}()
	e := newEngine(w.t, Config{Log: w.log, Definitions: []AnyDefinition{w.plan}, Rand: w.rand.Float64, Logger: silent()})
	runDue(w.t, e)
	return ""
}

// finish ends all faults and lets everything come to its end.
func (w *world) finish(ids []string) {
	w.t.Helper()
	w.calm = true
	defer func() { w.calm = false }()
	for n := 0; n < 8 && (n == 0 || len(w.late) > 0 || number(w.t, w.a, "SELECT COUNT(*) FROM saga_log WHERE state < 2") > 0); n++ {
		w.deliver()
		w.clock.pass(2 * time.Minute)
		w.process()
	}
	for _, db := range []*sql.DB{w.a, w.b, w.c} {
		if n := number(w.t, db, "SELECT COUNT(*) FROM account WHERE money < 0"); n > 0 {
			w.t.Errorf("%d accounts below zero", n)
		}
	}
	const sum = "SELECT SUM(money) FROM account"
	if got := number(w.t, w.a, sum) + number(w.t, w.b, sum) + number(w.t, w.c, sum); got != 3*accounts*100 {
		w.t.Errorf("%d money, want %d", got, 3*accounts*100)
	}
	for _, id := range ids {
		s, err := w.log.Status(w.t.Context(), id)
		must(w.t, err)
		const times = "SELECT COALESCE(SUM(times), 0) FROM ledger WHERE saga = ?"
		got := fmt.Sprint(s.State, number(w.t, w.a, times, id), number(w.t, w.b, times, id), number(w.t, w.c, times, id))
		if got != "done 1 1 1" && got != "undone 0 0 0" {
			w.t.Errorf("%s: %s (%s %s)", id, got, s.Cause, s.Error)
		}
		if s.State == Done && !strings.Contains(string(s.Data), `"AB"`) {
			w.t.Errorf("%s: data %s", id, s.Data)
		}
	}
}

// reset gives everybody his money back and forgets old sagas, so that runs do not depend on those before.
func (w *world) reset() {
	for _, db := range []*sql.DB{w.a, w.b, w.c} {
		run(w.t, db, "UPDATE account SET money = 100")
		run(w.t, db, "DELETE FROM ledger")
		run(w.t, db, "DELETE FROM saga_barrier")
	}
	run(w.t, w.a, "DELETE FROM saga_log")
	w.late = nil
}

func (w *world) start(id string, data transfer) {
	must(w.t, w.plan.Start(context.Background(), w.log, w.a, id, data))
}

// The sweep: one transfer, and the process dies at the first place, at the second, and so on, once on the way there and
// once on the way back.
func TestAProcessDiesAtEachPersistedBoundary(t *testing.T) {
	for _, end := range []State{Done, Undone} {
		for k := 0; ; k++ {
			w := newWorld(t)
			w.rand = rand.New(rand.NewPCG(1, 1))
			places, where := 0, ""
			w.at = func(at string) {
				if places == k {
					where = at
					places++
					panic(crash{at})
				}
				places++
			}
			amount := 50
			if end == Undone {
				// C refuses what is negative.
				w.plan.plan.Steps[2] = Remote[transfer]{Name: "give", Do: func(context.Context, *Call[transfer]) error {
					return Failed(errors.New("no"))
				}, Undo: func(context.Context, *Call[transfer]) error { return nil }}
			}
			w.start("t", transfer{From: 1, To: 2, Amount: amount})
			w.process()
			w.finish([]string{"t"})
			if got := status(t, w.log, "t"); !strings.HasPrefix(got, end.String()+" ") {
				t.Errorf("died %s: %s, want %v", where, got, end)
			}
			if t.Failed() {
				t.Fatalf("after dying at place %d, %s", k, where)
			}
			if where == "" {
				if k < 10 {
					t.Fatalf("only %d places", k)
				}
				break
			}
		}
	}
}

var histories = flag.Int("histories", 500, "random histories of the model; 10000 take a minute")

func TestMoneyAddsUpOverRandomHistories(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorld(t)
	ended := map[State]int{}
	crashes, freezes := 0, 0
	runs := *histories
	if testing.Short() {
		runs = min(runs, 60) // the race detector makes SQLite twenty times slower
	}
	for run := range runs {
		w.rand = rand.New(rand.NewPCG(seed, uint64(run)))
		w.faults = 0.02 + 0.1*w.rand.Float64()
		w.at = func(where string) {
			switch dice := w.rand.Float64() / w.faults; {
			case dice < 1:
				crashes++
				panic(crash{where})
			case dice < 1.5 && w.frozen < 2 && where != "in effect":
				// This process stands still here until its lease is over and others have gone on.
				freezes++
				w.frozen++
				w.clock.pass(time.Duration(5+w.rand.IntN(30)) * time.Second)
				w.process()
				w.frozen--
			case dice < 1.7 && where != "in effect":
				w.deliver()
			}
		}
		w.reset()
		var ids []string
		for n := range 1 + w.rand.IntN(2) {
			id := fmt.Sprintf("run-%d-%d", run, n)
			ids = append(ids, id)
			w.start(id, transfer{From: w.rand.IntN(accounts), To: w.rand.IntN(accounts), Amount: 1 + w.rand.IntN(120)})
		}
		for range 6 {
			w.process()
			w.clock.pass(time.Duration(w.rand.IntN(20)) * time.Second)
			if w.rand.Float64() < 0.3 {
				w.deliver()
			}
		}
		w.finish(ids)
		if t.Failed() {
			t.Fatalf("run %d of seed %d", run, seed)
		}
		for _, id := range ids {
			s, err := w.log.Status(t.Context(), id)
			must(t, err)
			ended[s.State]++
		}
	}
	t.Logf("%d done, %d undone, %d crashes, %d freezes", ended[Done], ended[Undone], crashes, freezes)
	if few := runs / 10; ended[Done] < 2*few || ended[Undone] < few || crashes < few || freezes < few {
		t.Error("the histories are too much alike")
	}
}

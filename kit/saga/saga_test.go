package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

type note struct{ Said []string }

// script is a plan of Remotes whose answers are listed: "a a? b!" are the calls it gets, in order, with what each
// answers: nothing is success, ? unknown, ! Failed. Small letters are actions, capitals compensations.
type script struct {
	t     *testing.T
	calls []string
	plan  *Definition[note]
}

func newScript(t *testing.T, d Dialect, answers string, deadline time.Duration, clock *clock) *script {
	s := &script{t: t}
	left := strings.Fields(answers)
	call := func(name string) func(context.Context, *Call[note]) error {
		return func(ctx context.Context, c *Call[note]) error {
			if len(left) == 0 || left[0][:1] != name {
				t.Errorf("called %s, want %v", name, left)
				return nil
			}
			mark := left[0][1:]
			left = left[1:]
			s.calls = append(s.calls, name+mark)
			c.Data.Said = append(c.Data.Said, name)
			switch {
			case mark == "?":
				return errors.New("no answer")
			case mark == "!":
				return Failed(errors.New("refused"))
			case mark == "~": // slow
				clock.pass(deadline)
				return context.DeadlineExceeded
			case mark == "#":
				panic("a mistake")
			case strings.HasPrefix(mark, "u") != (c.Unsure && c.key.Undo):
				t.Errorf("%s: unsure is %v", name, c.Unsure)
			}
			return nil
		}
	}
	step := func(name string) Step[note] {
		return Remote[note]{Name: name, Attempts: 2, Do: call(name), Undo: call(strings.ToUpper(name))}
	}
	s.plan = define(t, Plan[note]{Name: "script", Version: 1, Deadline: deadline, Steps: []Step[note]{step("a"), step("b"), step("c")}})
	t.Cleanup(func() {
		if len(left) > 0 {
			t.Errorf("not called: %v", left)
		}
	})
	return s
}

func TestErrorsDecide(t *testing.T) {
	for _, c := range []struct{ name, answers, want string }{
		{"all goes well", "a b c", "done c 0 said abc"},
		{"what failed is not compensated", "a b c! B A", "undone a 0 said abBA"},
		{"the first fails", "a!", "undone a 0 said "},
		{"what is unknown is tried again", "a b? b c", "done c 0 said abc"},
		{"what stays unknown is compensated", "a b c? c? Cu B A", "undone a 0 said abCBA"},
		{"a failure after an unknown attempt is compensated", "a b? b! Bu A", "undone a 0 said aBA"},
		{"a compensation is tried until it succeeds", "a b c! B? B? B? B A", "undone a 0 said abBA"},
		{"a compensation cannot fail for good", "a b! A! A! A", "undone a 0 said aA"},
		{"the deadline turns back, from what may have happened", "a b~ Bu A", "undone a 0 said aBA"},
		{"a panic is unknown", "a# a b c", "done c 0 said abc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
				clock := newClock()
				l := newLog(t, db, d, clock.now)
				s := newScript(t, d, c.answers, time.Hour, clock)
				e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{s.plan}, Logger: silent()})
				must(t, s.plan.Start(t.Context(), l, db, "1", note{}))
				for range 6 {
					runDue(t, e)
					clock.pass(time.Minute)
				}
				st, err := l.Status(t.Context(), "1")
				must(t, err)
				data := strings.NewReplacer(`{"Said":`, "", `"`, "", ",", "", "[", "", "]", "", "}", "", "null", "").Replace(string(st.Data))
				if got := status(t, l, "1") + " said " + data; got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := strings.Join(s.calls, " "); got != c.answers {
					t.Errorf("calls %q, want %q", got, c.answers)
				}
			})
		})
	}
}

// The process dies when the action of b has happened and nobody has written it down. What the next one hears of b, that it
// failed, says nothing of the first attempt.
func TestALostProcessMayHaveHadTheEffect(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		clock := newClock()
		l := newLog(t, db, d, clock.now)
		s := newScript(t, d, "a b b! Bu A", 0, clock)
		e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{s.plan}})
		must(t, s.plan.Start(t.Context(), l, db, "1", note{}))
		l.fail = func(where string) {
			if where == "before save" && len(s.calls) == 2 {
				panic(crash{where})
			}
		}
		func() {
			defer func() { _ = recover() }()
			runDue(t, e)
		}()
		l.fail = nil
		if n := runDue(t, e); n != 0 {
			t.Fatal("claimed within the lease")
		}
		clock.pass(s.plan.lease + time.Millisecond)
		runDue(t, e)
		if got := status(t, l, "1"); got != "undone a 0" {
			t.Error(got)
		}
	})
}

func TestTheOrderAndItsSagaAreOneCommit(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		l := newLog(t, db, d, nil)
		s := newScript(t, d, "a b c", 0, nil)
		for _, commit := range []bool{false, true} {
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			must(t, s.plan.Start(t.Context(), l, tx, "1", note{}))
			if commit {
				must(t, tx.Commit())
			} else {
				must(t, tx.Rollback())
				if _, err := l.Status(t.Context(), "1"); !errors.Is(err, ErrNotFound) {
					t.Fatal(err)
				}
			}
		}
		if err := s.plan.Start(t.Context(), l, db, "1", note{}); !errors.Is(err, ErrExists) {
			t.Fatal(err)
		}
		if n := runDue(t, newEngine(t, Config{Log: l, Definitions: []AnyDefinition{s.plan}})); n != 1 {
			t.Fatal(n)
		}
		if got := status(t, l, "1"); got != "done c 0" {
			t.Fatal(got)
		}
	})
}

func TestBarrier(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		clock := newClock()
		p := newParty(t, db, d, clock.now)
		run(t, db, "CREATE TABLE effect (what VARCHAR(20))")
		do := func(saga string, undo bool, born time.Time, fail error) string {
			k := Key{Saga: saga, Step: "pay", Undo: undo, Born: born.UnixMilli()}
			reply, err := p.Do(t.Context(), k.String(), func(tx *sql.Tx) ([]byte, error) {
				if _, err := tx.Exec("INSERT INTO effect VALUES (?)", fmt.Sprint(saga, undo)); err != nil {
					return nil, err
				}
				return []byte(fmt.Sprint(saga, undo)), fail
			})
			n := number(t, db, "SELECT COUNT(*) FROM effect WHERE what = ?", fmt.Sprint(saga, undo))
			switch {
			case errors.Is(err, ErrRefused):
				return fmt.Sprint("refused ", n)
			case errors.Is(err, ErrForgotten):
				return fmt.Sprint("forgotten ", n)
			case err != nil:
				return fmt.Sprint("error ", n)
			}
			return fmt.Sprint(string(reply), " ", n)
		}
		now := clock.now()
		const try, cancel = false, true
		for i, c := range []struct {
			saga string
			undo bool
			born time.Time
			fail error
			want string
		}{
			{"twice", try, now, nil, "twicefalse 1"}, {"twice", try, now, nil, "twicefalse 1"},
			{"twice", cancel, now, nil, "twicetrue 1"}, {"twice", cancel, now, nil, "twicetrue 1"}, {"twice", try, now, nil, "refused 1"},
			{"empty", cancel, now, nil, " 0"}, {"empty", cancel, now, nil, " 0"},
			{"hanging", cancel, now, nil, " 0"}, {"hanging", try, now, nil, "refused 0"},
			{"error", try, now, errors.New("no"), "error 0"}, {"error", try, now, nil, "errorfalse 1"},
			{"old", try, now.Add(-RetentionDefault - time.Second), nil, "forgotten 0"},
			{"old", cancel, now.Add(-RetentionDefault - time.Second), nil, "forgotten 0"},
			{"Twice", try, now, nil, "Twicefalse 1"}, // another saga: ids know small letters from capitals
		} {
			if c.saga == "Twice" && d == MySQL {
				continue // the table of this test does not
			}
			if got := do(c.saga, c.undo, c.born, c.fail); got != c.want {
				t.Errorf("%d: %s %v: %s, want %s", i, c.saga, c.undo, got, c.want)
			}
		}
		if _, err := p.Do(t.Context(), "a/b/c/d", nil); !errors.Is(err, ErrKey) {
			t.Error(err)
		}

		// Guard, in a transaction of somebody else's.
		k := Key{Saga: "guard", Step: "pay", Born: now.UnixMilli()}.String()
		for _, want := range []bool{true, false} {
			tx, err := db.Begin()
			must(t, err)
			if run, err := p.Guard(t.Context(), tx, k); run != want || err != nil {
				t.Errorf("run %v, %v", run, err)
			}
			must(t, tx.Commit())
		}

		// What is purged is refused ever after, and what could still be undone is not purged.
		clock.pass(RetentionDefault)
		n, err := p.Purge(t.Context(), 100)
		must(t, err)
		if got := do("twice", cancel, now, nil); n != 0 || got != "twicetrue 1" {
			t.Error(n, got)
		}
		clock.pass(time.Hour + time.Millisecond)
		n, err = p.Purge(t.Context(), 100)
		must(t, err)
		if left := number(t, db, "SELECT COUNT(*) FROM saga_barrier"); n < 5 || left != 0 {
			t.Errorf("purged %d, %d left", n, left)
		}
		if got := do("error", cancel, now, nil); got != "forgotten 0" {
			t.Error(got)
		}
	})
}

func TestACompensationThatKeepsFailingIsDeadAndGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		clock := newClock()
		l := newLog(t, db, d, clock.now)
		s := newScript(t, d, "a b! A? A? A? A", 0, clock)
		e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{s.plan}, DeadAfter: 2, Logger: silent()})
		must(t, s.plan.Start(t.Context(), l, db, "1", note{}))
		for _, want := range []string{"undoing a 1", "undoing a 2 dead", "undoing a 3 dead", "undone a 0"} {
			runDue(t, e)
			if got := status(t, l, "1"); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			list, err := l.Dead(t.Context(), 0)
			must(t, err)
			if dead := strings.HasSuffix(want, "dead"); dead != (len(list) == 1) || dead && list[0].ID != "1" {
				t.Fatal(list)
			}
			clock.pass(time.Minute)
		}
		if got := e.Stats(); got.Dead != 1 || got.Undone != 1 || got.Turned != 1 || got.Errors != 4 {
			t.Errorf("%+v", got)
		}
	})
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		how           How
		answers, want string
	}{
		{Retry, "a b! A? A? A", "undone a 0"},
		{Skip, "a b c! B? A? A", "undone a 0"}, // first B is skipped, then A fails once
		{Skip, "a b! A?", "undone  0"},
		{Close, "a b! A?", "closed a 1"},
		{Cancel, "a?  Au", "undone a 0"},
	} {
		t.Run(c.how.String(), func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
				clock := newClock()
				l := newLog(t, db, d, clock.now)
				s := newScript(t, d, c.answers, 0, clock)
				e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{s.plan}, BackoffMax: time.Minute, Logger: silent()})
				must(t, s.plan.Start(t.Context(), l, db, "1", note{}))
				runDue(t, e)
				must(t, l.Resolve(t.Context(), "1", c.how, "by hand"))
				runDue(t, e)
				clock.pass(time.Minute)
				runDue(t, e)
				if got := status(t, l, "1"); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if st, _ := l.Status(t.Context(), "1"); st.Note != c.how.String()+": by hand" {
					t.Error(st.Note)
				}
				if err := l.Resolve(t.Context(), "1", Retry, ""); !errors.Is(err, ErrState) {
					t.Error(err)
				}
				if err := l.Resolve(t.Context(), "2", Retry, ""); !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			})
		})
	}
}

func TestAnOldPlanIsSetAsideAndTakenUpAgain(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		clock := newClock()
		l := newLog(t, db, d, clock.now)
		old := newScript(t, d, "a b c", 0, clock)
		// The same name and version, and another order of steps: the mistake that must not run wrong steps.
		nothing := func(context.Context, *Call[note]) error { t.Error("a wrong step"); return nil }
		other := define(t, Plan[note]{Name: "script", Version: 1, Steps: []Step[note]{Remote[note]{Name: "b", Do: nothing}, Remote[note]{Name: "a", Do: nothing}}})
		must(t, old.plan.Start(t.Context(), l, db, "1", note{}))
		e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{other}, Logger: silent()})
		runDue(t, e)
		if got := status(t, l, "1"); got != "doing a 0" {
			t.Fatal(got)
		}
		clock.pass(2 * time.Minute)
		runDue(t, e)
		st, err := l.Status(t.Context(), "1")
		must(t, err)
		if !st.Dead || !strings.Contains(st.Error, "no engine knows this plan") {
			t.Fatalf("%+v", st)
		}
		if c, err := l.Count(t.Context()); err != nil || c != (Counts{Live: 1, Dead: 1}) {
			t.Fatal(c, err)
		}
		e = newEngine(t, Config{Log: l, Definitions: []AnyDefinition{old.plan}})
		clock.pass(2 * time.Minute)
		runDue(t, e)
		runDue(t, e)
		if got := status(t, l, "1"); got != "done c 0" {
			t.Fatal(got)
		}
		clock.pass(25 * time.Hour)
		runDue(t, e)
		if c, err := l.Count(t.Context()); err != nil || c != (Counts{}) {
			t.Fatal("not removed after the retention:", c, err)
		}
	})
}

// A Local whose party has the log's database: what an attempt did and what the log says are one commit.
func TestTwoEnginesShareTheWork(t *testing.T) {
	onEach(t, func(t *testing.T, db *sql.DB, d Dialect) {
		l, p := newLog(t, db, d, nil), newParty(t, db, d, nil)
		run(t, db, "CREATE TABLE effect (saga VARCHAR(20), step VARCHAR(20))")
		effect := func(ctx context.Context, tx *sql.Tx, c *Call[note]) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO effect VALUES (?, ?)", c.Saga, c.Step)
			return err
		}
		plan := define(t, Plan[note]{Name: "two", Version: 1, Steps: []Step[note]{
			Local[note]{Name: "a", Party: p, Do: effect}, Local[note]{Name: "b", Party: p, Do: effect}}})
		const sagas = 40
		for n := range sagas {
			must(t, plan.Start(t.Context(), l, db, fmt.Sprint(n), note{}))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var engines []*Engine
		ended := make(chan error, 2)
		for range 2 {
			e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{plan}, Workers: 4, Poll: 5 * time.Millisecond, Logger: silent()})
			engines = append(engines, e)
			go func() { ended <- e.Run(ctx) }()
		}
		engines[0].Wake()
		until(t, func() bool { return number(t, db, "SELECT COUNT(*) FROM saga_log WHERE state = 2") == sagas })
		cancel()
		must(t, <-ended)
		must(t, <-ended)
		if n := number(t, db, "SELECT COUNT(*) FROM effect"); n != 2*sagas {
			t.Errorf("%d effects", n)
		}
		if n := engines[0].Stats().Done + engines[1].Stats().Done; n != sagas {
			t.Errorf("%d done", n)
		}
	})
}

// until asks until the answer is yes, or the test is out of time.
func until(t testing.TB, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it never came about")
		}
	}
}

func TestTheDatabaseIsKilledFrozenAndStartedAgain(t *testing.T) {
	s := mariadb.Start(t)
	db, err := sql.Open("mysql", s.DSN(s.Database(t))+"&readTimeout=300ms")
	must(t, err)
	defer db.Close()
	l, p := newLog(t, db, MySQL, nil), newParty(t, db, MySQL, nil)
	run(t, db, "CREATE TABLE effect (saga VARCHAR(20), step VARCHAR(20), PRIMARY KEY (saga, step))")
	// Frozen when the commit of c is on its way: it comes about after the client has given up waiting for the answer.
	var atC, frozen atomic.Bool
	p.fail = func(where string) {
		if where == "in effect" && atC.Load() && !frozen.Swap(true) {
			s.Freeze()
			time.AfterFunc(600*time.Millisecond, s.Thaw)
		}
	}
	reached := make(chan string)
	goOn := make(chan bool)
	effect := func(ctx context.Context, tx *sql.Tx, c *Call[note]) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO effect VALUES (?, ?)", c.Saga, c.Step)
		if c.Attempt == 1 {
			reached <- c.Step
			<-goOn
		}
		return err
	}
	plan := define(t, Plan[note]{Name: "three", Version: 1, Steps: []Step[note]{
		Local[note]{Name: "a", Party: p, Do: effect, Timeout: time.Second}, Local[note]{Name: "b", Party: p, Do: effect, Timeout: time.Second},
		Local[note]{Name: "c", Party: p, Do: effect, Timeout: time.Second}}})
	must(t, plan.Start(t.Context(), l, db, "1", note{}))
	ctx, cancel := context.WithCancel(t.Context())
	e := newEngine(t, Config{Log: l, Definitions: []AnyDefinition{plan}, Poll: 20 * time.Millisecond, BackoffMin: time.Millisecond, Logger: silent()})
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	for _, step := range []string{"a", "b", "c"} {
		if got := <-reached; got != step {
			t.Fatal(got)
		}
		switch step {
		case "a": // killed with an open transaction
			s.Kill()
			s.Restart(t)
		case "b": // frozen with an open transaction
			s.Freeze()
			time.AfterFunc(600*time.Millisecond, s.Thaw)
		case "c":
			atC.Store(true)
		}
		goOn <- true
	}
	until(t, func() bool { st, err := l.Status(t.Context(), "1"); return err == nil && st.State.Final() })
	cancel()
	must(t, <-ended)
	if got := status(t, l, "1"); got != "done c 0" || number(t, db, "SELECT COUNT(*) FROM effect") != 3 {
		t.Error(got)
	}
	if !frozen.Load() {
		t.Error("not frozen at the commit")
	}
}

func TestPlansAreChecked(t *testing.T) {
	_, err := Define(Plan[note]{Name: "a b", Deadline: -1, Steps: []Step[note]{
		&Local[note]{Name: "x"}, Remote[note]{Name: "x", Timeout: -1, Attempts: -2, Do: func(context.Context, *Call[note]) error { return nil }}, nil}})
	for _, want := range []string{"Name is \"a b\"", "Version is 0", "Deadline is -1ns", "Steps[0].Party is nil", "Steps[0].Do is nil", "Steps[1].Name is \"x\"",
		"Steps[1].Timeout", "Steps[1].Attempts is -2", "Steps[2] is nil"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	_, err = New(Config{Workers: -1, BackoffMin: time.Hour, Name: "a/b", Definitions: []AnyDefinition{nil}})
	for _, want := range []string{"Log is nil", "Workers is -1", "BackoffMax is 1m0s", "Name is", "Definitions[0] is nil"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err := NewLog(LogConfig{Retention: 1}); err == nil {
		t.Error("no error")
	}
	if _, err := NewParty(PartyConfig{Retention: 1}); err == nil {
		t.Error("no error")
	}
}

func TestDataBytesMax(t *testing.T) {
	db := sqliteMemory(t)
	l := newLog(t, db, SQLite, nil)
	s := newScript(t, SQLite, "", 0, nil)
	if err := s.plan.Start(t.Context(), l, db, "1", note{[]string{strings.Repeat("x", DataBytesMax)}}); err == nil {
		t.Error("no error")
	}
	if err := s.plan.Start(t.Context(), l, db, strings.Repeat("x", NameBytesMax+1), note{}); err == nil {
		t.Error("no error")
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"a/b/do/0", "a/b/undo/1800000000000", "", "a/b/do", "a/b/redo/1", "a/b/do/01", "a/b/do/-1", "/b/do/1", "a/b/do/1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(s)
		if err == nil && k.String() != s {
			t.Errorf("%q is %q", s, k)
		}
		if err != nil && !errors.Is(err, ErrKey) {
			t.Error(err)
		}
	})
}

func TestKeysAreReadAsWritten(t *testing.T) {
	good := []string{"a/b/do/0", "a/b/undo/1800000000000", "order:1.2_3-4/pay/do/5"}
	for _, s := range append(good, "", "a/b/do", "a/b/redo/1", "a/b/do/01", "a/b/do/-1", "/b/do/1", "a/b/do/1/", "a b/c/do/1") {
		k, err := ParseKey(s)
		if (err == nil) != slices.Contains(good, s) || err == nil && k.String() != s {
			t.Errorf("%q: %v %v", s, k, err)
		}
	}
}

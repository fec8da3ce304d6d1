package binlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/binlog"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// Statements on the left, what is told of them on the right.
func TestWhatIsToldOfStatements(t *testing.T) {
	s := mariadb.Shared(t)
	database, other := s.Database(t), s.Database(t)
	db := s.Open(t, database)
	db.SetMaxOpenConns(1)
	run(t, db, "CREATE TABLE marks (id INT PRIMARY KEY)", "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
		"CREATE TABLE two (a VARCHAR(9) CHARACTER SET utf8mb4, b INT, PRIMARY KEY (b, a))", "CREATE TABLE none (v INT)",
		"CREATE TABLE old (id INT PRIMARY KEY) ENGINE=Aria TRANSACTIONAL=0",
		"CREATE TABLE "+other+".a (id INT PRIMARY KEY)")
	r := newRecorder()
	_, stop := follow(t, config(s, database, cdc.Memory()), r.handle)
	r.wait(t, started)
	cases := []struct{ name, statements, want string }{
		{"rows of one table", "INSERT INTO a VALUES (1, 1), (2, NULL); UPDATE a SET v = 3 WHERE id = 1; DELETE FROM a WHERE id = 2",
			"insert a 1 [id=1 v=1]\ninsert a 2 [id=2 v=<nil>] last\nupdate a 1 [id=1 v=1] [id=1 v=3] last\ndelete a 2 [id=2 v=<nil>] last\n"},
		{"one transaction", "BEGIN; INSERT INTO a VALUES (3, 1); SAVEPOINT x; INSERT INTO a VALUES (4, 1); ROLLBACK TO x; DELETE FROM a WHERE id = 1; COMMIT",
			"insert a 3 [id=3 v=1]\ndelete a 1 [id=1 v=3] last\n"},
		{"a rollback", "BEGIN; INSERT INTO a VALUES (5, 1); ROLLBACK", ""},
		{"a changed primary key", "UPDATE a SET id = 6 WHERE id = 3", "delete a 3 [id=3 v=1]\ninsert a 6 [id=6 v=1] last\n"},
		{"a primary key of two columns", `INSERT INTO two VALUES ('x,\\y', 7)`, `insert two 7,x\,\\y [a=x,\y b=7] last` + "\n"},
		{"a table without one", "INSERT INTO none VALUES (1)", "insert none  [v=1] last\n"},
		{"another database", "USE " + other + "; INSERT INTO a VALUES (1); ALTER TABLE a ADD w INT; USE " + database, ""},
		{"ours, by the default database of the session", "ALTER TABLE " + other + ".a ADD x INT", "epoch schema\n"},
		{"a new column", "ALTER TABLE a ADD w INT DEFAULT 7 FIRST; INSERT INTO a VALUES (1, 8, 2)", "epoch schema\ninsert a 8 [w=1 id=8 v=2] last\n"},
		{"a column renamed", "ALTER TABLE a RENAME COLUMN w TO `odd name`; UPDATE a SET v = 3 WHERE id = 8",
			"epoch schema\nupdate a 8 [odd name=1 id=8 v=2] [odd name=1 id=8 v=3] last\n"},
		{"a column dropped", "ALTER TABLE a DROP COLUMN `odd name`; DELETE FROM a WHERE id = 8", "epoch schema\ndelete a 8 [id=8 v=3] last\n"},
		{"emptied", "TRUNCATE a", "epoch schema\n"},
		{"renamed away", "RENAME TABLE none TO some", "epoch schema\n"},
		{"dropped", "DROP TABLE some", "epoch schema\n"},
		{"an index and a user", "CREATE INDEX i ON a (v); CREATE USER nobody; DROP USER nobody; ANALYZE TABLE a", ""},
		{"a new table with rows", "CREATE TABLE c AS SELECT 1 AS x", "insert c  [x=1] last\n"},
		{"a statement as text", "SET binlog_format = STATEMENT; INSERT INTO a VALUES (9, 9); SET binlog_format = ROW", "epoch statement\n"},
		{"a row without all columns", "SET binlog_row_image = MINIMAL; INSERT INTO a VALUES (10, 1); UPDATE a SET v = 4 WHERE id = 10; SET binlog_row_image = FULL",
			"insert a 10 [id=10 v=1] last\nepoch image\n"},
		{"two phases", "XA START 'x'; INSERT INTO a VALUES (11, 1); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'", "epoch xa\n"},
		{"two phases, undone", "XA START 'x'; INSERT INTO a VALUES (12, 1); XA END 'x'; XA PREPARE 'x'; XA ROLLBACK 'x'", ""},
		{"one phase", "XA START 'x'; INSERT INTO a VALUES (13, 1); XA END 'x'; XA COMMIT 'x' ONE PHASE", "insert a 13 [id=13 v=1] last\n"},
		{"no transactions", "INSERT INTO old VALUES (1)", "insert old 1 [id=1] last\n"},
		{"both kinds, undone", "BEGIN; INSERT INTO old VALUES (2); INSERT INTO a VALUES (14, 1); ROLLBACK", "insert old 2 [id=2] last\n"},
		{"a sequence", "CREATE SEQUENCE q; DO NEXTVAL(q)", "insert q  [next_not_cached_value=1001 minimum_value=1 maximum_value=9223372036854775806 " +
			"start_value=1 increment=1 cache_size=1000 cycle_option=0 cycle_count=0] last\n"},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mark := string(rune('0'+i/10)) + string(rune('0'+i%10))
			run(t, db, strings.Split(c.statements, "; ")...)
			run(t, db, "INSERT INTO marks VALUES (1"+mark+")")
			events := r.upTo(t, "1"+mark)
			if i == 0 {
				events = events[1:] // the epoch of the start
			}
			if got := story(events); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	last := uint64(0)
	for _, e := range r.wait(t, started) {
		if e.Epoch < last || e.Kind == cdc.Epoch && e.Epoch == last {
			t.Fatalf("epoch %d after %d", e.Epoch, last)
		}
		last = e.Epoch
	}
}

func TestALargeTransactionComesInParts(t *testing.T) {
	s := mariadb.Shared(t)
	database := s.Database(t)
	db := s.Open(t, database)
	run(t, db, "CREATE TABLE a (id INT PRIMARY KEY)")
	r := newRecorder()
	c := config(s, database, cdc.Memory())
	c.BatchEvents = 100
	source, _ := follow(t, c, r.handle)
	r.wait(t, started)
	run(t, db, "INSERT INTO a VALUES (0)", "INSERT INTO a SELECT seq FROM seq_1_to_1000", "INSERT INTO a VALUES (2000)")
	events := r.wait(t, func(e []cdc.Event) bool { return len(e) == 1003 })
	for i, e := range events[2:1002] {
		if e.Index != i || e.Last != (i == 999) || e.Transaction != events[2].Transaction {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	for _, n := range r.calls {
		if n > 100 {
			t.Fatal(r.calls)
		}
	}
	if st := source.Stats(); !st.Connected || st.Events != 1003 || st.Epochs != 1 || st.Fresh.IsZero() {
		t.Errorf("%+v", st)
	}
}

func TestAFailedBatchComesAgainAndAPanicToo(t *testing.T) {
	s := mariadb.Shared(t)
	database := s.Database(t)
	db := s.Open(t, database)
	run(t, db, "CREATE TABLE a (id INT PRIMARY KEY)")
	r := newRecorder()
	n := 0
	store, err := cdc.NewTable(db, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := config(s, database, store)
	c.Tables = []string{database + ".a"}
	source, stop := follow(t, c, func(ctx context.Context, events []cdc.Event) error {
		switch n++; n {
		case 2:
			return errors.New("full")
		case 3:
			panic("broken")
		}
		return r.handle(ctx, events)
	})
	r.wait(t, started)
	run(t, db, "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)")
	events := r.wait(t, func(e []cdc.Event) bool { return len(e) == 3 })
	if got := story(events[1:]); got != "insert a 1 [id=1] last\ninsert a 2 [id=2] last\n" {
		t.Error(got)
	}
	st := source.Stats()
	if st.Retries != 2 {
		t.Errorf("%+v", st)
	}
	_ = stop()
	if at, err := store.Load(t.Context()); err != nil || at.Epoch != st.Epoch || at.Position == "" || at.Offset == 0 {
		t.Errorf("%+v, %v", at, err)
	}
}

func TestAServerThatIsNotSetUp(t *testing.T) {
	s := mariadb.Start(t, "--binlog-row-image=MINIMAL", "--binlog-row-metadata=NO_LOG")
	source, err := binlog.New(config(s, "a", cdc.Memory()))
	if err != nil {
		t.Fatal(err)
	}
	err = source.Run(t.Context(), nil)
	if !errors.Is(err, binlog.ErrServer) || !strings.Contains(err.Error(), "binlog_row_image is MINIMAL, want FULL") ||
		!strings.Contains(err.Error(), "binlog_row_metadata is NO_LOG, want FULL") {
		t.Error(err)
	}
}

func TestAConfigurationIsCheckedAtOnce(t *testing.T) {
	_, err := binlog.New(binlog.Config{Addr: "here", Tables: []string{"a"}, BatchEvents: -1, Silence: 1})
	for _, field := range []string{"Addr", "User", "Checkpoints", "Tables", "BatchEvents", "Silence"} {
		if err == nil || !strings.Contains(err.Error(), "binlog: "+field) {
			t.Errorf("%v lacks %s", err, field)
		}
	}
}

package shard

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/kit/id"
)

// The slots of keys are where rows are. If this test fails, the hash has changed and must not.
func TestSlotsNeverChange(t *testing.T) {
	// The first two digests are those of the reference implementation: XXH64("a") = d24ec4f1a98c6e5b, XXH64("abc") = 44bc2cf5ad770999.
	for key, want := range map[string]int{"a": 0xe5b & 1023, "abc": 0x999 & 1023} {
		if got := SlotOfString(key, 1024); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
	for key, want := range map[int64]int{
		0: 1004, 1: 212, 7: 695, 42: 697, -1: 728, 1234567890: 950, 1<<63 - 1: 691, -1 << 63: 16,
	} {
		if got := Slot(key, 1024); got != want {
			t.Errorf("%d: %d, want %d", key, got, want)
		}
		if got := SlotOfString(fmt.Sprint(key), 1024); got != want {
			t.Errorf("%d as text: %d, want %d", key, got, want)
		}
	}
}

func TestSlotsAreEvenAndCostNoAllocation(t *testing.T) {
	counts := make([]int, 1024)
	for key := range int64(102_400) {
		counts[Slot(key, 1024)]++
	}
	if low, high := slices.Min(counts), slices.Max(counts); low < 60 || high > 150 {
		t.Fatalf("%d to %d keys in a slot", low, high)
	}
	if n := testing.AllocsPerRun(100, func() { Slot(1234567890123, 1024) }); n != 0 {
		t.Fatal(n)
	}
}

func TestAnEvenMap(t *testing.T) {
	m, err := Even(32, 8, 0)
	must(t, err)
	counts := map[Place]int{}
	for slot := range m.Slots() {
		counts[m.Place(slot)]++
	}
	if len(counts) != 256 {
		t.Fatal(len(counts))
	}
	for p, n := range counts {
		if n != 4 {
			t.Errorf("%s has %d slots", p, n)
		}
	}
	text, err := json.Marshal(m.withMove(Move{Slot: 3, From: m.Place(3), To: Place{31, 7}, Phase: Cleaning, Epoch: 2}))
	must(t, err)
	again, err := ParseMap(text)
	must(t, err)
	if again.Version() != 2 || again.Place(3) != (Place{31, 7}) || again.Place(4) != m.Place(4) || m.Place(3) != (Place{0, 0}) {
		t.Fatalf("%s", text)
	}
}

func TestBadMaps(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `{"version":1,"databases":1,"tables":1,"slots":[0,0,0]}`, `{"version":0,"databases":1,"tables":1,"slots":[0]}`,
		`{"version":1,"databases":0,"tables":1,"slots":[0]}`, `{"version":1,"databases":1,"tables":2,"slots":[0,2]}`, `{"version":1,"databases":1,"tables":2,"slots":[0,-1]}`,
		`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":2,"from":{},"to":{"table":1},"phase":"copying","epoch":1}]}`,
		`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":0,"from":{},"to":{},"phase":"copying","epoch":1}]}`,
		`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":0,"from":{},"to":{"table":1},"phase":"flying","epoch":1}]}`,
		`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":0,"from":{},"to":{"table":1},"phase":"cleaning","epoch":1}]}`,
		`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":0,"from":{},"to":{"table":1},"phase":"copying","epoch":2}]}`,
	} {
		if _, err := ParseMap([]byte(text)); !errors.Is(err, ErrMap) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, n := range [][3]int{{0, 1, 1}, {1, 0, 1}, {1, 1, 3}, {2, 1, 1}, {1, 1001, 2048}, {1, 1, 1 << 17}} {
		if _, err := Even(n[0], n[1], n[2]); !errors.Is(err, ErrMap) {
			t.Errorf("%v: %v", n, err)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(`{"version":1,"databases":1,"tables":2,"slots":[0,1],"moves":[{"slot":0,"from":{},"to":{"table":1},"phase":"copying","epoch":1}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMap(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		must(t, err)
		if _, err := ParseMap(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func TestTableNamesInStatements(t *testing.T) {
	m, _ := Even(1, 8, 0)
	lite := routerOf(t, Config{Databases: []*sql.DB{sqliteDB(t)}, Dialect: SQLite, Map: m, Tables: []Table{{Name: "orders", Key: "k"}, {Name: "items", Key: "k"}}})
	my := routerOf(t, Config{Databases: []*sql.DB{sqliteDB(t)}, Dialect: MySQL, Map: m, Tables: []Table{{Name: "orders", Key: "k"}}})
	for _, c := range []struct {
		r          *Router
		text, want string // "" is refused
	}{
		{lite, "SELECT * FROM {orders}", "SELECT * FROM orders_07"},
		{lite, "{orders} {items} {orders}", "orders_07 items_07 orders_07"},
		{lite, "SELECT 1", ""},
		{lite, "SELECT * FROM {users}", ""},
		{lite, "SELECT * FROM {orders; DROP TABLE x}", ""},
		{lite, "SELECT * FROM {orders", ""},
		{lite, "SELECT * FROM {}", ""},
		{lite, "SELECT '{orders}'", ""},
		{lite, "SELECT '{x} '' {x}', \"{x}\", `{x}` FROM {orders} -- {x}\n/* {x} */", "SELECT '{x} '' {x}', \"{x}\", `{x}` FROM orders_07 -- {x}\n/* {x} */"},
		{lite, `SELECT '\' FROM {orders}`, `SELECT '\' FROM orders_07`},
		{my, `SELECT '\'{x}' FROM {orders} # {x}`, `SELECT '\'{x}' FROM orders_07 # {x}`},
		{lite, "SELECT * FROM {orders} WHERE a = '{x", "SELECT * FROM orders_07 WHERE a = '{x"},
		{lite, "SELECT * FROM {orders} /* {x", "SELECT * FROM orders_07 /* {x"},
		{lite, "{orders}" + strings.Repeat(" ", statementMax), ""},
	} {
		got, err := c.r.render(c.text, 7)
		if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrStatement) {
			t.Errorf("%.60q: %.60q, %v", c.text, got, err)
		}
	}
	for text, want := range map[string]bool{
		"SELECT 1": true, " /* x */ select 1 FOR UPDATE": true, "WITH a AS (SELECT 1) SELECT 'delete' FROM a": true,
		"WITH a AS (SELECT 1) DELETE FROM b": false, "INSERT INTO a": false, "": false, "(SELECT 1)": true, "update a": false, "SELECTED": false,
	} {
		if got := reads(text, SQLite); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzStatement(f *testing.F) {
	m, _ := Even(1, 8, 0)
	f.Add("SELECT '{x}' FROM {orders} -- {")
	r, err := New(Config{Databases: []*sql.DB{new(sql.DB)}, Dialect: MySQL, Map: m, Tables: []Table{{Name: "orders", Key: "k"}}})
	must(f, err)
	f.Cleanup(r.Close)
	f.Fuzz(func(t *testing.T, text string) {
		reads(text, MySQL)
		got, err := r.render(text, 3)
		if err == nil && strings.ReplaceAll(got, "orders_03", "{orders}") != strings.ReplaceAll(text, "orders_03", "{orders}") {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func TestWhatCrossesShardsIsRefused(t *testing.T) {
	onEach(t, 2, 2, 16, func(t *testing.T, w *world) {
		r := w.router()
		a, b := userIn(1, 16, 0), userIn(2, 16, 0)
		if _, err := r.Same(a, b); !errors.Is(err, ErrCrossShard) {
			t.Error(err)
		}
		if s, err := r.Same(a, userIn(1, 16, 1)); err != nil || s.Slot() != 1 {
			t.Error(s.Slot(), err)
		}
		err := r.For(a).Tx(t.Context(), func(ctx context.Context, tx *Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO {orders} (id, user_id, n) VALUES (1, ?, 1)", a); err != nil {
				return err
			}
			if _, err := r.For(a).Exec(ctx, "DELETE FROM {orders}"); !errors.Is(err, ErrNested) {
				t.Error(err)
			}
			if err := r.All(ctx, nil); !errors.Is(err, ErrCrossShard) {
				t.Error(err)
			}
			_, err := r.For(b).Exec(ctx, "INSERT INTO {orders} (id, user_id, n) VALUES (2, ?, 1)", b)
			return err
		})
		if !errors.Is(err, ErrCrossShard) {
			t.Error(err)
		}
		if _, err := r.For(a).Query(t.Context(), "DELETE FROM {orders} RETURNING id"); !errors.Is(err, ErrStatement) {
			t.Error(err)
		}
		if err := r.ForID(5).err; !errors.Is(err, ErrNoSlot) {
			t.Error(err)
		}
		// A statement that failed takes its transaction with it, even if nobody looks.
		err = r.For(a).Tx(t.Context(), func(ctx context.Context, tx *Tx) error {
			_, _ = tx.Exec(ctx, "INSERT INTO {orders} (id, user_id, n) VALUES (3, ?, 1)", a)
			_, _ = tx.Exec(ctx, "INSERT INTO {orders} (id, user_id, n) VALUES (3, ?, 1)", a)
			return nil
		})
		if err == nil {
			t.Error("committed")
		}
		w.check()
	})
}

func TestAllReadsEachPlaceOnce(t *testing.T) {
	w := sqliteWorld(t, 2, 2, 16)
	r := w.router()
	for i := range int64(100) {
		must(t, w.insert(r, i, i, i))
	}
	// In the middle of a move the rows of its slot are in two places.
	m, _ := w.moverUntil("before the phase verifying is in the map", 0)
	if _, err := m.Move(t.Context(), 0, Place{1, 1}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got, raw := map[int64]int{}, 0
	must(t, r.All(t.Context(), func(ctx context.Context, s Shard) error {
		rows, err := s.Query(ctx, "SELECT id, user_id FROM {orders}")
		if err != nil {
			return err
		}
		defer rows.Close()
		mu.Lock()
		defer mu.Unlock()
		for rows.Next() {
			var id, user int64
			if err := rows.Scan(&id, &user); err != nil {
				return err
			}
			if raw++; s.Owns(user) {
				got[id]++
			}
		}
		if _, err := s.Exec(ctx, "DELETE FROM {orders}"); !errors.Is(err, ErrNoSlot) {
			t.Error(err)
		}
		return rows.Err()
	}))
	if len(got) != 100 || raw <= 100 {
		t.Fatalf("%d rows of %d", len(got), raw)
	}
	// A read that takes longer than the lease, while slots move, says that it may have missed something.
	err := r.All(t.Context(), func(context.Context, Shard) error {
		mu.Lock()
		defer mu.Unlock()
		w.now.Add(int64(ReadLease))
		m, _ := w.mover(-1)
		return m.Resume(t.Context())
	})
	if !errors.Is(err, ErrStaleMap) {
		t.Fatal(err)
	}
}

func TestIdsCarryTheirSlot(t *testing.T) {
	l := id.DB32()
	m, err := Even(32, 8, l.Shards()*l.Tables())
	must(t, err)
	bits := IDBits{Below: l.WorkerBits + l.SequenceBits, Width: l.ShardBits + l.TableBits}
	dbs := make([]*sql.DB, 32)
	for i := range dbs {
		dbs[i] = new(sql.DB)
	}
	r := routerOf(t, Config{Databases: dbs, Dialect: SQLite, Map: m, IDBits: bits, Tables: []Table{{Name: "orders"}}})
	v, err := l.Make(id.Parts{Time: l.Last(), Shard: 17, Table: 5, Worker: 9, Sequence: 77})
	must(t, err)
	if s := r.ForID(int64(v)); s.err != nil || s.Place() != (Place{17, 5}) {
		t.Fatal(s.Place(), s.err)
	}
}

func TestDatabasesInTheWrongOrder(t *testing.T) {
	w := sqliteWorld(t, 2, 1, 4)
	cfg := w.config()
	cfg.Databases = []*sql.DB{w.dbs[1], w.dbs[0]}
	r := routerOf(t, cfg)
	if err := w.insert(r, 1, 1, 1); !errors.Is(err, ErrWrongDatabase) {
		t.Fatal(err)
	}
	if err := r.Setup(t.Context()); !errors.Is(err, ErrWrongDatabase) {
		t.Fatal(err)
	}
}

func TestAConfigThatIsWrongEverywhere(t *testing.T) {
	_, err := New(Config{AllMax: -1, EchoTimeout: -1, Tables: []Table{{Name: "Orders;"}, {Name: "a", ID: "`"}}, IDBits: IDBits{Below: 60, Width: 16}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Databases", "Dialect", "Map and Store", "AllMax", "EchoTimeout", "Tables[0].Name", "Tables[1]", "IDBits"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	for _, err := range []error{second(NewMover(MoverConfig{ChunkRows: 1, Rounds: -1, PauseMax: -1})), second(NewBatcher(BatchConfig{Rows: -1, Delay: -1, QueueBytes: 5}))} {
		if err == nil || strings.Count(err.Error(), "must be") < 4 {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The oldest map wins nobody: two changes of one version, and only one is stored.
func TestTheStoreTakesOneOfTwoNextMaps(t *testing.T) {
	onEach(t, 1, 1, 4, func(t *testing.T, w *world) {
		m, err := w.store.Load(t.Context())
		must(t, err)
		must(t, w.store.Swap(t.Context(), m.next()))
		if err := w.store.Swap(t.Context(), m.next()); !errors.Is(err, ErrStaleMap) {
			t.Fatal(err)
		}
		empty, err := NewSQLStore(sqliteDB(t), SQLite)
		must(t, err)
		must(t, empty.Setup(t.Context(), m))
		_, err = empty.db.Exec("DELETE FROM shard_map")
		must(t, err)
		if _, err := empty.Load(t.Context()); !errors.Is(err, ErrNoMap) {
			t.Fatal(err)
		}
	})
}

func BenchmarkFor(b *testing.B) {
	m, _ := Even(1, 8, 0)
	r := routerOf(b, Config{Databases: []*sql.DB{new(sql.DB)}, Dialect: SQLite, Map: m, Tables: []Table{{Name: "orders", Key: "k"}}})
	b.ReportAllocs()
	key := int64(0)
	for b.Loop() {
		key++
		_ = r.For(key).Place()
	}
}

func BenchmarkStatement(b *testing.B) {
	m, _ := Even(1, 8, 0)
	r := routerOf(b, Config{Databases: []*sql.DB{new(sql.DB)}, Dialect: SQLite, Map: m, Tables: []Table{{Name: "orders", Key: "k"}}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.render("SELECT id, user_id, n FROM {orders} WHERE user_id = ? AND id > ? ORDER BY id LIMIT 100", 7); err != nil {
			b.Fatal(err)
		}
	}
}

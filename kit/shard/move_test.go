package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// A mover dies before each step that it persists, in turn; routers with the old and the new map write between the crash
// and the next mover, which finishes. Moves within one database and between two.
func TestACrashBeforeEachStepOfAMove(t *testing.T) {
	onEach(t, 2, 2, 8, func(t *testing.T, w *world) {
		old := w.router()
		must(t, old.Refresh(t.Context()))
		id := int64(0)
		for slot := range 8 {
			for i := range 6 {
				id++
				must(t, w.insert(old, id, userIn(slot, 8, i%2), id))
			}
		}
		places := []Place{{1, 1}, {1, 0}, {0, 1}, {0, 0}}
		for n, name := range moveSteps {
			for _, at := range []int{0, 1} {
				target := places[(2*n+at)%len(places)]
				m, step := w.moverUntil(name, at)
				_, err := m.Move(t.Context(), 3, target)
				if *step == "" && at == 1 {
					must(t, err)
					w.check()
					continue // a step that comes once
				}
				if !errors.Is(err, errCrash) {
					t.Fatalf("crash %s: %v", name, err)
				}
				for _, r := range []*Router{old, w.router()} {
					id++
					halfSwitched := name == "before the new place is the owner"
					if err := w.insert(r, id, userIn(3, 8, 0), id); err != nil && !(halfSwitched && errors.Is(err, ErrNotHere)) {
						t.Fatalf("after a crash %s: %v", name, err)
					}
					if !halfSwitched {
						must(t, w.add(r, id, 7))
						must(t, w.add(r, 3*6+1, 1))
					}
					must(t, w.insert(r, -id, userIn(5, 8, 1), id))
				}
				again, _ := w.mover(-1)
				must(t, again.Resume(t.Context()))
				if _, err := again.Move(t.Context(), 3, target); err != nil {
					t.Fatal(err)
				}
				w.check()
			}
		}
	})
}

// moveSteps are all that a move persists, in order.
var moveSteps = []string{
	"before the move is in the map", "before the fence of the new place", "before the fence of the old place", "before a chunk is copied",
	"before the phase verifying is in the map", "before the old place is gone", "before the new place is the owner",
	"before the new place is in the map", "before a chunk is cleaned", "before the move is out of the map",
}

// One move without a crash, and before each of its steps a row is inserted, one changed and one removed.
func TestWritesBetweenAllStepsOfAMove(t *testing.T) {
	onEach(t, 2, 1, 4, func(t *testing.T, w *world) {
		old := w.router()
		for id := range int64(60) {
			must(t, w.insert(old, id, userIn(2, 4, int(id)%3), 0))
		}
		next := int64(60)
		m, err := NewMover(MoverConfig{
			Router: w.router(), ChunkRows: 10, Logger: slog.New(slog.DiscardHandler),
			wait: func(context.Context, time.Duration) error { return nil },
			crash: func(step string) error {
				switch step {
				case "before the old place is gone": // writers wait
				case "before the new place is the owner":
					if err := w.insert(old, next, userIn(2, 4, 0), 1); !errors.Is(err, ErrNotHere) {
						t.Errorf("a slot that nobody owns was written to: %v", err)
					}
				default:
					must(t, w.insert(old, next, userIn(2, 4, 0), 1))
					must(t, w.add(old, next-30, 1))
					must(t, w.remove(old, next-60))
					next++
				}
				return nil
			},
		})
		must(t, err)
		rep, err := m.Move(t.Context(), 2, Place{0, 0})
		must(t, err)
		w.check()
		if s := old.Stats(); s.Echoes == 0 || s.EchoFailures != 0 || s.Redirected != 1 || rep.Rounds != 1 || rep.Rows != 60 {
			t.Fatalf("%+v, %+v", s, rep)
		}
	})
}

func TestACrashBeforeEachStepOfAnAbort(t *testing.T) {
	onEach(t, 2, 1, 4, func(t *testing.T, w *world) {
		r := w.router()
		for i := range 30 {
			must(t, w.insert(r, int64(i+1), userIn(1, 4, i%3), 1))
		}
		for n := 0; ; n++ {
			// The move is interrupted while it copies, at other chunks in turn.
			m, _ := w.mover(3 + n%3)
			if _, err := m.Move(t.Context(), 1, Place{1, 0}); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			must(t, w.add(r, 5, 1))
			m, step := w.mover(n)
			err := m.Abort(t.Context(), 1)
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			must(t, w.add(r, 6, 1))
			again, _ := w.mover(-1)
			if *step == "before the phase aborting is in the map" {
				must(t, again.Abort(t.Context(), 1)) // until then it is a move that goes on
			}
			must(t, again.Resume(t.Context()))
			if p := r.For(userIn(1, 4, 0)).Place(); p != (Place{0, 0}) {
				t.Fatal(p)
			}
			w.check()
			if *step == "" {
				break
			}
		}
	})
}

func TestASwitchedMoveCannotBeAborted(t *testing.T) {
	w := sqliteWorld(t, 2, 1, 4)
	for n := 0; ; n++ {
		m, step := w.mover(n)
		if _, err := m.Move(t.Context(), 0, Place{1, 0}); err == nil {
			t.Fatal("no such step")
		}
		if *step != "before the new place is the owner" {
			continue
		}
		m, _ = w.mover(-1)
		if err := m.Abort(t.Context(), 0); !errors.Is(err, ErrSwitched) {
			t.Fatal(err)
		}
		must(t, m.Resume(t.Context()))
		w.check()
		return
	}
}

// Any sequence of writes through routers of any age, with movers that die anywhere, and aborts.
func TestAnyWritesDuringAnyMoves(t *testing.T) {
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; raceEnabled && runs > 15 {
			return // each has databases of its own, which are slow under the race detector
		}
		w := sqliteWorld(t, 3, 2, 8)
		routers := []*Router{w.router(), w.router(), w.router()}
		id := int64(0)
		for range rapid.IntRange(10, 40).Draw(rt, "steps") {
			r := rapid.SampledFrom(routers).Draw(rt, "router")
			var ids []int64
			for i := int64(1); i <= id; i++ {
				if _, ok := w.want[i]; ok {
					ids = append(ids, i)
				}
			}
			err := error(nil)
			switch op := rapid.IntRange(0, 6).Draw(rt, "op"); {
			case op <= 1 || len(ids) == 0:
				id++
				err = w.insert(r, id, userIn(rapid.IntRange(0, 2).Draw(rt, "slot"), 8, rapid.IntRange(0, 2).Draw(rt, "user")), id)
			case op == 2:
				err = w.add(r, rapid.SampledFrom(ids).Draw(rt, "id"), 100)
			case op == 3:
				err = w.remove(r, rapid.SampledFrom(ids).Draw(rt, "id"))
			case op == 4:
				w.now.Add(int64(rapid.IntRange(0, 12).Draw(rt, "seconds")) * int64(time.Second))
			case op == 5:
				m, _ := w.mover(rapid.IntRange(0, 14).Draw(rt, "crash"))
				to := Place{rapid.IntRange(0, 2).Draw(rt, "database"), rapid.IntRange(0, 1).Draw(rt, "table")}
				if _, err := m.Move(t.Context(), rapid.IntRange(0, 2).Draw(rt, "slot"), to); err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrMoving) {
					rt.Fatal(err)
				}
			case op == 6:
				m, _ := w.mover(rapid.IntRange(0, 6).Draw(rt, "crash"))
				if err := m.Abort(t.Context(), rapid.IntRange(0, 2).Draw(rt, "slot")); err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrSwitched) {
					rt.Fatal(err)
				}
			}
			if err != nil && !errors.Is(err, ErrNotHere) {
				rt.Fatal(err)
			}
			for i, want := range w.want {
				// What was written is read by the same router at once, in a transaction by all.
				var n int64
				if err := r.For(want.key).QueryRow(t.Context(), "SELECT n FROM {orders} WHERE id = ?", i).Scan(&n); err == nil && n == want.n {
					continue
				}
				err := r.For(want.key).Tx(t.Context(), func(ctx context.Context, tx *Tx) error {
					return tx.QueryRow(ctx, "SELECT n FROM {orders} WHERE id = ?", i).Scan(&n)
				})
				if err != nil && !errors.Is(err, ErrNotHere) || err == nil && n != want.n {
					rt.Fatalf("row %d: %d, %v instead of %d", i, n, err, want.n)
				}
			}
		}
		m, _ := w.mover(-1)
		must(t, m.Resume(t.Context()))
		w.check()
	})
}

// Writers write on while a slot moves back and forth. In the middle the server is killed, and started again.
func TestMariaDBIsKilledInTheMiddleOfAMove(t *testing.T) {
	s := mariadb.Start(t)
	w := mariaWorld(t, s, 2, 1, 4)
	r := w.router()
	for i := range 200 {
		must(t, w.insert(r, int64(i+1), userIn(2, 4, i%5), 0))
	}
	var mu sync.Mutex // of want
	unknown := map[int64]row{}
	stop, killed := make(chan struct{}), make(chan struct{})
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			own := w.router()
			for i := int64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := int64(n+1)*1_000_000 + i
				user := userIn(2, 4, int(i)%5)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := own.For(user).Exec(ctx, "INSERT INTO {orders} (id, user_id, n) VALUES (?, ?, ?)", id, user, i)
				cancel()
				mu.Lock()
				if err == nil {
					w.want[id] = row{user, i}
				} else {
					unknown[id] = row{user, i}
				}
				mu.Unlock()
				if err != nil {
					select {
					case <-killed: // the server is back, or goes away now: errors are expected, a busy loop is not wanted
					case <-stop:
						return
					}
				}
			}
		})
	}
	kills := 0
	m, err := NewMover(MoverConfig{
		Router: w.router(), ChunkRows: 20, Logger: slog.New(slog.DiscardHandler), wait: func(context.Context, time.Duration) error { return nil },
		crash: func(step string) error {
			if step == "before a chunk is copied" {
				if kills++; kills == 8 {
					s.Kill()
				}
			}
			return nil
		},
	})
	must(t, err)
	if _, err := m.Move(t.Context(), 2, Place{0, 0}); err == nil {
		t.Fatal("a move ends on a dead server")
	}
	s.Restart(t)
	close(killed)
	rep, err := m.Move(t.Context(), 2, Place{0, 0})
	must(t, err)
	if rep.Rows < 200 {
		t.Fatalf("%+v", rep)
	}
	if _, err := m.Move(t.Context(), 2, Place{1, 0}); err != nil {
		t.Fatal(err)
	}
	close(stop)
	writers.Wait()
	// What nobody knows the outcome of is there or not, but not twice and not elsewhere, which check sees to.
	for id, want := range unknown {
		var n int64
		if err := r.For(want.key).QueryRow(t.Context(), "SELECT n FROM {orders} WHERE id = ?", id).Scan(&n); err == nil {
			w.want[id] = want
		}
	}
	w.check()
}

// The new place hangs. Writes go on at the old one, and the next move repairs what is missing.
func TestATargetThatHangsCostsNoWrite(t *testing.T) {
	a, b := mariadb.Shared(t), mariadb.Start(t)
	w := mariaWorld(t, a, 1, 1, 4)
	far := b.Open(t, b.Database(t))
	_, err := far.Exec("CREATE TABLE orders_00 (" + ordersTable + ")")
	must(t, err)
	w.dbs = append(w.dbs, far)
	m, _ := w.mover(-1)
	must(t, m.Grow(t.Context(), 2))
	cfg := w.config()
	cfg.EchoTimeout = 50 * time.Millisecond
	r := routerOf(t, cfg)
	for i := range 30 {
		must(t, w.insert(r, int64(i+1), userIn(2, 4, i%5), 0))
	}
	m, step := w.mover(5)
	if _, err := m.Move(t.Context(), 2, Place{1, 0}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	must(t, w.add(r, 1, 1))
	if s := r.Stats(); s.Echoes != 1 || s.EchoFailures != 0 {
		t.Fatalf("after %s: %+v", *step, s)
	}
	b.Freeze()
	for i := range 10 {
		must(t, w.add(r, int64(i+1), 1))
	}
	if s := r.Stats(); s.EchoFailures != 10 || s.Echoes > 3 {
		t.Fatalf("%+v", s)
	}
	b.Thaw()
	m, _ = w.mover(-1)
	must(t, m.Resume(t.Context()))
	w.check()
}

func TestNothingIsSwitchedThatDiffers(t *testing.T) {
	w := sqliteWorld(t, 2, 1, 4)
	r := w.router()
	must(t, w.insert(r, 1, userIn(0, 4, 0), 5))
	_, err := w.dbs[1].Exec("CREATE TRIGGER wrong AFTER INSERT ON orders_00 BEGIN UPDATE orders_00 SET n = n + 1 WHERE id = NEW.id; END")
	must(t, err)
	m, _ := w.mover(-1)
	if _, err := m.Move(t.Context(), 0, Place{1, 0}); !errors.Is(err, ErrDiffers) {
		t.Fatal(err)
	}
	if p := r.For(userIn(0, 4, 0)).Place(); p != (Place{0, 0}) {
		t.Fatal(p)
	}
	must(t, w.add(r, 1, 1))
	must(t, m.Abort(t.Context(), 0))
	w.check()

	_, err = w.dbs[1].Exec("DROP TRIGGER wrong; ALTER TABLE orders_00 ADD COLUMN more INTEGER")
	must(t, err)
	if _, err := m.Move(t.Context(), 0, Place{1, 0}); !errors.Is(err, ErrDiffers) {
		t.Fatal(err)
	}
	w.check()
}

// A router whose store is dead finds the new place by the fence of the old one, for writes and for reads.
func TestARouterWithoutItsStoreFollowsTheFence(t *testing.T) {
	w := sqliteWorld(t, 2, 1, 4)
	cfg := w.config()
	dead := &mortal{Store: w.store}
	cfg.Store = dead
	r := routerOf(t, cfg)
	user := userIn(0, 4, 0)
	must(t, w.insert(r, 1, user, 5))
	dead.dead = true
	m, _ := w.mover(-1)
	_, err := m.Move(t.Context(), 0, Place{1, 0})
	must(t, err)
	w.now.Add(int64(ReadLease))
	var n int64
	must(t, r.For(user).QueryRow(t.Context(), "SELECT n FROM {orders} WHERE id = ?", 1).Scan(&n))
	must(t, w.add(r, 1, 1))
	if s := r.Stats(); s.Redirected != 1 || s.LoadFailures == 0 {
		t.Fatalf("%+v", s)
	}
	w.check()
}

type mortal struct {
	Store
	dead bool
}

func (m *mortal) Load(ctx context.Context) (*Map, error) {
	if m.dead {
		return nil, fmt.Errorf("the store is dead")
	}
	return m.Store.Load(ctx)
}

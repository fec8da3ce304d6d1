package limit

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
	"pgregory.net/rapid"
)

const t0 = mono.Time(1000 * time.Hour)

func must(tb testing.TB, cfg limit.Config) *limit.Limit {
	tb.Helper()
	l, err := limit.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// slots counts the slots of all tables.
func (c *Counters) slots() (n int) {
	for i := range c.shards {
		if t := c.shards[i].table.Load(); t != nil {
			n += len(t.slots)
		}
	}
	return n
}

func TestSizes(t *testing.T) {
	for keys := 1; keys <= KeysMaxMax; keys += 1 + keys/7 {
		sets := setsFor(keys)
		first, slots := firstSets(sets), sets*setSlots*shardCount
		n := first
		for 2*n <= sets {
			n *= 2
		}
		if n != sets || first > 7 || first < 1 {
			t.Errorf("%d keys: %d sets, which do not come of doubling %d", keys, sets, first)
		}
		if slots < 2*keys || slots > 3*keys+shardCount*setSlots {
			t.Errorf("%d keys have %d slots", keys, slots)
		}
	}
}

// The slow twin is a map of words. Only keys that have nothing used are forgotten, so that every verdict is the same.
func TestTableAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := limit.Config{Algorithm: rapid.SampledFrom([]limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.Concurrency}).Draw(t, "algorithm"), Count: 3}
		if cfg.Algorithm != limit.Concurrency {
			cfg.Per = time.Second
		}
		l, err := limit.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c, words, now := newCounters(), map[string]limit.Word{}, t0
		terms := terms{l, setsFor(10_000)}
		keys := rapid.IntRange(1, 900).Draw(t, "keys")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range 3000 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Microsecond)
			key := strconv.Itoa(r.IntN(keys))
			h := c.Hash([]byte(key))
			if cfg.Algorithm == limit.Concurrency && words[key] > 0 && r.IntN(2) == 0 {
				c.release(l, h, true, 1)
				words[key] = l.Release(words[key], 1)
				continue
			}
			next, want := l.Decide(words[key], now, 1)
			words[key] = next
			if got, placed := c.decide(terms, h, now, 1); got != want || !placed {
				t.Fatalf("%s: %+v (%v), want %+v", key, got, placed, want)
			}
		}
		if v := c.View(); v.Overflowed+v.Forgotten != 0 || int(v.Keys) > keys {
			t.Fatalf("%+v of %d keys", v, keys)
		}
	})
}

// Loops that meet at the same keys, while the table grows under them, let through exactly the burst of each.
func TestExactOverLoops(t *testing.T) {
	const loops, keys, burst = 8, 3000, 5
	c := newCounters()
	terms := terms{must(t, limit.Config{Count: 1, Per: time.Hour, Burst: burst}), setsFor(100_000)}
	var admitted [keys]atomic.Int64
	var wait sync.WaitGroup
	for loop := range loops {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(loop), 1))
			for range 2 {
				for _, k := range r.Perm(keys) {
					if v, _ := c.decide(terms, c.Hash([]byte(strconv.Itoa(k))), t0, 1); v.Allowed {
						admitted[k].Add(1)
					}
				}
			}
		})
	}
	wait.Wait()
	for k := range admitted {
		if n := admitted[k].Load(); n != burst {
			t.Errorf("key %d: %d let through, want %d", k, n, burst)
		}
	}
	if v := c.View(); v != (View{Keys: keys}) {
		t.Errorf("%+v", v)
	}
}

// The same with places that are taken and given back, in a table so small that keys push each other out all the time: nobody is over the
// limit at any moment, and in the end all places are free.
func TestPlacesSurviveCrowding(t *testing.T) {
	const loops, keys, atOnce = 8, 4000, 2
	c := newCounters()
	l := must(t, limit.Config{Algorithm: limit.Concurrency, Count: atOnce})
	terms := terms{l, setsFor(1)}
	var under [keys]atomic.Int64
	var wait sync.WaitGroup
	for loop := range loops {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(loop), 2))
			type held struct {
				k      int
				h      Hash
				placed bool
			}
			var holds []held
			free := func(i int) {
				o := holds[i]
				holds[i] = holds[len(holds)-1]
				holds = holds[:len(holds)-1]
				under[o.k].Add(-1)
				c.release(l, o.h, o.placed, 1)
			}
			for range 20_000 {
				if len(holds) > 0 && r.IntN(2) == 0 || len(holds) > 30 {
					free(r.IntN(len(holds)))
					continue
				}
				k := r.IntN(keys)
				if r.IntN(2) == 0 {
					k %= 4 // some are asked for by all
				}
				h := c.Hash([]byte(strconv.Itoa(k)))
				if v, placed := c.decide(terms, h, t0, 1); v.Allowed {
					if n := under[k].Add(1); n > atOnce && placed {
						t.Errorf("%d under way of key %d", n, k)
					}
					holds = append(holds, held{k, h, placed})
				}
			}
			for len(holds) > 0 {
				free(0)
			}
		})
	}
	wait.Wait()
	for i := range c.shards {
		if table := c.shards[i].table.Load(); table != nil {
			for j := range table.slots {
				if w := table.slots[j].word.Load(); l.Load(limit.Word(w), t0) != 0 {
					t.Errorf("word %x is left", w)
				}
			}
		}
	}
	if w := c.shared.word.Load(); w != 0 {
		t.Errorf("%x are left of those without a slot", w)
	}
	if v := c.View(); v.Evicted == 0 {
		t.Errorf("nobody was pushed out: %+v", v)
	}
}

// limit_keys_full: very many keys, of which one is remembered at most as long as there is room.
func TestMemoryIsBounded(t *testing.T) {
	c := newCounters()
	terms := terms{must(t, limit.Config{Count: 10, Per: time.Second}), setsFor(1000)}
	var key []byte
	for i := range 200_000 {
		key = strconv.AppendInt(key[:0], int64(i), 10)
		if v, _ := c.decide(terms, c.Hash(key), t0, 1); !v.Allowed {
			t.Fatalf("key %d was refused: %+v", i, v)
		}
	}
	v := c.View()
	if c.slots() > 3000 || v.Keys > int64(c.slots()) || v.Forgotten < 190_000 || v.Overflowed != 0 {
		t.Errorf("%d slots, %+v", c.slots(), v)
	}
}

// Somebody with very many addresses uses a little of each. Whoever is near his limit stays there, and others come in.
func TestFloodOfKeysFreesNobody(t *testing.T) {
	c := newCounters()
	terms := terms{must(t, limit.Config{Count: 5, Per: time.Hour}), setsFor(1000)}
	ask := func(key string) limit.Verdict {
		v, _ := c.decide(terms, c.Hash([]byte(key)), t0, 1)
		return v
	}
	for range 5 {
		ask("guilty")
	}
	for i := range 100_000 {
		if i%1000 == 0 && !ask(fmt.Sprint("honest ", i)).Allowed {
			t.Fatal("someone new was refused")
		}
		ask(strconv.Itoa(i))
	}
	if ask("guilty").Allowed {
		t.Error("the flood has washed the guilty clean")
	}
}

// All keys of a full table have used more than half: new ones share one count, which is told of.
func TestKeysWithoutASlotShareACount(t *testing.T) {
	c := newCounters()
	terms := terms{must(t, limit.Config{Count: 2, Per: time.Hour}), setsFor(1)}
	for i := 0; c.View().Overflowed == 0; i++ {
		h := c.Hash([]byte(strconv.Itoa(i)))
		c.decide(terms, h, t0, 1)
		c.decide(terms, h, t0, 1)
		if i > 100_000 {
			t.Fatal("the table is never full")
		}
	}
	admitted := 0
	for i := range 10_000 {
		if v, placed := c.decide(terms, c.Hash([]byte("late "+strconv.Itoa(i))), t0, 1); !placed && v.Allowed {
			admitted++
		}
	}
	if admitted > 2 {
		t.Errorf("%d of those without a slot were let through, at most 2", admitted)
	}
	later := t0.Add(time.Hour)
	if v, placed := c.decide(terms, c.Hash([]byte("later")), later, 1); !placed || !v.Allowed || c.View().Evicted == 0 {
		t.Errorf("when the others have nothing used: %+v, %v", v, placed)
	}
}

// A document with another keys_max: the table goes on, and grows as far as the new one says.
func TestKeysMaxChanges(t *testing.T) {
	c, l := newCounters(), must(t, limit.Config{Count: 2, Per: time.Hour})
	fill := func(keysMax, from, to int) {
		for i := from; i < to; i++ {
			c.decide(terms{l, setsFor(keysMax)}, c.Hash([]byte(strconv.Itoa(i))), t0, 1)
		}
	}
	fill(1000, 0, 1000)
	small := c.slots()
	fill(100_000, 1000, 50_000)
	if large := c.slots(); large <= small || large > 300_000 || c.View().Keys < 49_900 {
		t.Errorf("from %d to %d slots, %+v", small, large, c.View())
	}
	v, _ := c.decide(terms{l, setsFor(100_000)}, c.Hash([]byte("0")), t0, 1)
	if v.Used != 2 {
		t.Errorf("the first key was forgotten: %+v", v)
	}
}

func TestDecisionAllocatesNothing(t *testing.T) {
	c := newCounters()
	rate, places := terms{must(t, limit.Config{Count: 1000, Per: time.Second}), setsFor(1000)}, terms{must(t, limit.Config{Algorithm: limit.Concurrency, Count: 10}), setsFor(1000)}
	other := newCounters()
	key, now := []byte("client=192.0.2.1"), t0
	decide := func() {
		now = now.Add(time.Microsecond)
		c.decide(rate, c.Hash(key), now, 1)
		h := other.Hash(key)
		if _, placed := other.decide(places, h, now, 1); placed {
			other.release(places.limit, h, placed, 1)
		}
	}
	decide()
	if n := testing.AllocsPerRun(1000, decide); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, keys := range []int{1, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			c, now := newCounters(), t0
			terms := terms{must(b, limit.Config{Count: 1000, Per: time.Second}), setsFor(1_000_000)}
			// A request's key is in the cache, since it was just written: so it is here.
			key := []byte("client=10.0000000")
			write := func(i int) {
				for at := len(key) - 1; at > len(key)-8; at-- {
					key[at] = byte('0' + i%10)
					i /= 10
				}
			}
			for i := range keys {
				write(i)
				c.decide(terms, c.Hash(key), now, 1)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				now += 1000
				write(i)
				c.decide(terms, c.Hash(key), now, 1)
				if i = i + 7919; i >= keys {
					i %= keys
				}
			}
		})
	}
	b.Run("two loops, one key", func(b *testing.B) {
		c := newCounters()
		terms := terms{must(b, limit.Config{Count: 1_000_000, Per: time.Second}), setsFor(1000)}
		key := []byte("client=192.0.2.1")
		b.ReportAllocs()
		b.SetParallelism(1)
		b.RunParallel(func(pb *testing.PB) {
			now := t0
			for pb.Next() {
				now += 1000
				c.decide(terms, c.Hash(key), now, 1)
			}
		})
	})
	b.Run("new keys, full table", func(b *testing.B) {
		c, now := newCounters(), t0
		terms := terms{must(b, limit.Config{Count: 1000, Per: time.Second}), setsFor(1000)}
		var key []byte
		b.ReportAllocs()
		n := int64(0)
		for b.Loop() {
			now += 1000
			n++
			key = strconv.AppendInt(key[:0], n, 10)
			c.decide(terms, c.Hash(key), now, 1)
		}
	})
}

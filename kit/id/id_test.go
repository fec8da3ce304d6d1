package id

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPresetsUseAllBits(t *testing.T) {
	for _, c := range []struct {
		layout                             Layout
		text                               string
		shards, tables, workers, sequences int
	}{
		{Layout{}, "41/2/4/4/12 since 2025-01-01T00:00:00Z", 4, 16, 16, 4096},
		{Seed(), "41/2/4/4/12 since 2025-01-01T00:00:00Z", 4, 16, 16, 4096},
		{DB32(), "41/5/3/6/8 since 2025-01-01T00:00:00Z", 32, 8, 64, 256},
	} {
		l := c.layout
		if err := l.Validate(); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if l.String() != c.text || l.Shards() != c.shards || l.Tables() != c.tables || l.Workers() != c.workers || l.Sequences() != c.sequences {
			t.Errorf("%s: %d shards, %d tables, %d workers, %d ids; want %+v", l, l.Shards(), l.Tables(), l.Workers(), l.Sequences(), c)
		}
		if sum := l.orDefault().sum(); sum != 63 {
			t.Errorf("%s adds up to %d bits, want 63", l, sum)
		}
		if want := "2094-09-07T15:47:35.551Z"; l.Last().Format(time.RFC3339Nano) != want {
			t.Errorf("%s lasts until %s, want %s", l, l.Last().Format(time.RFC3339Nano), want)
		}
	}
}

func TestLayoutsThatAreRefused(t *testing.T) {
	f := func(change func(*Layout), want string) {
		t.Helper()
		l := Seed()
		change(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q in it", l, err, want)
		}
		if _, err := New(Config{Layout: l, Worker: Fixed(0)}); err == nil {
			t.Errorf("New takes %+v", l)
		}
	}
	f(func(l *Layout) { l.TimeBits = 37 }, "TimeBits is 37 and must be 38 to 46")
	f(func(l *Layout) { l.TimeBits = 47 }, "TimeBits is 47")
	f(func(l *Layout) { l.TimeBits = 42 }, "add up to 64 bits and must be at most 63")
	f(func(l *Layout) { l.ShardBits = 255 }, "ShardBits is 255 and must be 0 to 16")
	f(func(l *Layout) { l.ShardBits, l.TableBits = 9, 8 }, "ShardBits + TableBits is 17")
	f(func(l *Layout) { l.WorkerBits = 11 }, "WorkerBits is 11 and must be 0 to 10")
	f(func(l *Layout) { l.SequenceBits = 0 }, "SequenceBits is 0 and must be 1 to 20")
	f(func(l *Layout) { l.Epoch = time.Date(2025, 1, 1, 0, 0, 0, 1, time.UTC) }, "must be a whole millisecond")
	f(func(l *Layout) { l.Epoch = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }, "must be in 1970 to 2200")
	// All of it is told at once.
	f(func(l *Layout) { l.TimeBits, l.SequenceBits = 1, 0 }, "SequenceBits is 0")
	f(func(l *Layout) { l.TimeBits, l.SequenceBits = 1, 0 }, "TimeBits is 1")
}

func drawLayout(t *rapid.T) Layout {
	for {
		l := Layout{
			TimeBits: rapid.Uint8Range(38, 46).Draw(t, "time"), ShardBits: rapid.Uint8Range(0, 8).Draw(t, "shard"),
			TableBits: rapid.Uint8Range(0, 8).Draw(t, "table"), WorkerBits: rapid.Uint8Range(0, 10).Draw(t, "worker"),
			SequenceBits: rapid.Uint8Range(1, 20).Draw(t, "sequence"),
			Epoch:        time.UnixMilli(rapid.Int64Range(0, 2e12).Draw(t, "epoch")).UTC(),
		}
		if l.Validate() == nil {
			return l
		}
	}
}

func TestParseUndoesMake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		within := func(bits uint8, name string) int { return rapid.IntRange(0, 1<<bits-1).Draw(t, name) }
		p := Parts{
			Time:  time.UnixMilli(l.Epoch.UnixMilli() + rapid.Int64Range(0, 1<<l.TimeBits-1).Draw(t, "tick")).UTC(),
			Shard: within(l.ShardBits, "s"), Table: within(l.TableBits, "t"), Worker: within(l.WorkerBits, "w"),
			Sequence: within(l.SequenceBits, "q"),
		}
		v, err := l.Make(p)
		if err != nil || v < 0 {
			t.Fatalf("Make(%+v) = %d, %v", p, v, err)
		}
		if got, err := l.Parse(v); err != nil || got != p {
			t.Fatalf("Parse(Make(%+v)) = %+v, %v", p, got, err)
		}
		if first := l.First(p.Time); first > v {
			t.Fatalf("First(%s) = %d is above %d of the same millisecond", p.Time, first, v)
		}
		if next := p.Time.Add(time.Millisecond); !next.After(l.Last()) && l.First(next) <= v {
			t.Fatalf("First(%s) = %d is not above %d of the millisecond before", next, l.First(next), v)
		}
	})
}

func TestPartsThatDoNotFit(t *testing.T) {
	l := Seed()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, p := range []Parts{
		{Time: now, Shard: 4}, {Time: now, Shard: -1}, {Time: now, Table: 16}, {Time: now, Worker: 16}, {Time: now, Sequence: 4096},
		{Time: time.Date(2024, 12, 31, 23, 59, 59, 999e6, time.UTC)}, {Time: l.Last().Add(time.Millisecond)},
	} {
		if v, err := l.Make(p); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("Make(%+v) = %d, %v; want ErrOutOfRange", p, v, err)
		}
	}
	if _, err := l.Parse(-1); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("Parse(-1): %v", err)
	}
	l.TimeBits = 40
	if _, err := l.Parse(1 << 62); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("an id with bits above the layout's: %v", err)
	}
}

func TestReadingIDs(t *testing.T) {
	f := func(text string, want ID, ok bool) {
		t.Helper()
		got, err := ParseID(text)
		if got != want || (err == nil) != ok || err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseID(%q) = %d, %v; want %d, %v", text, got, err, want, ok)
		}
	}
	f("0", 0, true)
	f("9223372036854775807", math.MaxInt64, true)
	f("9223372036854775808", 0, false)
	f("9999999999999999999", 0, false)
	f("10000000000000000000", 0, false)
	f("", 0, false)
	f("-1", 0, false)
	f("+1", 0, false)
	f(" 1", 0, false)
	f("1.0", 0, false)
	f("0x10", 0, false)
	f(strings.Repeat("1", 1000), 0, false)
}

func TestJSON(t *testing.T) {
	type order struct {
		ID   ID         `json:"id"`
		Rows map[ID]int `json:"rows,omitempty"`
	}
	b, err := json.Marshal(order{ID: math.MaxInt64, Rows: map[ID]int{7: 1}})
	if want := `{"id":"9223372036854775807","rows":{"7":1}}`; err != nil || string(b) != want {
		t.Fatalf("%s, %v; want %s", b, err, want)
	}
	f := func(text string, want ID, ok bool) {
		t.Helper()
		got := order{ID: 42}
		err := json.Unmarshal([]byte(text), &got)
		if got.ID != want || (err == nil) != ok {
			t.Errorf("%s: %d, %v; want %d, %v", text, got.ID, err, want, ok)
		}
	}
	f(`{"id":"9223372036854775807"}`, math.MaxInt64, true)
	f(`{"id":9007199254740992}`, 1<<53, true)
	f(`{"id":9007199254740993}`, 42, false)
	f(`{"id":1e3}`, 42, false)
	f(`{"id":-1}`, 42, false)
	f(`{"id":""}`, 42, false)
	f(`{"id":null}`, 42, true)
	f(`{"id":true}`, 42, false)
}

func TestColumns(t *testing.T) {
	f := func(src any, want ID, ok bool) {
		t.Helper()
		var got ID
		if err := got.Scan(src); got != want || (err == nil) != ok {
			t.Errorf("Scan(%v) = %d, %v; want %d, %v", src, got, err, want, ok)
		}
	}
	f(int64(7), 7, true)
	f([]byte("7"), 7, true)
	f("7", 7, true)
	f(int64(-7), 0, false)
	f(nil, 0, false)
	f(7.0, 0, false)
	if v, err := ID(7).Value(); v != int64(7) || err != nil {
		t.Errorf("Value() = %v, %v", v, err)
	}
}

func FuzzUnmarshalJSON(f *testing.F) {
	for _, s := range []string{`"1"`, `1`, `"`, `""`, `null`, `"9223372036854775808"`, `9007199254740993`, `"1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v ID
		if v.UnmarshalJSON(b) != nil {
			return
		}
		if v < 0 {
			t.Fatalf("%q became %d", b, v)
		}
		out, err := v.MarshalJSON()
		var again ID
		if err != nil || again.UnmarshalJSON(out) != nil || again != v {
			t.Fatalf("%q became %d, then %q and %d", b, v, out, again)
		}
	})
}

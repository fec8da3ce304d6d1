package engine

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/internal/mono"
)

func TestDebtsArePaidByWaiting(t *testing.T) {
	const most = 2 * time.Second
	here, now := netip.MustParseAddr("192.0.2.1"), mono.Time(time.Hour)
	var d debts
	d.init()
	f := func(situation string, want time.Duration) {
		t.Helper()
		if got := d.wait(here, now); got != want {
			t.Errorf("%s: waits %v, want %v", situation, got, want)
		}
	}
	f("nobody owes anything", 0)
	d.owe(here, 5*time.Millisecond, most, now)
	f("what is lent without a question", 0)
	d.owe(here, time.Millisecond, most, now)
	f("twenty times what was wasted beyond that", 20*time.Millisecond)
	now = now.Add(15 * time.Millisecond)
	f("it is paid by the time that passes", 5*time.Millisecond)
	d.owe(here, time.Hour, most, now)
	f("there is a most", most)
	now = now.Add(time.Hour)
	f("long ago", 0)
	d.owe(here, 6*time.Millisecond, most, now)
	f("what was paid is forgotten, not saved up", 20*time.Millisecond)
	d.owe(here, time.Hour, 0, now)
	f("without debts nothing is added", 20*time.Millisecond)
}

func TestWhoPays(t *testing.T) {
	for _, c := range []struct {
		owes, comes string
		waits       bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		var d debts
		d.init()
		d.owe(netip.MustParseAddr(c.owes), time.Second, time.Minute, 1)
		if got := d.wait(netip.MustParseAddr(c.comes), 1) > 0; got != c.waits {
			t.Errorf("%s wasted, %s waits: %v", c.owes, c.comes, got)
		}
	}
	var d debts
	d.init()
	d.owe(netip.Addr{}, time.Second, time.Minute, 1) // a connection that was gone before anybody asked for its peer
	if d.wait(netip.Addr{}, 1) > 0 {
		t.Error("nobody waits for nobody")
	}
}

// However many addresses owe, nobody waits who does not, nobody waits longer than the most, and what one owes never shrinks
// but by time, unless others have pushed it out.
func TestNobodyWaitsForAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d debts
		d.init()
		now, owed := mono.Time(1), map[netip.Addr]bool{}
		for range rapid.IntRange(1, 400).Draw(t, "times") {
			n := rapid.Uint32Range(0, 2000).Draw(t, "address")
			a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "later")))
			if rapid.Bool().Draw(t, "wastes") {
				d.owe(a, time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "wasted")), time.Second, now)
				owed[a] = true
			}
			if wait := d.wait(a, now); wait > time.Second || wait > 0 && !owed[a] {
				t.Fatalf("%v waits %v, owed before: %v", a, wait, owed[a])
			}
		}
	})
}

func BenchmarkWait(b *testing.B) {
	var d debts
	d.init()
	a := netip.MustParseAddr("2001:db8::1")
	d.owe(a, time.Second, time.Second, 1)
	b.ReportAllocs()
	for b.Loop() {
		d.wait(a, 2)
	}
}

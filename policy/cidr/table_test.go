package cidr

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func entries(list ...string) []Entry {
	var out []Entry
	for i, s := range list {
		out = append(out, Entry{netip.MustParsePrefix(s), uint32(i)})
	}
	return out
}

func TestLongestNetworkWins(t *testing.T) {
	table := Compile(entries("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0",
		"2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::7/128", "::ffff:192.0.2.0/120", "fe80::/10"))
	for _, c := range []struct {
		addr string
		want int // -1: none
		bits uint8
	}{
		{"10.1.2.3", 3, 32}, {"10.1.2.4", 2, 24}, {"10.1.3.4", 1, 16}, {"10.2.3.4", 0, 8}, {"11.0.0.0", 4, 0},
		{"9.255.255.255", 4, 0}, {"255.255.255.255", 4, 0}, {"0.0.0.0", 4, 0},
		{"::ffff:10.1.2.3", 3, 32}, {"192.0.2.200", 8, 24}, {"::ffff:192.0.2.200", 8, 24},
		{"2001:db8:1::7", 7, 128}, {"2001:db8:1::8", 6, 48}, {"2001:db8:2::", 5, 32}, {"2001:db9::", -1, 0},
		{"fe80::1%eth0", 9, 10}, {"::1", -1, 0}, {"::", -1, 0},
	} {
		want := Found{}
		if c.want >= 0 {
			want = Found{uint32(c.want), c.bits, true}
		}
		if got := table.Lookup(netip.MustParseAddr(c.addr)); got != want {
			t.Errorf("%s: got %+v, want %+v", c.addr, got, want)
		}
	}
	if table.Len() != 10 {
		t.Error(table.Len())
	}
}

// RFC 4291 2.5.5.2: the two spellings of an IPv4 client are one client, and no IPv6 network has it.
func TestEverythingOfIPv6HasNoIPv4(t *testing.T) {
	table := Compile(entries("::/0", "::ffff:0:0/90"))
	for addr, want := range map[string]bool{"::1": true, "::ffff:1.2.3.4": false, "1.2.3.4": false} {
		if got := table.Lookup(netip.MustParseAddr(addr)).OK; got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestEmptyOddAndRepeatedEntries(t *testing.T) {
	var zero Table
	if zero.Lookup(netip.MustParseAddr("10.0.0.1")).OK || Compile(nil).Lookup(netip.Addr{}).OK {
		t.Error("an empty table has an address")
	}
	p := netip.MustParsePrefix("10.9.9.9/8") // bits outside the mask
	table := Compile([]Entry{{p, 1}, {}, {p.Masked(), 2}})
	if got := table.Lookup(netip.MustParseAddr("10.0.0.1")); got != (Found{2, 8, true}) || table.Len() != 1 {
		t.Errorf("%+v of %d", got, table.Len())
	}
	if table.Lookup(netip.Addr{}).OK {
		t.Error("no address lies in a network")
	}
}

// twin is the obvious way.
func twin(list []Entry, a netip.Addr) Found {
	a = a.Unmap()
	best := Found{}
	for _, e := range list {
		p := e.Prefix
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(a) && (!best.OK || uint8(p.Bits()) >= best.Bits) {
			best = Found{e.Value, uint8(p.Bits()), true}
		}
	}
	return best
}

// random draws addresses that share their beginnings, so that networks nest and part at every depth.
func random(r *rand.Rand) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	if r.IntN(2) == 0 {
		for i := range r.IntN(4) {
			b[i] = byte(r.IntN(2))
		}
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	for i := range r.IntN(16) {
		b[i] = byte(r.IntN(2))
	}
	return netip.AddrFrom16(b)
}

func TestTableAgainstTheObviousWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		var list []Entry
		for i := range r.IntN(60) {
			a := random(r)
			list = append(list, Entry{netip.PrefixFrom(a, r.IntN(a.BitLen()+1)), uint32(i)})
		}
		table := Compile(list)
		try := func(a netip.Addr) {
			if got, want := table.Lookup(a), twin(list, a); got != want {
				t.Fatalf("round %d, %s: got %+v, want %+v of %v", round, a, got, want, list)
			}
		}
		for range 100 {
			try(random(r))
		}
		for _, e := range list { // its ends, and its neighbours
			first := e.Prefix.Masked().Addr()
			try(first)
			try(e.Prefix.Addr())
			if p := first.Prev(); p.IsValid() {
				try(p)
			}
			last := first.AsSlice()
			for bit := e.Prefix.Bits(); bit < len(last)*8; bit++ {
				last[bit/8] |= 0x80 >> (bit % 8)
			}
			end, _ := netip.AddrFromSlice(last)
			try(end)
			if n := end.Next(); n.IsValid() {
				try(n)
			}
		}
	}
}

// large is a list of the size of public block lists: IPv4 from /16 to /32, IPv6 from /29 to /128.
func large(n int) []Entry {
	r := rand.New(rand.NewPCG(3, 4))
	list := make([]Entry, 0, n)
	for i := range n {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		if i%2 == 0 {
			list = append(list, Entry{netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 16+r.IntN(17)).Masked(), uint32(i)})
			continue
		}
		b[0], b[1] = 0x20, b[1]&1
		list = append(list, Entry{netip.PrefixFrom(netip.AddrFrom16(b), 29+r.IntN(100)).Masked(), uint32(i)})
	}
	return list
}

func TestLookupAllocatesNothing(t *testing.T) {
	list := large(1000)
	table := Compile(list)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		table.Lookup(list[i%len(list)].Prefix.Addr())
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Single addresses of IPv6 that part late must not make long paths: a node for each, and not one for each six bits.
func TestNodesAreAsManyAsNetworksPart(t *testing.T) {
	table := Compile(large(20_000))
	if len(table.nodes) > 2*20_000 {
		t.Errorf("%d nodes", len(table.nodes))
	}
}

func BenchmarkLookup(b *testing.B) {
	list := large(100_000)
	table := Compile(list)
	for _, c := range []struct {
		name string
		of   int
	}{{"IPv4", 0}, {"IPv6", 1}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var addrs [1 << 12]netip.Addr
			for i := range addrs {
				addrs[i] = list[(i*2*7919+c.of)%len(list)].Prefix.Addr() // in no order
			}
			i := 0
			for b.Loop() {
				table.Lookup(addrs[i%len(addrs)])
				i++
			}
		})
	}
}

func TestListsOfNetworks(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/8\n10.1.0.1\n\n  2001:db8::/32  # office\r\n# 9.9.9.9\n::1", "10.0.0.0/8 10.1.0.1/32 2001:db8::/32 ::1/128"},
		{"\xef\xbb\xbf10.0.0.1\n", "10.0.0.1/32"},
		{"10.0.0.1\nnonsense", `line 2: "nonsense" is not a network`},
		{"10.0.0.1/8", `line 1: "10.0.0.1/8" has bits set outside its mask`},
		{"10.0.0.0/33", `line 1: "10.0.0.0/33" is not a network`},
		{"fe80::1%eth0", `line 1: "fe80::1%eth0" has a zone`},
		{"10.0.0.0/8 10.1.0.0/16", `line 1: "10.0.0.0/8 10.1.0.0/16" is not a network`},
		{strings.Repeat("x", 70), `line 1: "` + strings.Repeat("x", 60) + `"... is not a network`},
	} {
		var got string
		list, err := ParseList(nil, []byte(c.text))
		if err != nil {
			got = err.Error()
		}
		for _, e := range list {
			got = strings.TrimSpace(got + " " + e.Prefix.String())
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestEachNetworkOfAListHasItsLine(t *testing.T) {
	list, err := ParseList(nil, []byte("# two friends\n\n10.0.0.0/8\n10.0.0.1 # one\n\n10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	table := Compile(list)
	for addr, want := range map[string]uint32{"10.1.1.1": 3, "10.0.0.1": 6, "11.0.0.1": 0} {
		if got := table.Lookup(netip.MustParseAddr(addr)).Value; got != want {
			t.Errorf("%s: line %d, want %d", addr, got, want)
		}
	}
}

// prefixes_max
func TestListIsBounded(t *testing.T) {
	full := make([]Entry, PrefixesMax)
	if _, err := ParseList(full, []byte("10.0.0.1")); err == nil || !strings.Contains(err.Error(), fmt.Sprint(PrefixesMax)) {
		t.Error(err)
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte("10.0.0.0/8\n# a\n::1\n"))
	f.Add([]byte("::ffff:10.0.0.0/104\n1.2.3.4"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseList(nil, text)
		if err != nil {
			return
		}
		table := Compile(list)
		for _, e := range list {
			if a := e.Prefix.Addr(); table.Lookup(a) != twin(list, a) {
				t.Errorf("%s: got %+v, want %+v", a, table.Lookup(a), twin(list, a))
			}
		}
	})
}

package ip

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/policy/cidr"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func file(t *testing.T, denies bool, text string) File {
	entries, err := cidr.ParseList(nil, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := File{Path: "list.txt", Deny: denies, Table: new(atomic.Pointer[cidr.Table])}
	f.Table.Store(cidr.Compile(entries))
	return f
}

func TestTheLongestNetworkDecides(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
		addr string
		want Verdict
	}{
		{"allowed", Spec{Allow: prefixes("10.0.0.0/8"), DenyOthers: true}, "10.1.1.1", Verdict{Refused: false, Listed: true, Bits: 8}},
		{"others are denied", Spec{Allow: prefixes("10.0.0.0/8"), DenyOthers: true}, "11.1.1.1", Verdict{Refused: true, Listed: false, Bits: 0}},
		{"others are allowed", Spec{Deny: prefixes("10.0.0.0/8")}, "11.1.1.1", Verdict{}},
		{"denied", Spec{Deny: prefixes("10.0.0.0/8")}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 8}},
		{"denied, mapped", Spec{Deny: prefixes("10.0.0.0/8")}, "::ffff:10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 8}},
		{"an exception to a denial", Spec{Deny: prefixes("10.0.0.0/8"), Allow: prefixes("10.1.0.0/16")}, "10.1.1.1", Verdict{Refused: false, Listed: true, Bits: 16}},
		{"an exception to a permission", Spec{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.1.1.1/32"), DenyOthers: true}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 32}},
		{"by a file", Spec{Files: []File{file(t, true, "10.1.0.0/16")}}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 16}},
		{"a file is longer", Spec{Allow: prefixes("10.0.0.0/8"), Files: []File{file(t, true, "10.1.0.0/16")}, DenyOthers: true}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 16}},
		{"a file is shorter", Spec{Allow: prefixes("10.1.1.0/24"), Files: []File{file(t, true, "10.1.0.0/16")}, DenyOthers: true}, "10.1.1.1", Verdict{Refused: false, Listed: true, Bits: 24}},
		{"alike: denied", Spec{Allow: prefixes("10.1.0.0/16"), Files: []File{file(t, true, "10.1.0.0/16")}}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 16}},
		{"alike, the other way: denied", Spec{Deny: prefixes("10.1.0.0/16"), Files: []File{file(t, false, "10.1.0.0/16")}}, "10.1.1.1", Verdict{Refused: true, Listed: true, Bits: 16}},
		{"no IPv4 in all of IPv6", Spec{Allow: prefixes("::/0"), DenyOthers: true}, "::ffff:10.0.0.1", Verdict{Refused: true, Listed: false, Bits: 0}},
	} {
		f, problems := Compile(c.spec, nil)
		if problems != nil {
			t.Fatal(problems)
		}
		got := f.Judge(netip.MustParseAddr(c.addr))
		got.At = Place{} // which is another test's
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestWhereTheNetworkStandsThatDecides(t *testing.T) {
	f, problems := Compile(Spec{Allow: prefixes("10.0.0.0/8", "11.0.0.0/8"), Deny: prefixes("12.0.0.0/8", "11.1.0.0/16"),
		Files: []File{file(t, true, "# bad\n10.1.0.0/16"), file(t, false, "12.1.0.0/16\n11.1.0.0/16\n::/0"), file(t, true, "12.1.0.0/16")}}, nil)
	if problems != nil {
		t.Fatal(problems)
	}
	for addr, want := range map[string]Verdict{
		"10.0.0.1":        {false, true, 8, Place{0, entryOf(0, false)}},
		"11.0.0.1":        {false, true, 8, Place{0, entryOf(1, false)}},
		"12.0.0.1":        {true, true, 8, Place{0, entryOf(0, true)}},
		"11.1.0.1":        {true, true, 16, Place{0, entryOf(1, true)}}, // and not the file that allows it
		"10.1.0.1":        {true, true, 16, Place{1, 2}},
		"::ffff:10.1.0.1": {true, true, 16, Place{1, 2}},
		"12.1.0.1":        {true, true, 16, Place{3, 1}}, // that which denies, of two
		"2001:db8::1":     {false, true, 0, Place{2, 3}},
		"13.0.0.1":        {},
	} {
		if got := f.Judge(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %+v, want %+v", addr, got, want)
		}
	}
}

func TestAFileThatChangesCountsAtOnce(t *testing.T) {
	list := file(t, true, "")
	f, _ := Compile(Spec{Files: []File{list}}, nil)
	a := netip.MustParseAddr("192.0.2.1")
	if f.Judge(a).Refused {
		t.Error("nobody is denied")
	}
	list.Table.Store(cidr.Compile([]cidr.Entry{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}))
	if !f.Judge(a).Refused {
		t.Error("the list has come, and the client was let in")
	}
}

func TestSpecsThatMeanNothing(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want Problem
	}{
		{Spec{}, Problem{"", "the filter has no networks", "write ip: {allow: 10.0.0.0/8}"}},
		{Spec{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("11.0.0.0/8", "10.0.0.0/8")}, Problem{"deny[1]", "10.0.0.0/8 is both allowed and denied", "remove one of the two"}},
		{Spec{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("::ffff:10.0.0.0/104")}, Problem{"deny[0]", "::ffff:10.0.0.0/104 is both allowed and denied", "remove one of the two"}},
	} {
		if f, got := Compile(c.spec, nil); f != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}

func TestJudgingAllocatesNothing(t *testing.T) {
	f, _ := Compile(Spec{Deny: prefixes("10.0.0.0/8"), Files: []File{file(t, true, "11.0.0.0/8\n2001:db8::/32")}}, nil)
	a := netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(1000, func() { f.Judge(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTextHasTheNumbers(t *testing.T) {
	f, _ := Compile(Spec{Allow: prefixes("10.0.0.0/8"), Files: []File{file(t, true, "10.1.0.0/16\n10.2.0.0/16")}, DenyOthers: true}, nil)
	const want = "by the client's address: allow 1 network, deny 0 networks, deny those of list.txt (2 networks), deny others"
	if got := f.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

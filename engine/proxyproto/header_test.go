package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/engine/message"
)

// block writes a version 2 header: the two bytes behind the signature, then what its length counts.
func block(command, family byte, payload string) string {
	b := append([]byte(signature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(b) + payload
}

// tlv writes one TLV.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed puts the right checksum, more or less wrong, into a header that ends in an empty one.
func summed(b string, wrong uint32) string {
	table := crc32.MakeTable(crc32.Castagnoli)
	return string(binary.BigEndian.AppendUint32([]byte(b[:len(b)-4]), crc32.Checksum([]byte(b), table)^wrong))
}

const (
	addresses4 = "\xc0\x00\x02\x01\xcb\x00\x71\x02\x10\xe1\x01\xbb"
	addresses6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x10\xe1\x01\xbb"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"

	told4 = "192.0.2.1:4321 > 203.0.113.2:443"
	told6 = "[2001:db8::1]:4321 > [2001:db8::2]:443"
)

var unix = strings.Repeat("u", 216)

// samples are headers, each with what is read from it or the word it is refused with.
var samples = []struct{ input, want string }{
	// 2.1: a line.
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321 443\r\n", "v1 " + told4},
	{"PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 4321 443\r\n", "v1 " + told6},
	{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "v1 255.255.255.255:65535 > 255.255.255.255:65535"},
	{"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "v1 0.0.0.0:0 > 0.0.0.0:0"},
	{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"v1 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 > [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:cb00:7102 4321 443\r\n", "v1 " + told4},
	{"PROXY TCP6 ::ffff:192.0.2.1 ::1 4321 443\r\n", "v1 192.0.2.1:4321 > [::1]:443"},
	{"PROXY UNKNOWN\r\n", "v1 local"},
	{"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "v1 local"},
	{"PROXY UNKNOWN whatever  stands here\x00\r\n", "v1 local"},

	{"PROXY UNKNOWN\n", "proxy_protocol"},
	{"PROXY UNKNOWN\r\r\n", "proxy_protocol"},
	{"PROXY UNKNOWN a\nb\r\n", "proxy_protocol"},
	{"PROXY UNKNOWNS\r\n", "proxy_protocol"},
	{"PROXY unknown\r\n", "proxy_protocol"},
	{"PROXY TCP4\r\n", "proxy_protocol"},
	{"PROXY \r\n", "proxy_protocol"},
	{"PROXY  TCP4 192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4  192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321  443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321 443 \r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321 443 1\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321\r\n", "proxy_protocol"},
	{"PROXY TCP4\t192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321 443\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 04321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 +4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 65536 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.1 203.0.113.2 4321 00\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.01 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 192.0.2.256 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP4 2001:db8::1 2001:db8::2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP6 192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP6 fe80::1%eth0 2001:db8::2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP6 [2001:db8::1] 2001:db8::2 4321 443\r\n", "proxy_protocol"},
	{"PROXY TCP5 192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},
	{"PROXY UDP4 192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol"},

	// 2.2: a block.
	{block(0x21, 0x11, addresses4), "v2 " + told4},
	{block(0x21, 0x12, addresses4), "v2 " + told4},
	{block(0x21, 0x21, addresses6), "v2 " + told6},
	{block(0x21, 0x22, addresses6), "v2 " + told6},
	{block(0x21, 0x21, mapped+"\xc0\x00\x02\x01"+mapped+"\xcb\x00\x71\x02\x10\xe1\x01\xbb"), "v2 " + told4},
	{block(0x21, 0x31, unix), "v2 local"},
	{block(0x21, 0x32, unix), "v2 local"},
	{block(0x21, 0x00, ""), "v2 local"},
	{block(0x21, 0x00, "anything"), "v2 local"},
	{block(0x21, 0x10, "anything"), "v2 local"},
	{block(0x21, 0x01, "anything"), "v2 local"},
	{block(0x20, 0x00, ""), "v2 local"},
	{block(0x20, 0xff, "the family is ignored, and so is this"), "v2 local"},
	{block(0x20, 0x11, addresses4+tlv(typeAuthority, "exam.test")), "v2 local"},

	{block(0x11, 0x11, addresses4), "proxy_protocol"},
	{block(0x31, 0x11, addresses4), "proxy_protocol"},
	{block(0x22, 0x11, addresses4), "proxy_protocol"},
	{block(0x21, 0x41, addresses4), "proxy_protocol"},
	{block(0x21, 0x13, addresses4), "proxy_protocol"},
	{block(0x21, 0x11, addresses4[:11]), "proxy_protocol"},
	{block(0x21, 0x21, addresses6[:35]), "proxy_protocol"},
	{block(0x21, 0x21, addresses4), "proxy_protocol"},
	{block(0x21, 0x31, unix[:215]), "proxy_protocol"},
	{block(0x21, 0x11, ""), "proxy_protocol"},

	// 2.2.1 and on: TLVs.
	{block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test")), "v2 " + told4 + ` authority "exam.test"`},
	{block(0x21, 0x11, addresses4+tlv(typeAuthority, "")), "v2 " + told4},
	{block(0x21, 0x21, addresses6+tlv(0x01, "h2")+tlv(typeAuthority, "bücher.test")+tlv(0x04, "\x00\x00")+tlv(0x04, "")), "v2 " + told6 + ` authority "bücher.test"`},
	{block(0x21, 0x11, addresses4+tlv(typeUniqueID, "\x00\xff")), "v2 " + told4 + ` id "\x00\xff"`},
	{block(0x21, 0x31, unix+tlv(typeUniqueID, "7")), `v2 local id "7"`},
	{block(0x21, 0x11, addresses4+tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3"))+tlv(0xe0, "own")+tlv(typeUniqueID, "7")), "v2 " + told4 + ` id "7"`},
	{summed(block(0x21, 0x11, addresses4+tlv(typeUniqueID, "7")+tlv(typeCRC32C, "\x00\x00\x00\x00")), 0), "v2 " + told4 + ` id "7"`},

	{summed(block(0x21, 0x11, addresses4+tlv(typeUniqueID, "7")+tlv(typeCRC32C, "\x00\x00\x00\x00")), 1), "proxy_protocol_checksum"},
	{block(0x21, 0x11, addresses4+tlv(typeCRC32C, "")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeCRC32C, "12345")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeCRC32C, "1234")+tlv(typeCRC32C, "1234")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+"\x04"), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+"\x04\x00"), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+"\x04\x00\x01"), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+"\x02\xff\xffexam.test"), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test")+tlv(typeAuthority, "exam.test")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test\r\nX: y")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test\x00")), "proxy_protocol"},
	{block(0x21, 0x11, addresses4+tlv(typeUniqueID, "7")+tlv(typeUniqueID, "7")), "proxy_protocol"},

	// 5: something else.
	{"GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n", "proxy_protocol_missing"},
	{"\x16\x03\x01\x02\x00\x01\x00", "proxy_protocol_missing"},
	{"PROXY\r\n", "proxy_protocol_missing"},
	{"proxy TCP4 192.0.2.1 203.0.113.2 4321 443\r\n", "proxy_protocol_missing"},
	{"\r\n\r\n\x00\r\nQUIT\r", "proxy_protocol_missing"},
	{" PROXY UNKNOWN\r\n", "proxy_protocol_missing"},
}

// told says what Parse returned: what was read, the reason of a refusal, or "more".
func told(h Header, n int, err error) string {
	var r *message.Refusal
	if errors.As(err, &r) {
		if n != 0 || h.Version != 0 {
			return "something beside a refusal"
		}
		return r.Reason
	}
	if n == 0 {
		return "more"
	}
	s := fmt.Sprintf("v%d ", h.Version)
	if h.Local {
		s += "local"
		if h.Source.IsValid() || h.Destination.IsValid() {
			s += " with addresses"
		}
	} else {
		s += fmt.Sprintf("%v > %v", h.Source, h.Destination)
	}
	if len(h.Authority) > 0 {
		s += fmt.Sprintf(" authority %q", h.Authority)
	}
	if len(h.UniqueID) > 0 {
		s += fmt.Sprintf(" id %q", h.UniqueID)
	}
	return s
}

// Every sample whole, with bytes behind it, and at each length: until it is complete more is asked for or it is refused
// already, and the verdict stays what it was.
func TestParse(t *testing.T) {
	for _, s := range samples {
		b := []byte(s.input)
		h, n, err := Parse(b)
		if got := told(h, n, err); got != s.want {
			t.Errorf("%q\n is %s\nnot %s", s.input, got, s.want)
			continue
		}
		if err == nil && n != len(b) {
			t.Errorf("%q has length %d", s.input, n)
		}
		checkEachLength(t, b)
		for _, behind := range []string{"\x00", "\r\n", "GET / HTTP/1.1\r\n\r\n", s.input} {
			h, n2, err := Parse([]byte(s.input + behind))
			if got := told(h, n2, err); got != s.want || n2 != n {
				t.Errorf("%q and %q\n is %s (%d)\nnot %s (%d)", s.input, behind, got, n2, s.want, n)
			}
		}
	}
}

// checkEachLength compares what is said about the beginnings of b with what is said about all of it.
func checkEachLength(t *testing.T, b []byte) {
	t.Helper()
	h, n, err := Parse(b)
	whole := told(h, n, err)
	for i := range b {
		h, k, err := Parse(b[:i:i])
		got := told(h, k, err)
		switch {
		case got == "more" && (n == 0 || i < n):
		case got == whole && (n == 0 || i >= n) && k == n:
		default:
			t.Errorf("%q\n is %s\nand %s at %d", b, whole, got, i)
		}
	}
}

// A bound of version 1 (2.1): no line is longer than 107 bytes, and nobody has to wait for byte 108 to learn it.
func TestLargeLineIsRefused(t *testing.T) {
	for length, want := range map[int]string{106: "v1 local", 107: "v1 local", 108: "proxy_protocol_large", 109: "proxy_protocol_large", 5000: "proxy_protocol_large"} {
		line := []byte("PROXY UNKNOWN " + strings.Repeat("x", length-16) + "\r\n")
		if got := told(Parse(line)); got != want {
			t.Errorf("%d bytes: %s, want %s", len(line), got, want)
		}
		checkEachLength(t, line)
	}
	if got := told(Parse([]byte("PROXY UNKNOWN " + strings.Repeat("x", 93)))); got != "proxy_protocol_large" {
		t.Errorf("107 bytes without an end: %s", got)
	}
}

// BytesMax is exact, and a block that says it is larger is refused before it is there.
func TestLargeBlockIsRefused(t *testing.T) {
	fits := BytesMax - blockFixed - lengthINET - 3
	for length, want := range map[int]string{fits: "v2 " + told4, fits + 1: "proxy_protocol_large", 65000: "proxy_protocol_large"} {
		b := []byte(block(0x21, 0x11, addresses4+tlv(0xe0, strings.Repeat("x", length))))
		if got := told(Parse(b)); got != want {
			t.Errorf("%d bytes: %s, want %s", len(b), got, want)
		}
	}
	if got := told(Parse([]byte(signature + "\x21\x11\xff\xff"))); got != "proxy_protocol_large" {
		t.Errorf("16 bytes: %s", got)
	}
	if got := told(Parse([]byte(signature + "\x20\x00\xff\xff"))); got != "proxy_protocol_large" {
		t.Errorf("16 bytes, LOCAL: %s", got)
	}
}

func TestLongAuthorityAndUniqueIDAreRefused(t *testing.T) {
	for _, s := range []struct {
		kind   byte
		length int
		ok     bool
	}{{typeAuthority, authorityBytesMax, true}, {typeAuthority, authorityBytesMax + 1, false},
		{typeUniqueID, uniqueIDBytesMax, true}, {typeUniqueID, uniqueIDBytesMax + 1, false}} {
		h, _, err := Parse([]byte(block(0x21, 0x11, addresses4+tlv(s.kind, strings.Repeat("x", s.length)))))
		if (err == nil) != s.ok || s.ok && len(h.Authority)+len(h.UniqueID) != s.length {
			t.Errorf("type %d, %d bytes: %v", s.kind, s.length, err)
		}
	}
}

// A bit that falls over anywhere in a header with a checksum (2.2.3) shows.
func TestChecksumSeesEachBit(t *testing.T) {
	b := []byte(summed(block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test")+tlv(typeCRC32C, "\x00\x00\x00\x00")), 0))
	if _, n, err := Parse(b); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
	// From the addresses up to the TLV that holds the checksum: before and behind it, a bit may make another header of it.
	for i := blockFixed * 8; i < (len(b)-7)*8; i++ {
		b[i/8] ^= 1 << (i % 8)
		if h, n, err := Parse(b); err == nil {
			t.Errorf("bit %d: %s", i, told(h, n, err))
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestBegins(t *testing.T) {
	for _, s := range []struct {
		input      string
		yes, known bool
	}{
		{"", false, false},
		{"P", false, false},
		{"PROXY", false, false},
		{"PROXY ", true, true},
		{"PROXY nonsense", true, true},
		{"PROXY\t", false, true},
		{"POST / HTTP/1.1", false, true},
		{"PO", false, true},
		{"\r", false, false},
		{"\r\n\r\n\x00\r\nQUIT", false, false},
		{signature, true, true},
		{signature + "\x21", true, true},
		{"\r\nGET / HTTP/1.1", false, true},
		{"\x16", false, true},
	} {
		if yes, known := Begins([]byte(s.input)); yes != s.yes || known != s.known {
			t.Errorf("%q: %v, %v", s.input, yes, known)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, s := range []struct{ src, dst, line, read string }{
		{"192.0.2.1:4321", "203.0.113.2:443", "PROXY TCP4 192.0.2.1 203.0.113.2 4321 443\r\n", told4},
		{"[::ffff:192.0.2.1]:4321", "203.0.113.2:443", "PROXY TCP4 192.0.2.1 203.0.113.2 4321 443\r\n", told4},
		{"[2001:db8::1]:4321", "[2001:db8::2]:443", "PROXY TCP6 2001:db8::1 2001:db8::2 4321 443\r\n", told6},
		{"[fe80::1%eth0]:4321", "[fe80::2%eth0]:443", "PROXY TCP6 fe80::1 fe80::2 4321 443\r\n", "[fe80::1]:4321 > [fe80::2]:443"},
		{"192.0.2.1:4321", "[2001:db8::2]:443", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 4321 443\r\n", "192.0.2.1:4321 > [2001:db8::2]:443"},
		{"[2001:db8::1]:4321", "203.0.113.2:443", "PROXY TCP6 2001:db8::1 ::ffff:203.0.113.2 4321 443\r\n", "[2001:db8::1]:4321 > 203.0.113.2:443"},
		{"", "203.0.113.2:443", "PROXY UNKNOWN\r\n", "local"},
		{"192.0.2.1:4321", "", "PROXY UNKNOWN\r\n", "local"},
	} {
		src, _ := netip.ParseAddrPort(s.src)
		dst, _ := netip.ParseAddrPort(s.dst)
		line := AppendV1([]byte("."), src, dst)
		if string(line) != "."+s.line {
			t.Errorf("%v to %v: %q", src, dst, line)
		}
		if got := told(Parse(line[1:])); got != "v1 "+s.read {
			t.Errorf("%q is read as %s", line, got)
		}
		b := AppendV2([]byte("."), src, dst)
		if got := told(Parse(b[1:])); got != "v2 "+s.read {
			t.Errorf("%q is read as %s", b, got)
		}
	}
	src, dst := netip.MustParseAddrPort("192.0.2.1:4321"), netip.MustParseAddrPort("203.0.113.2:443")
	if got := string(AppendV2(nil, src, dst)); got != block(0x21, 0x11, addresses4) {
		t.Errorf("%q", got)
	}
	if got := string(AppendV2(nil, netip.AddrPort{}, dst)); got != block(0x20, 0x00, "") {
		t.Errorf("%q", got)
	}
}

// Whatever the addresses, both versions are read as what was written, unmapped and without zones.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := func(name string) netip.AddrPort {
			port := rapid.Uint16().Draw(t, name+" port")
			four := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)
			switch rapid.IntRange(0, 2).Draw(t, name+" kind") {
			case 0:
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte(four)), port)
			case 1:
				return netip.AddrPortFrom(netip.AddrFrom16(netip.AddrFrom4([4]byte(four)).As16()), port)
			}
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name+" long"))), port)
		}
		src, dst := side("source"), side("destination")
		want := fmt.Sprintf("%v > %v", netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()))
		for version, b := range [][]byte{AppendV1(nil, src, dst), AppendV2(nil, src, dst)} {
			if got := told(Parse(b)); got != fmt.Sprintf("v%d %s", version+1, want) {
				t.Fatalf("%q is read as %s, want %s", b, got, want)
			}
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	var inputs [][]byte
	for _, s := range samples {
		inputs = append(inputs, []byte(s.input))
	}
	out := make([]byte, 0, 128)
	src, dst := netip.MustParseAddrPort("[fe80::1%eth0]:4321"), netip.MustParseAddrPort("203.0.113.2:443")
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range inputs {
			if h, n, err := Parse(b); err == nil && n != len(b) || h.Version > 2 {
				t.Error(n)
			}
		}
		out = AppendV2(AppendV1(out[:0], src, dst), src, dst)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRefusalsAreAllListed(t *testing.T) {
	source, err := os.ReadFile("refusals.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := strings.Count(string(source), " = refusal("); made != len(Refusals()) {
		t.Errorf("%d refusals are made, %d are listed", made, len(Refusals()))
	}
	seen := map[string]bool{}
	for _, r := range Refusals() {
		if seen[r.Reason] {
			t.Errorf("%s stands for two refusals", r.Reason)
		}
		seen[r.Reason] = true
	}
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []struct{ name, input string }{
		{"line4", "PROXY TCP4 192.0.2.1 203.0.113.2 4321 443\r\n"},
		{"line6", "PROXY TCP6 2001:db8::1 2001:db8::2 4321 443\r\n"},
		{"block4", block(0x21, 0x11, addresses4)},
		{"checksum", summed(block(0x21, 0x11, addresses4+tlv(typeAuthority, "exam.test")+tlv(typeCRC32C, "\x00\x00\x00\x00")), 0)},
	} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			input := []byte(s.input)
			for b.Loop() {
				if _, n, err := Parse(input); n != len(input) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

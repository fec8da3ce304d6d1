package proxyproto

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The slow twin reads a header with regular expressions, net/netip and copies. It says what is read in the words of told.
var twinLine = regexp.MustCompile(`(?s)^PROXY (?:(UNKNOWN)(?: [^\r\n]*)?|TCP([46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n`)

func slow(b []byte) string {
	if strings.HasPrefix(string(b), "PROXY ") {
		return slowLine(string(b))
	}
	return slowBlock(b)
}

func slowLine(s string) string {
	runes := []rune{} // of one byte each, so that the expression matches bytes
	for i := range min(len(s), 107) {
		runes = append(runes, rune(s[i]))
	}
	m := twinLine.FindStringSubmatch(string(runes))
	if m == nil {
		return "nothing"
	}
	if m[1] != "" {
		return "v1 local"
	}
	var sides [2]netip.AddrPort
	for i := range sides {
		a, err := netip.ParseAddr(m[3+i])
		port, err2 := strconv.ParseUint(m[5+i], 10, 16)
		if err != nil || err2 != nil || a.Is4() != (m[2] == "4") {
			return "nothing"
		}
		sides[i] = netip.AddrPortFrom(a.Unmap(), uint16(port))
	}
	return fmt.Sprintf("v1 %v > %v", sides[0], sides[1])
}

func slowBlock(b []byte) string {
	if len(b) < 16 || string(b[:12]) != "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a" {
		return "nothing"
	}
	size := 16 + int(b[14])*256 + int(b[15])
	if size > 4096 || len(b) < size {
		return "nothing"
	}
	b = append([]byte{}, b[:size]...)
	said := "v2 local"
	tlvs := b[16:]
	switch fmt.Sprintf("%02x %02x", b[12], b[13]) {
	case "21 11", "21 12":
		if len(tlvs) < 12 {
			return "nothing"
		}
		said = fmt.Sprintf("v2 %d.%d.%d.%d:%d > %d.%d.%d.%d:%d", tlvs[0], tlvs[1], tlvs[2], tlvs[3], int(tlvs[8])*256+int(tlvs[9]),
			tlvs[4], tlvs[5], tlvs[6], tlvs[7], int(tlvs[10])*256+int(tlvs[11]))
		tlvs = tlvs[12:]
	case "21 21", "21 22":
		if len(tlvs) < 36 {
			return "nothing"
		}
		src, _ := netip.AddrFromSlice(tlvs[:16])
		dst, _ := netip.AddrFromSlice(tlvs[16:32])
		said = fmt.Sprintf("v2 %v > %v", netip.AddrPortFrom(src.Unmap(), uint16(tlvs[32])<<8|uint16(tlvs[33])),
			netip.AddrPortFrom(dst.Unmap(), uint16(tlvs[34])<<8|uint16(tlvs[35])))
		tlvs = tlvs[36:]
	case "21 31", "21 32":
		if len(tlvs) < 216 {
			return "nothing"
		}
		tlvs = tlvs[216:]
	case "21 00", "21 01", "21 02", "21 10", "21 20", "21 30":
		return said
	default:
		if b[12] == 0x20 {
			return said
		}
		return "nothing"
	}
	values := map[byte][]byte{}
	for len(tlvs) > 0 {
		if len(tlvs) < 3 || len(tlvs) < 3+int(tlvs[1])*256+int(tlvs[2]) {
			return "nothing"
		}
		kind, value := tlvs[0], tlvs[3:3+int(tlvs[1])*256+int(tlvs[2])]
		tlvs = tlvs[3+len(value):]
		if kind != typeAuthority && kind != typeCRC32C && kind != typeUniqueID {
			continue
		}
		if _, twice := values[kind]; twice {
			return "nothing"
		}
		values[kind] = value
	}
	if a := values[typeAuthority]; len(a) > 255 || strings.ContainsFunc(string(a), func(r rune) bool { return r <= 32 || r == 127 }) {
		return "nothing"
	} else if len(a) > 0 {
		said += fmt.Sprintf(" authority %q", a)
	}
	if id := values[typeUniqueID]; len(id) > 128 {
		return "nothing"
	} else if len(id) > 0 {
		said += fmt.Sprintf(" id %q", id)
	}
	if sum, is := values[typeCRC32C]; is {
		if len(sum) != 4 {
			return "nothing"
		}
		stored := binary.BigEndian.Uint32(sum)
		clear(sum) // within b
		if crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) != stored {
			return "nothing"
		}
	}
	return said
}

// compareWithSlow compares what is read; which word a refusal has is not the twin's business.
func compareWithSlow(t *testing.T, b []byte) {
	t.Helper()
	h, n, err := Parse(b)
	got := told(h, n, err)
	if n == 0 {
		got = "nothing"
	}
	if want := slow(b); got != want {
		t.Errorf("%q\n is %s (%v)\nnot %s", b, got, err, want)
	}
	if n == 0 && err == nil && len(b) >= BytesMax {
		t.Errorf("more than %d bytes are wanted", len(b))
	}
}

func TestTwinAgreesOnSamples(t *testing.T) {
	for _, s := range samples {
		compareWithSlow(t, []byte(s.input))
	}
}

// Each sample with each of its bytes replaced by one that means something somewhere.
func TestTwinAgreesOnSpoiltSamples(t *testing.T) {
	for _, s := range samples {
		for i := range s.input {
			for _, c := range []byte("\x00\x01\x02\x03\x05\x20 \r\n.:0159afgF\x7f\xff") {
				b := []byte(s.input)
				b[i] = c
				compareWithSlow(t, b)
			}
		}
	}
}

// netip.ParseAddr is the twin of both parsers of addresses.
func TestAddressesAreThoseOfNetip(t *testing.T) {
	for _, s := range []string{"", "0", "::", ":", ":::", "::1", "1::", "1:", ":1", "1::2::3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::",
		"::2:3:4:5:6:7:8", "1::2:3:4:5:6:7:8", "1:2:3:4:5:6:7::8", "1:2:3:4::5:6:7:8", "12345::", "0001::", "00001::", "::1.2.3.4", "::1.2.3.4:5",
		"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::ffff:1.2.3.04", "::ffff:1.2.3", "::1.2.3.4.", "1.2.3.4::", "g::",
		"1.2.3.4", "1.2.3.4.", ".1.2.3.4", "1..2.3", "1.2.3", "1.2.3.4.5", "01.2.3.4", "0.0.0.0", "255.255.255.255", "256.1.1.1", "1.1.1.1000",
		"0x1.2.3.4", "1.2.3.4 ", "::%1", "A:b:C:d:E:f:0:9"} {
		checkAddress(t, s)
	}
}

func checkAddress(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	four, ok4 := parseIPv4([]byte(s))
	six, ok6 := parseIPv6([]byte(s))
	if ok4 != (err == nil && want.Is4()) || ok4 && four != want {
		t.Errorf("%q as IPv4: %v %v, netip: %v %v", s, four, ok4, want, err)
	}
	if ok6 != (err == nil && want.Is6() && want.Zone() == "") || ok6 && six != want {
		t.Errorf("%q as IPv6: %v %v, netip: %v %v", s, six, ok6, want, err)
	}
}

// Whatever a peer sends: no panic, the same verdict however it is cut, and what the twin reads. What was read is read again
// when it is written.
func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.input))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		compareWithSlow(t, b)
		if len(b) < 500 {
			checkEachLength(t, b)
		}
		h, n, err := Parse(b)
		if yes, known := Begins(b); err == nil && n > 0 && !(yes && known) {
			t.Errorf("%q does not begin as a header does", b)
		}
		if n == 0 || err != nil {
			return
		}
		h.Authority, h.UniqueID = nil, nil
		for version, again := range [][]byte{AppendV1(nil, h.Source, h.Destination), AppendV2(nil, h.Source, h.Destination)} {
			h.Version = version + 1
			if got := told(Parse(again)); got != told(h, n, nil) {
				t.Errorf("%q becomes %q, which is %s", b, again, got)
			}
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"::", "1:2::3", "::ffff:1.2.3.4", "255.0.0.1", "1:2:3:4:5:6:7::"} {
		f.Add(s)
	}
	f.Fuzz(checkAddress)
}

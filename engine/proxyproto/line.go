package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/yumen-io/yumen/engine/message"
)

// version1 is what a header of version 1 begins with, a line of text (2.1).
const version1 = "PROXY "

// unknown is the line that names no addresses.
const unknown = version1 + "UNKNOWN\r\n"

// parseLine reads a line of version 1. It is judged when it is complete, so that the verdict does not depend on how it
// was cut.
func (h *Header) parseLine(b []byte) (n int, refused *message.Refusal) {
	line := b[:min(len(b), lineBytesMax)]
	end := bytes.IndexAny(line, "\r\n")
	if end < 0 || end == len(line)-1 && line[end] == '\r' {
		if len(line) == lineBytesMax {
			return 0, large
		}
		return 0, nil
	}
	if line[end] == '\n' || line[end+1] != '\n' {
		return 0, malformed // neither CR nor LF ends a line alone
	}
	h.Version = 1
	family, rest, _ := bytes.Cut(line[len(version1):end], []byte{' '})
	switch string(family) {
	case "TCP4":
		refused = h.addresses(rest, parseIPv4)
	case "TCP6":
		refused = h.addresses(rest, parseIPv6)
	case "UNKNOWN":
		h.Local = true // and the rest of the line says nothing
	default:
		refused = malformed
	}
	return end + 2, refused
}

// addresses reads two addresses and two ports, each one space apart.
func (h *Header) addresses(b []byte, parse func([]byte) (netip.Addr, bool)) *message.Refusal {
	space := []byte{' '}
	source, b, _ := bytes.Cut(b, space)
	destination, b, _ := bytes.Cut(b, space)
	sourcePort, destinationPort, _ := bytes.Cut(b, space)
	src, ok1 := parse(source)
	dst, ok2 := parse(destination)
	sport, ok3 := parsePort(sourcePort)
	dport, ok4 := parsePort(destinationPort)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return malformed
	}
	h.Source = netip.AddrPortFrom(src.Unmap(), sport)
	h.Destination = netip.AddrPortFrom(dst.Unmap(), dport)
	return nil
}

// parseIPv4 and parseIPv6 take what netip.ParseAddr takes, but for zones: that one wants a string and keeps it, which is
// an allocation for each address.

// parseIPv4 reads four numbers up to 255 without leading zeros.
func parseIPv4(b []byte) (netip.Addr, bool) {
	var to [4]byte
	for part := range to {
		n, digits := 0, 0
		for digits < len(b) && digits < 3 && b[digits]-'0' <= 9 {
			n = n*10 + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return netip.Addr{}, false
		}
		to[part] = byte(n)
		if b = b[digits:]; part == 3 {
			break
		}
		if len(b) == 0 || b[0] != '.' {
			return netip.Addr{}, false
		}
		b = b[1:]
	}
	return netip.AddrFrom4(to), len(b) == 0
}

// parseIPv6 reads eight groups of one to four hexadecimal digits, of which "::" may stand for one or more that are zero, and
// an IPv4 address for the last two.
func parseIPv6(b []byte) (netip.Addr, bool) {
	var (
		to    [16]byte
		at    = 0  // bytes of to that are known
		gapAt = -1 // where among them "::" stands
	)
	if bytes.HasPrefix(b, []byte("::")) {
		gapAt = 0
		b = b[2:]
	} else if len(b) == 0 {
		return netip.Addr{}, false
	}
	for len(b) > 0 {
		value, digits := 0, 0
		for digits < len(b) && digits < 5 && hexValue(b[digits]) >= 0 {
			value = value<<4 | hexValue(b[digits])
			digits++
		}
		if digits < len(b) && b[digits] == '.' {
			last, ok := parseIPv4(b)
			if !ok || at > 12 {
				return netip.Addr{}, false
			}
			four := last.As4()
			at += copy(to[at:], four[:])
			break
		}
		if digits == 0 || digits > 4 || at == len(to) {
			return netip.Addr{}, false
		}
		to[at], to[at+1] = byte(value>>8), byte(value)
		at += 2
		if b = b[digits:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return netip.Addr{}, false
		}
		if b = b[1:]; b[0] == ':' {
			if gapAt >= 0 {
				return netip.Addr{}, false
			}
			gapAt = at
			b = b[1:]
		}
	}
	if whole := at == len(to); whole || gapAt < 0 {
		return netip.AddrFrom16(to), whole && gapAt < 0
	}
	behind := at - gapAt
	copy(to[len(to)-behind:], to[gapAt:at])
	clear(to[gapAt : len(to)-behind])
	return netip.AddrFrom16(to), true
}

// hexValue returns the value of a hexadecimal digit, -1 if c is none.
func hexValue(c byte) int {
	switch {
	case c-'0' <= 9:
		return int(c - '0')
	case c|0x20-'a' <= 5:
		return int(c|0x20-'a') + 10
	}
	return -1
}

// parsePort reads a decimal number up to 65535 without leading zeros.
func parsePort(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
}

// AppendV1 appends a header of version 1 to b: at most 107 bytes. If an address is not valid, the line is UNKNOWN. If one
// address is IPv4 and the other IPv6, the first is written mapped into IPv6.
func AppendV1(b []byte, src, dst netip.AddrPort) []byte {
	s, d, ok := sides(src, dst)
	if !ok {
		return append(b, unknown...)
	}
	b = append(b, version1...)
	if s.Is4() {
		b = append(b, "TCP4 "...)
	} else {
		b = append(b, "TCP6 "...)
	}
	b = append(s.AppendTo(b), ' ')
	b = append(d.AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(src.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(dst.Port()), 10)
	return append(b, "\r\n"...)
}

package h1

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// hostByte holds the characters of a host name: RFC 3986's reg-name without percent-encoding, which DNS names never
// need and which would give one host many spellings, and without the comma, by which some join two Host fields.
var hostByte = func() (t [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+;=" {
		t[c] = true
	}
	return t
}()

// hostLen checks host [ ":" port ] (RFC 3986 3.2.2, RFC 9110 7.2) and returns how much of it matters: all but a colon
// without a port. An empty host is 0 and no error.
func hostLen(b []byte) (int, *message.Refusal) {
	if len(b) > hostBytesMax {
		return 0, badHost
	}
	end := 0
	if len(b) > 0 && b[0] == '[' {
		end = bytes.IndexByte(b, ']') + 1
		if end == 0 || !isIPv6(b[1:end-1]) {
			return 0, badHost
		}
	} else {
		for end < len(b) && hostByte[b[end]] {
			end++
		}
	}
	if end == len(b) {
		return end, nil
	}
	port := b[end+1:]
	if b[end] != ':' || end == 0 || !isPort(port) {
		return 0, badHost
	}
	if len(port) == 0 {
		return end, nil
	}
	return len(b), nil
}

// isIPv6 tells whether b is an IPv6 address (RFC 3986 3.2.2): eight groups of one to four digits, of which "::" may stand
// for some and a dotted IPv4 address for the last two; no zone. netip.ParseAddr says the same, but wants a string, and
// keeps it: an allocation for each request to such a host.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if len(b) > 1 && b[0] == ':' && b[1] == ':' {
		gap = true
		b = b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && hexValue[b[n]] != notHex {
			n++
		}
		if n < len(b) && b[n] == '.' {
			groups += 2
			return isIPv4(b) && (groups == 8 && !gap || groups < 8 && gap)
		}
		if groups++; n == 0 || n > 4 {
			return false
		}
		if b = b[n:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		if b = b[1:]; b[0] == ':' {
			if gap {
				return false
			}
			gap = true
			b = b[1:]
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}

// isIPv4 tells whether b is four numbers up to 255 without leading zeros.
func isIPv4(b []byte) bool {
	for part := range 4 {
		n, digits := 0, 0
		for digits < len(b) && b[digits]-'0' <= 9 && digits < 3 {
			n = n*10 + int(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return false
		}
		b = b[digits:]
		if part == 3 {
			break
		}
		if len(b) == 0 || b[0] != '.' {
			return false
		}
		b = b[1:]
	}
	return len(b) == 0
}

func isPort(b []byte) bool {
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// sameHost compares two authorities, ignoring case and a port that is the default of the scheme that has it.
func sameHost(a, b []byte, defaultPort int) bool {
	return message.EqualFold(withoutPort(a, defaultPort), withoutPort(b, defaultPort))
}

// withoutPort cuts the port from an authority that hostLen took, if it is the given one.
func withoutPort(b []byte, port int) []byte {
	colon := bytes.LastIndexByte(b, ':')
	if colon < 0 || b[len(b)-1] == ']' {
		return b
	}
	n := 0
	for _, c := range b[colon+1:] {
		n = n*10 + int(c-'0')
	}
	if n != port {
		return b
	}
	return b[:colon]
}

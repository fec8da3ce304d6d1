package block

import (
	"net/netip"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// hostLen judges host [ ":" port ] (RFC 3986 3.2.2, RFC 9110 7.2) as HTTP/1's Host is judged here, and returns how much of
// it matters: all but a colon without a port. A name has no percent-encoding, which would give one host many spellings,
// no comma, by which some join two fields, and of course nobody's name before an '@'. An empty host is none.
func hostLen(s string) (int, *message.Refusal) {
	end := prefix(s, hostByte)
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
		if end == 0 || !isIPv6(s[1:end-1]) {
			return 0, badHost
		}
	}
	if end == 0 || len(s) > hostBytesMax {
		return 0, badHost
	}
	if end == len(s) {
		return end, nil
	}
	port, ok := portNumber(s[end+1:])
	switch {
	case s[end] != ':' || !ok:
		return 0, badHost
	case port < 0:
		return end, nil
	}
	return len(s), nil
}

// isIPv6 tells whether s is an IPv6 address without a zone.
func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// portNumber returns the port that s stands for, -1 if s is empty.
func portNumber[T string | []byte](s T) (int, bool) {
	if len(s) == 0 {
		return -1, true
	}
	n := 0
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return 0, false
		}
		if n = n*10 + int(s[i]-'0'); n > 65535 {
			return 0, false
		}
	}
	return n, true
}

// sameHost compares two authorities that hostLen took, without regard to case and to a port that goes without saying.
func sameHost(a, b []byte, defaultPort int) bool {
	return message.EqualFold(withoutPort(a, defaultPort), withoutPort(b, defaultPort))
}

func withoutPort(b []byte, port int) []byte {
	for i := len(b) - 1; i >= 0 && b[i] != ']'; i-- {
		if b[i] == ':' {
			if n, ok := portNumber(b[i+1:]); ok && n == port {
				return b[:i]
			}
			break
		}
	}
	return b
}

package colour

// traceparentLen is the length of the fields that every version has: version, trace-id, parent-id, trace-flags (W3C Trace Context 3.2).
const traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// traceOf returns the trace-id of a traceparent; false if it is not a valid one.
func traceOf(b []byte) (id []byte, ok bool) {
	if len(b) < traceparentLen || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return nil, false
	}
	version, id, parent, flags := b[:2], b[3:35], b[36:52], b[53:55]
	if !isHex(version) || !isHex(id) || !isHex(parent) || !isHex(flags) || isZero(id) || isZero(parent) || string(version) == "ff" {
		return nil, false
	}
	if rest := b[traceparentLen:]; len(rest) > 0 && (string(version) == "00" || rest[0] != '-') {
		return nil, false // version 00 ends here, and a later one goes on with a dash
	}
	return id, true
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}

// appendHex writes a number as sixteen digits.
func appendHex(b []byte, n uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&15])
	}
	return b
}

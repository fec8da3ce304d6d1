package clienthello

// normalise makes a host name lower case, in place, and returns how much of it counts: all but a dot at its end, since
// RFC 6066 3 has names without it and some clients send it. What is no host name, or could be read as an IP address, which
// the same section forbids, is not ok.
func normalise(b []byte) (n int, ok bool) {
	if len(b) > 0 && b[len(b)-1] == '.' {
		b = b[:len(b)-1]
	}
	label := 0 // where the current one begins
	for i, c := range b {
		switch {
		case c-'a' <= 25, c-'0' <= 9, c == '-', c == '_':
		case c-'A' <= 25:
			b[i] = c | 0x20
		case c == '.' && i > label:
			label = i + 1
			continue
		default:
			return 0, false
		}
		if i-label == labelBytesMax {
			return 0, false
		}
	}
	if label == len(b) || len(b) > nameBytesMax || isNumber(b[label:]) {
		return 0, false
	}
	return len(b), true
}

// isNumber tells whether a last label makes an IPv4 address of a name, in one of the spellings that there are: "10.0.0.1",
// "10.1", "0x7f000001". Browsers go by the last label too, and no top-level domain is a number.
func isNumber(label []byte) bool {
	hex := len(label) > 1 && label[0] == '0' && label[1] == 'x'
	if hex {
		label = label[2:]
	}
	for _, c := range label {
		if c-'0' > 9 && !(hex && c-'a' <= 5) {
			return false
		}
	}
	return true
}

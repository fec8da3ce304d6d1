package transcode

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// Bounds of google.protobuf.Timestamp and Duration.
const (
	timestampSecondsMin = -62135596800 // 0001-01-01T00:00:00Z
	timestampSecondsMax = 253402300799 // 9999-12-31T23:59:59Z
	durationSecondsMax  = 315576000000 // 10000 years
	nanosMax            = 999_999_999
)

// digits reads n decimal digits from the front of b.
func digits(b []byte, n int) (v int, rest []byte, ok bool) {
	if len(b) < n {
		return 0, nil, false
	}
	for _, c := range b[:n] {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		v = v*10 + int(c-'0')
	}
	return v, b[n:], true
}

// parseTimestamp reads a time of RFC 3339, strictly: capital T and Z, at most nine digits of a second, no leap second.
func parseTimestamp(b []byte) (seconds int64, nanos int32, ok bool) {
	var fields [6]int // year, month, day, hour, minute, second
	for i, width := range [6]int{4, 2, 2, 2, 2, 2} {
		if i > 0 {
			if len(b) == 0 || b[0] != "--T::"[i-1] {
				return 0, 0, false
			}
			b = b[1:]
		}
		if fields[i], b, ok = digits(b, width); !ok {
			return 0, 0, false
		}
	}
	year, month, day, hour, minute, second := fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // the 30th of February is the 1st of March to time.Date
		return 0, 0, false
	}
	if len(b) > 0 && b[0] == '.' {
		if nanos, b, ok = parseFraction(b[1:]); !ok {
			return 0, 0, false
		}
	}
	if len(b) == 0 {
		return 0, 0, false
	}
	zone, sign := int64(0), int64(1)
	switch b[0] {
	case 'Z':
		b = b[1:]
	case '-', '+':
		if b[0] == '-' {
			sign = -1
		}
		hours, rest, ok := digits(b[1:], 2)
		if !ok || hours > 23 || len(rest) == 0 || rest[0] != ':' {
			return 0, 0, false
		}
		minutes, rest, ok := digits(rest[1:], 2)
		if !ok || minutes > 59 {
			return 0, 0, false
		}
		zone, b = sign*int64(hours*3600+minutes*60), rest
	}
	seconds = t.Unix() - zone
	return seconds, nanos, len(b) == 0 && seconds >= timestampSecondsMin && seconds <= timestampSecondsMax
}

// parseFraction reads one to nine digits behind a point, as nanoseconds.
func parseFraction(b []byte) (nanos int32, rest []byte, ok bool) {
	n := 0
	for n < len(b) && n < 9 && b[n] >= '0' && b[n] <= '9' {
		nanos = nanos*10 + int32(b[n]-'0')
		n++
	}
	for i := n; i < 9; i++ {
		nanos *= 10
	}
	return nanos, b[n:], n > 0
}

// parseDuration reads seconds with at most nine digits behind the point, and an "s": "1.5s", "-0.001s".
func parseDuration(b []byte) (seconds int64, nanos int32, ok bool) {
	if len(b) < 2 || b[len(b)-1] != 's' {
		return 0, 0, false
	}
	b = b[:len(b)-1]
	negative := false
	if b[0] == '-' || b[0] == '+' {
		negative, b = b[0] == '-', b[1:]
	}
	whole := 0
	for whole < len(b) && b[whole] >= '0' && b[whole] <= '9' {
		if seconds = seconds*10 + int64(b[whole]-'0'); seconds > durationSecondsMax {
			return 0, 0, false
		}
		whole++
	}
	if whole > 1 && b[0] == '0' {
		return 0, 0, false
	}
	b = b[whole:]
	switch {
	case len(b) == 0:
		ok = whole > 0
	case b[0] == '.' && len(b) > 1:
		nanos, b, ok = parseFraction(b[1:])
		ok = ok && len(b) == 0
	case b[0] == '.': // "1.s", as other implementations allow
		ok = whole > 0
	}
	if negative {
		seconds, nanos = -seconds, -nanos
	}
	return seconds, nanos, ok
}

// appendTimestamp writes a time that is in range, without quotes, with no, three, six or nine digits behind the point.
func appendTimestamp(dst []byte, seconds int64, nanos int32) []byte {
	dst = time.Unix(seconds, 0).UTC().AppendFormat(dst, "2006-01-02T15:04:05")
	return append(appendFraction(dst, nanos), 'Z')
}

// appendDuration writes a duration that is in range, likewise.
func appendDuration(dst []byte, seconds int64, nanos int32) []byte {
	if seconds < 0 || nanos < 0 {
		dst, seconds, nanos = append(dst, '-'), -seconds, -nanos
	}
	return append(appendFraction(strconv.AppendInt(dst, seconds, 10), nanos), 's')
}

func appendFraction(dst []byte, nanos int32) []byte {
	if nanos == 0 {
		return dst
	}
	dst = append(dst, '.')
	width, step := 9, int32(100_000_000)
	for ; nanos%1000 == 0; nanos /= 1000 {
		width -= 3
		step /= 1000
	}
	for range width {
		dst = append(dst, byte('0'+nanos/step%10))
		step /= 10
	}
	return dst
}

// appendSnake writes lowerCamelCase as lower_snake_case.
func appendSnake(dst, camel []byte) []byte {
	for _, c := range camel {
		if c >= 'A' && c <= 'Z' {
			dst = append(dst, '_')
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// appendCamel writes lower_snake_case as lowerCamelCase. false: there is no way back.
func appendCamel(dst, snake []byte) ([]byte, bool) {
	for i := 0; i < len(snake); i++ {
		c := snake[i]
		switch {
		case c >= 'A' && c <= 'Z':
			return dst, false
		case c == '_':
			if i++; i == len(snake) || snake[i] < 'a' || snake[i] > 'z' {
				return dst, false
			}
			c = snake[i] - 'a' + 'A'
		}
		dst = append(dst, c)
	}
	return dst, true
}

// isFieldPath tells whether b is names with points between them.
func isFieldPath(b []byte) bool {
	begin := true
	for _, c := range b {
		switch {
		case c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z':
			begin = false
		case c >= '0' && c <= '9' && !begin:
		case c == '.' && !begin:
			begin = true
		default:
			return false
		}
	}
	return !begin
}

// appendFloat writes a number as JavaScript does, and what JSON has no number for as a string.
func appendFloat(dst []byte, v float64, width int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if size := math.Abs(v); size != 0 {
		if width == 64 && (size < 1e-6 || size >= 1e21) || width == 32 && (float32(size) < 1e-6 || float32(size) >= 1e21) {
			format = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, v, format, -1, width)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // 1e-07 is 1e-7
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// plainByte tells which bytes stand in a JSON string as they are.
var plainByte = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString writes text as a JSON string. false: it is not UTF-8, and what was written is to be thrown away.
func appendString[T string | []byte](dst []byte, text T) ([]byte, bool) {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if plainByte[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := decodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				return dst, false
			}
			i += n
			continue
		}
		dst = append(dst, text[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, text[from:]...), '"'), true
}

func decodeRune[T string | []byte](text T) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], text)])
}

package transcode

import (
	"math"
	"math/bits"
)

// integer reads a JSON number that is an integer, however it is written: 100, 1e2 and 100.0 are the same. overflow: its
// magnitude does not fit 64 bits. The token must be a number.
func integer(token []byte) (negative bool, magnitude uint64, whole, overflow bool) {
	if len(token) > 0 && token[0] == '-' {
		negative, token = true, token[1:]
	}
	if len(token) < 19 { // no 18 digits overflow
		n := uint64(0)
		for _, c := range token {
			if c < '0' || c > '9' {
				return integerInFull(negative, token)
			}
			n = n*10 + uint64(c-'0')
		}
		return negative, n, true, false
	}
	return integerInFull(negative, token)
}

// exponentMax is more than any exponent that can matter, and sums of it and the length of a body do not overflow.
const exponentMax = 1 << 30

func integerInFull(negative bool, token []byte) (bool, uint64, bool, bool) {
	// The value is magnitude * 10^(zeros-places+exponent): zeros are those seen since the last other digit. They are held
	// back, so that 1000...000e-100 does not overflow on its way to 1.
	var magnitude uint64
	zeros, places, exponent := 0, 0, 0
	point := false
	overflow := false
	for i, c := range token {
		if c == '.' {
			point = true
			continue
		}
		if c|0x20 == 'e' {
			exponent = exponentOf(token[i+1:])
			break
		}
		if point {
			places++
		}
		if c == '0' {
			if magnitude != 0 {
				zeros++
			}
			continue
		}
		for ; zeros >= 0 && !overflow; zeros-- {
			magnitude, overflow = times10(magnitude)
		}
		zeros = 0
		sum, carry := bits.Add64(magnitude, uint64(c-'0'), 0)
		magnitude, overflow = sum, overflow || carry != 0
	}
	if magnitude == 0 && !overflow {
		return negative, 0, true, false
	}
	shift := zeros - places + exponent
	if shift < 0 {
		return negative, 0, false, false
	}
	for ; shift > 0 && !overflow; shift-- {
		magnitude, overflow = times10(magnitude)
	}
	return negative, magnitude, true, overflow
}

func times10(n uint64) (uint64, bool) {
	high, low := bits.Mul64(n, 10)
	return low, high != 0
}

func exponentOf(b []byte) int {
	sign, n := 1, 0
	for _, c := range b {
		switch c {
		case '-':
			sign = -1
		case '+':
		default:
			n = min(n*10+int(c-'0'), exponentMax)
		}
	}
	return sign * n
}

// ranges of the integer kinds, by the width in bits.
func fitsSigned(negative bool, magnitude uint64, width int) (int64, bool) {
	limit := uint64(1) << (width - 1)
	if negative {
		return int64(-magnitude), magnitude <= limit
	}
	return int64(magnitude), magnitude < limit
}

func fitsUnsigned(negative bool, magnitude uint64, width int) bool {
	return (!negative || magnitude == 0) && (width == 64 || magnitude <= math.MaxUint32)
}

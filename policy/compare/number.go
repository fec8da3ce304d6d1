package compare

import (
	"math"
	"strconv"
	"strings"
)

// decimal is a number of JSON in its shortest form: 0.digits times ten to the exponent, so that 1, 1.0 and 10e-1 are one. It
// is exact, whatever the number's length.
type decimal struct {
	negative bool
	digits   string // without zeros at the ends; empty for zero
	exponent int64
	huge     string // the exponent as written, if it is too large to be added to
}

// exponentMax is what int64 arithmetic on exponents is safe below; a text of this package's size can move the point by no more.
const exponentMax = 1 << 50

// normal reads a number in the form of RFC 8259 section 6.
func normal(s string) decimal {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa, e := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, e = s[:i], s[i+1:]
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	all := whole + part
	d.exponent = int64(len(whole))
	trimmed := strings.TrimLeft(all, "0")
	d.exponent -= int64(len(all) - len(trimmed))
	d.digits = strings.TrimRight(trimmed, "0")
	if d.digits == "" {
		return decimal{} // zero has no sign here
	}
	if e != "" {
		n, err := strconv.ParseInt(e, 10, 64)
		if err != nil || n > exponentMax || n < -exponentMax {
			d.huge = e
		} else {
			d.exponent += n
		}
	}
	return d
}

// key is the same for equal numbers only.
func (d decimal) key() string {
	sign := ""
	if d.negative {
		sign = "-"
	}
	return sign + d.digits + "e" + strconv.FormatInt(d.exponent, 10) + "e" + d.huge
}

// numbers tells whether two are equal, or as near as the tolerance allows.
func (w *walk) numbers(a, b string) bool {
	if a == b || normal(a) == normal(b) {
		return true
	}
	if w.c.Tolerance == 0 {
		return false
	}
	x, err := strconv.ParseFloat(a, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(b, 64)
	if err != nil {
		return false
	}
	return math.Abs(x-y) <= w.c.Tolerance*max(math.Abs(x), math.Abs(y))
}

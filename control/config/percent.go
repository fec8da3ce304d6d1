package config

import (
	"strconv"
	"strings"
)

// Percent is a share from 0 to 100.
type Percent float64

// Fraction is the share from 0 to 1.
func (p Percent) Fraction() float64 { return float64(p) / 100 }

// String is the form read by the parser.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

func percent() kind[Percent] {
	return parsed("percentage", "50%", `[0-9]+(\.[0-9]+)?%`, parsePercent, Percent.String)
}

func parsePercent(s string) (v Percent, cause, fix string) {
	digits, ok := strings.CutSuffix(s, "%")
	if !isNumber(digits) || len(digits) > 20 {
		return 0, quote(s) + " is not a percentage", "write it as 50%"
	}
	f, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil:
		return 0, quote(s) + " is not a percentage", "write it as 50%"
	case !ok && f <= 1:
		// 1 may mean all or a hundredth: that is why the sign is asked for.
		return 0, "the number " + quote(s) + " has no percent sign", "write " + strconv.FormatFloat(f*100, 'g', 6, 64) + "% for this share of one"
	case !ok:
		return 0, "the number " + quote(s) + " has no percent sign", "write " + digits + "%"
	case f > 100:
		return 0, quote(s) + " is more than everything", "write at most 100%"
	}
	return Percent(f), "", ""
}

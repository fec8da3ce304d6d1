package config

import (
	"strconv"
	"strings"
	"time"
)

// Rate is so many in a time: 100/s, 10/m, 5/h. It is kept as written, since 60/m lets more through in one second than
// 1/s does.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

// String is the form read by the parser.
func (r Rate) String() string {
	unit := "s"
	switch r.Per {
	case time.Minute:
		unit = "m"
	case time.Hour:
		unit = "h"
	}
	return strconv.Itoa(r.Count) + "/" + unit
}

// rateCountMax is past any rate one process sees.
const rateCountMax = 1e9

func rate() kind[Rate] {
	return parsed("rate", "100/s", `[0-9]+/[smh]`, parseRate, Rate.String)
}

func parseRate(s string) (v Rate, cause, fix string) {
	const form = "write how many per second, minute or hour: 100/s, 10/m, 5/h"
	count, unit, ok := strings.Cut(s, "/")
	if !ok && isDigits(s) {
		return Rate{}, "the number " + quote(s) + " has no unit", form
	}
	n, err := strconv.Atoi(count)
	if err != nil || !isDigits(count) || n > rateCountMax {
		return Rate{}, quote(s) + " is not a rate", form
	}
	switch unit {
	case "s":
		return Rate{n, time.Second}, "", ""
	case "m":
		return Rate{n, time.Minute}, "", ""
	case "h":
		return Rate{n, time.Hour}, "", ""
	}
	return Rate{}, quote(s) + " is not a rate", form
}

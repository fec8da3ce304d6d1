package config

import (
	"fmt"
	"strings"
	"time"
)

// duration is a time such as 5s, 250ms or 1m30s, from low to high.
func duration(low, high time.Duration) kind[time.Duration] {
	return parsed("duration", "5s or 250ms", `([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+`,
		func(s string) (time.Duration, string, string) {
			v, cause, fix := parseDuration(s)
			if cause == "" && (v < low || v > high) {
				return 0, fmt.Sprintf("%s is not between %s and %s", s, formatDuration(low), formatDuration(high)), "write a time within these"
			}
			return v, cause, fix
		}, formatDuration)
}

func parseDuration(s string) (v time.Duration, cause, fix string) {
	if isNumber(s) {
		return 0, "the number " + quote(s) + " has no unit", "write " + s + "s for seconds, or " + s + "ms for milliseconds"
	}
	v, err := time.ParseDuration(s)
	if err != nil || s[0] == '-' || s[0] == '+' {
		fix = "units are us, ms, s, m and h: 250ms, 5s, 1m30s"
		if days, ok := strings.CutSuffix(s, "d"); ok && isNumber(days) {
			fix = "a day is 24h"
		}
		return 0, quote(s) + " is not a duration", fix
	}
	return v, "", ""
}

// formatDuration is time.Duration.String without zero parts at its end: 1m, not 1m0s.
func formatDuration(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return strings.ReplaceAll(s, "µ", "u")
}

// isNumber reports digits, perhaps with a fraction.
func isNumber(s string) bool {
	whole, fraction, dotted := strings.Cut(s, ".")
	return isDigits(whole) && (!dotted || isDigits(fraction))
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

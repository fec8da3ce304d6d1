package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the units of sizes, decimal as disks and networks count, binary as memory does. The order is the one
// formatSize prefers: the largest that leaves no rest.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
}

const sizePattern = `[0-9]+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)`

// size is a number of bytes such as 64kB, 2MB or 1GiB, from low to high.
func size(low, high int64) kind[int64] {
	return parsed("size", "64kB or 2MiB", sizePattern, func(s string) (int64, string, string) {
		return sizeBetween(s, low, high)
	}, formatSize)
}

// byteRate is a number of bytes per second such as 240B/s.
func byteRate(low, high int64) kind[int64] {
	return parsed("byte rate", "240B/s or 1MB/s", sizePattern+"/s", func(s string) (int64, string, string) {
		bytes, ok := strings.CutSuffix(s, "/s")
		if !ok {
			return 0, quote(s) + " is not a byte rate", "write a size per second: 240B/s, 1MB/s"
		}
		return sizeBetween(bytes, low, high)
	}, func(v int64) string { return formatSize(v) + "/s" })
}

func sizeBetween(s string, low, high int64) (v int64, cause, fix string) {
	v, cause, fix = parseSize(s)
	if cause == "" && (v < low || v > high) {
		return 0, fmt.Sprintf("%s is not between %s and %s", s, formatSize(low), formatSize(high)), "write a size within these"
	}
	return v, cause, fix
}

func parseSize(s string) (v int64, cause, fix string) {
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	unit := s[len(digits):]
	if digits == "" {
		return 0, quote(s) + " is not a size", "write a whole number and a unit: 512B, 64kB, 2MB, 1GiB"
	}
	if unit == "" {
		return 0, "the number " + quote(s) + " has no unit", "write " + quotedMaxed(digits) + "B for bytes, or 64kB, 2MB, 1GiB"
	}
	if unit == "KB" {
		unit = "kB"
	}
	for _, u := range sizeUnits {
		if u.name != unit {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > math.MaxInt64/u.bytes {
			return 0, quote(s) + " is too large", ""
		}
		return n * u.bytes, "", ""
	}
	return 0, quote(s) + " is not a size", "units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)" + unitFix(digits, unit)
}

// unitFix reads the shorthand of nginx and of the careless: 8k, 1m, 2mb.
func unitFix(digits, unit string) string {
	if len(digits) > 18 {
		return ""
	}
	switch strings.ToLower(unit) {
	case "k":
		return ": " + digits + "KiB"
	case "m":
		return ": " + digits + "MiB"
	case "g":
		return ": " + digits + "GiB"
	case "kb":
		return ": " + digits + "kB"
	case "mb", "gb", "tb":
		return ": " + digits + strings.ToUpper(unit)
	}
	return ""
}

// quotedMaxed keeps a number in a fix short.
func quotedMaxed(digits string) string {
	if len(digits) > 18 {
		return "1"
	}
	return digits
}

func formatSize(v int64) string {
	for _, u := range sizeUnits {
		if v >= u.bytes && v%u.bytes == 0 {
			return strconv.FormatInt(v/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

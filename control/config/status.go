package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// StatusRange is the status codes from From to To, both included.
type StatusRange struct {
	From, To int
}

// String is the form read by the parser: 204, or 200-399.
func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Contains reports whether status lies in the range.
func (r StatusRange) Contains(status int) bool { return r.From <= status && status <= r.To }

// joinRanges returns the same statuses in as few ranges as possible, in order.
func joinRanges(list []StatusRange) []StatusRange {
	list = slices.SortedFunc(slices.Values(list), func(a, b StatusRange) int { return cmp.Compare(a.From, b.From) })
	var out []StatusRange
	for _, r := range list {
		if n := len(out); n > 0 && r.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

const statusRangePattern = `[1-5][0-9][0-9](-[1-5][0-9][0-9])?|[1-5]xx`

func statusRange() kind[StatusRange] {
	k := parsed("status", "204, 200-399 or 5xx", statusRangePattern, parseStatusRange, StatusRange.String)
	k.schema = statusRangeSchema
	return k
}

func statusRangeSchema(*schemaBuilder) map[string]any {
	return anyOf(map[string]any{"type": "integer", "minimum": 100, "maximum": 599}, patternSchema(statusRangePattern))
}

func parseStatusRange(s string) (r StatusRange, cause, fix string) {
	const form = "write a status (204), a range (200-399) or a class (5xx)"
	if class, ok := strings.CutSuffix(s, "xx"); ok && len(class) == 1 && '1' <= class[0] && class[0] <= '5' {
		from := int(class[0]-'0') * 100
		return StatusRange{from, from + 99}, "", ""
	}
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	from, fromOK := parseStatus(low)
	to, toOK := parseStatus(high)
	switch {
	case !fromOK || !toOK:
		return r, quote(s) + " is not a status", form
	case from > to:
		return r, quote(s) + " is an empty range", "write " + quote(high+"-"+low)
	}
	return StatusRange{from, to}, "", ""
}

// parseStatus reads a final or interim status code, three digits (RFC 9110 section 15).
func parseStatus(s string) (status int, ok bool) {
	if len(s) != 3 || !isDigits(s) {
		return 0, false
	}
	status, _ = strconv.Atoi(s) // three digits
	return status, 100 <= status && status <= 599
}

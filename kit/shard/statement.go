package shard

import (
	"fmt"
	"strings"
)

// statementMax is the longest statement, in bytes: a batch of 1,000 rows of 60 columns has room.
const statementMax = 1 << 20

// special is what render and skip stop at; all else is copied in runs.
const special = "{'\"`-#/"

// render writes a statement for a table number: {orders} becomes orders_07. Names come from Config.Tables and from nowhere
// else, so that no text of a caller can become a table's name. What is in quotes and comments is left as it is.
func (r *Router) render(statement string, table int) (string, error) {
	if len(statement) > statementMax {
		return "", fmt.Errorf("shard: the statement has %d bytes and may have %d: %w", len(statement), statementMax, ErrStatement)
	}
	var b strings.Builder
	b.Grow(len(statement) + 16)
	found := false
	for i := 0; i < len(statement); {
		switch c := statement[i]; {
		case c == '{':
			end := strings.IndexByte(statement[i:], '}')
			if end < 0 {
				return "", fmt.Errorf("shard: a { without its }: %w", ErrStatement)
			}
			name := statement[i+1 : i+end]
			if _, ok := r.tables[name]; !ok {
				return "", fmt.Errorf("shard: {%.64s} is not in Config.Tables: %w", name, ErrStatement)
			}
			b.WriteString(name)
			b.WriteString(r.suffixes[table])
			found = true
			i += end + 1
		default:
			n := skip(statement[i:], r.dialect)
			if next := strings.IndexAny(statement[i+n:], special); next >= 0 {
				n += next
			} else {
				n = len(statement) - i
			}
			b.WriteString(statement[i : i+n])
			i += n
		}
	}
	if !found {
		return "", fmt.Errorf("shard: the statement names no {table}: %w", ErrStatement)
	}
	return b.String(), nil
}

// skip is the length of the quoted text or comment at the start of s, or 1. One that does not end goes to the end, and
// the database will complain.
func skip(s string, d Dialect) int {
	to := func(end string, from int) int {
		if n := strings.Index(s[from:], end); n >= 0 {
			return from + n + len(end)
		}
		return len(s)
	}
	switch {
	case s[0] == '\'' || s[0] == '"' || s[0] == '`':
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' && d == MySQL && s[0] != '`' {
				i++
			} else if s[i] == s[0] {
				return i + 1 // a doubled quote is taken for two texts, which comes to the same
			}
		}
		return len(s)
	case strings.HasPrefix(s, "--"), s[0] == '#' && d == MySQL:
		return to("\n", 1)
	case strings.HasPrefix(s, "/*"):
		return to("*/", 2)
	}
	return 1
}

// reads tells whether a statement only reads. A WITH that has a writing word anywhere outside of quotes is taken to write.
func reads(statement string, d Dialect) bool {
	first, word := "", 0
	writes := false
	flush := func(end int) {
		if word == end {
			return
		}
		w := strings.ToUpper(statement[word:end])
		if first == "" {
			first = w
		}
		switch w {
		case "INSERT", "UPDATE", "DELETE", "REPLACE":
			writes = true
		}
	}
	for i := 0; i < len(statement); {
		c := statement[i]
		if c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 {
			i++
			continue
		}
		flush(i)
		i += skip(statement[i:], d)
		word = i
	}
	flush(len(statement))
	return first == "SELECT" || first == "WITH" && !writes
}

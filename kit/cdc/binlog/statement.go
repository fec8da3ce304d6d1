package binlog

import (
	"slices"
	"strings"

	"github.com/yumen-io/yumen/kit/cdc"
)

// role is what a statement in the binlog is to a reader of rows.
type role int

const (
	harmless   role = iota // changes no rows and no columns
	begins                 // BEGIN, XA START
	ends                   // COMMIT
	undoes                 // ROLLBACK of the whole: something of it was of an engine without transactions
	undoesPart             // ROLLBACK TO a savepoint
	xaBegins
	xaCommits
	xaUndoes
	alters  // DDL
	changes // rows, as text
)

// statement is a query event's text as far as it matters here.
type statement struct {
	role  role
	words []string // names and keywords in lower case, without quotes
	whole bool     // it is about a database as a whole
	long  bool     // its words were not all read
	stays bool     // rows of the same transaction follow: CREATE TABLE ... SELECT of MySQL
}

// concerns is whether it may change a followed table.
func (s statement) concerns(f *filter, database string) bool {
	if s.long {
		return true
	}
	if s.whole {
		return f.concernsDatabase(s.words)
	}
	return f.concerns(database, s.words)
}

func (s statement) reason() cdc.Reason {
	if s.role == changes {
		return cdc.Statement
	}
	return cdc.Schema
}

// wordsBytesMax bounds what of a statement is read. A longer one changes rows, and is taken to be about followed tables.
const wordsBytesMax = 64 << 10

// readStatement tells what is known to be harmless; all else changes something.
func readStatement(query string) statement {
	s := statement{role: changes, long: len(query) > wordsBytesMax}
	w := words(query[:min(len(query), wordsBytesMax)])
	s.words = w
	at := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	switch at(0) {
	case "", "savepoint", "release", "set", "grant", "revoke", "flush", "analyze", "check", "optimize":
		s.role = harmless
	case "begin":
		s.role = begins
	case "start":
		s.role = begins
	case "commit":
		s.role = ends
	case "rollback":
		s.role = undoes
		if slices.Contains(w, "to") {
			s.role = undoesPart
		}
	case "xa":
		switch at(1) {
		case "start", "begin":
			s.role = xaBegins
		case "commit":
			s.role = xaCommits
		case "rollback":
			s.role = xaUndoes
		default:
			s.role = harmless
		}
	case "create":
		s.role = alters
		s.stays = len(w) > 1 && w[len(w)-2] == "start" && w[len(w)-1] == "transaction"
		if !replaces(w) || !slices.Contains(w[:min(len(w), 5)], "table") {
			s.role = harmless
		}
	case "drop":
		s.role = alters
		switch at(1) {
		case "database", "schema":
			s.whole = true
		case "table", "tables":
		default:
			s.role = harmless
		}
	case "alter":
		s.role = alters
		switch at(1) {
		case "database", "schema", "user", "view", "event", "function", "procedure", "definer", "algorithm", "sql":
			s.role = harmless
		}
	case "truncate", "rename":
		s.role = alters
	}
	return s
}

func replaces(w []string) bool { return len(w) > 2 && w[1] == "or" && w[2] == "replace" }

// words cuts a statement into names and keywords. What stands in quotes is a word too: 'orders' in a comparison may look
// like the name of a table, and "orders" may be one. Comments go, except those that the server executes.
func words(query string) []string {
	var out []string
	for i := 0; i < len(query); {
		c := query[i]
		switch {
		case strings.HasPrefix(query[i:], "/*!") || strings.HasPrefix(query[i:], "/*M!"):
			i = version(query, strings.IndexByte(query[i:], '!')+i+1)
		case strings.HasPrefix(query[i:], "/*"):
			i = after(query, i+2, "*/")
		case c == '#' || strings.HasPrefix(query[i:], "-- "):
			i = after(query, i, "\n")
		case c == '`' || c == '"' || c == '\'':
			end := i + 1
			for end < len(query) && query[end] != c {
				if query[end] == '\\' && c != '`' {
					end++
				}
				end++
			}
			out = append(out, strings.ToLower(query[i+1:min(end, len(query))]))
			i = end + 1
		case wordByte(c):
			end := i
			for end < len(query) && wordByte(query[end]) {
				end++
			}
			out = append(out, strings.ToLower(query[i:end]))
			i = end
		default:
			i++
		}
	}
	return out
}

// version passes over the number of the version from which a comment is executed.
func version(s string, from int) int {
	for from < len(s) && s[from] >= '0' && s[from] <= '9' {
		from++
	}
	return from
}

func after(s string, from int, mark string) int {
	if n := strings.Index(s[from:], mark); n >= 0 {
		return from + n + len(mark)
	}
	return len(s)
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

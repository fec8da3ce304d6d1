package binlog

import (
	"fmt"
	"strings"
)

// filter is which tables are followed.
type filter struct {
	patterns []pattern
	known    map[string]bool // "db\x00table" as it came; tables are few
}

type pattern struct{ database, table string }

// knownMax bounds what filter remembers; a server with more tables is asked about by pattern each time.
const knownMax = 10_000

func newFilter(tables []string) (*filter, error) {
	f := &filter{known: make(map[string]bool)}
	for _, t := range tables {
		database, table, ok := strings.Cut(strings.ToLower(t), ".")
		if !ok || database == "" || table == "" || strings.ContainsAny(t, "`\x00") {
			return nil, fmt.Errorf("binlog: Tables: want database.table, have %q", t)
		}
		f.patterns = append(f.patterns, pattern{database, table})
	}
	return f, nil
}

func (f *filter) follows(database, table string) bool {
	key := database + "\x00" + table
	follows, ok := f.known[key]
	if !ok {
		follows = f.matches(strings.ToLower(database), strings.ToLower(table))
		if len(f.known) < knownMax {
			f.known[key] = follows
		}
	}
	return follows
}

func (f *filter) matches(database, table string) bool {
	if ownDatabase(database) {
		return false
	}
	for _, p := range f.patterns {
		if glob(p.database, database) && glob(p.table, table) {
			return true
		}
	}
	return false
}

// concerns is whether a statement, of which the words are known and the default database, may be about a followed table.
// It errs towards yes.
func (f *filter) concerns(database string, words []string) bool {
	databases := append([]string{strings.ToLower(database)}, words...)
	for _, p := range f.patterns {
		if anyLike(databases, p.database) && anyLike(words, p.table) {
			return true
		}
	}
	return false
}

// concernsDatabase is the same for a statement about a database as a whole.
func (f *filter) concernsDatabase(words []string) bool {
	for _, p := range f.patterns {
		if anyLike(words, p.database) {
			return true
		}
	}
	return false
}

func anyLike(words []string, pattern string) bool {
	for _, w := range words {
		if w != "" && !ownDatabase(w) && glob(pattern, w) {
			return true
		}
	}
	return false
}

func ownDatabase(name string) bool {
	switch name {
	case "mysql", "sys", "information_schema", "performance_schema":
		return true
	}
	return false
}

// glob matches with * for any characters, in time of the product of the lengths at most.
func glob(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

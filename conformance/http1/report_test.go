//go:build linux

package http1

import (
	"fmt"
	"strings"
	"time"
)

// judgement is a case and what is wrong with it.
type judgement struct {
	c *testCase
	v *verdict
}

func (j judgement) failed() bool { return len(j.v.rfc)+len(j.v.house) > 0 }
func (j judgement) reasons() string {
	return strings.Join(append(j.v.rfc[:len(j.v.rfc):len(j.v.rfc)], j.v.house...), "; ")
}

// report is what one gateway made of the corpus.
type report struct {
	name   string
	took   time.Duration
	judged []judgement // sorted by id
}

type row struct{ cases, ok, must, should, house, soft int }

func (r *report) rows() (classes []string, rows map[string]*row) {
	rows = map[string]*row{}
	for _, j := range r.judged {
		at := rows[j.c.Class]
		if at == nil {
			at = &row{}
			rows[j.c.Class] = at
			classes = append(classes, j.c.Class)
		}
		at.cases++
		switch {
		case len(j.v.rfc) > 0 && j.c.Level == "must":
			at.must++
		case len(j.v.rfc) > 0:
			at.should++
		case len(j.v.house) > 0:
			at.house++
		default:
			at.ok++
		}
		if len(j.v.soft) > 0 {
			at.soft++
		}
	}
	return classes, rows
}

// table is a Markdown table by class.
func (r *report) table() string {
	classes, rows := r.rows()
	var b strings.Builder
	b.WriteString("| class | cases | ok | must | should | house | soft |\n|---|--:|--:|--:|--:|--:|--:|\n")
	var sum row
	line := func(name string, x *row) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d |\n", name, x.cases, x.ok, x.must, x.should, x.house, x.soft)
	}
	for _, class := range classes {
		x := rows[class]
		line(class, x)
		sum.cases += x.cases
		sum.ok += x.ok
		sum.must += x.must
		sum.should += x.should
		sum.house += x.house
		sum.soft += x.soft
	}
	line("**all**", &sum)
	return b.String()
}

// list names each case that is not clean, with every reason.
func (r *report) list() string {
	var b strings.Builder
	for _, j := range r.judged {
		if j.failed() || len(j.v.soft) > 0 {
			fmt.Fprintf(&b, "- `%s` (%s, RFC %s)", j.c.ID, j.c.Why, j.c.RFC)
			for _, part := range []struct {
				what    string
				reasons []string
			}{{j.c.Level, j.v.rfc}, {"house", j.v.house}, {"soft", j.v.soft}} {
				if len(part.reasons) > 0 {
					fmt.Fprintf(&b, "; %s: `%s`", part.what, strings.ReplaceAll(strings.Join(part.reasons, "; "), "`", "'"))
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

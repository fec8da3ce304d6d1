package admin

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/gateway"
)

// decisionsMax is the most records of one answer, and decisionsUsual how many there are if nobody asks for more.
const (
	decisionsMax   = 10_000
	decisionsUsual = 100
)

// decision is a record as JSON.
type decision struct {
	At           time.Time `json:"at"`
	RequestID    string    `json:"request_id"`
	Revision     uint64    `json:"revision"`
	Route        string    `json:"route"`
	Client       string    `json:"client"`
	Method       string    `json:"method"`
	Path         string    `json:"path"`
	Guard        string    `json:"guard"`
	Kind         string    `json:"kind"`
	Mode         string    `json:"mode"`
	Outcome      string    `json:"outcome"`
	Status       int       `json:"status,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Text         string    `json:"text,omitempty"`
	Key          string    `json:"key,omitempty"`
	RetryAfterMS int64     `json:"retry_after_ms,omitempty"`
	Numbers      []number  `json:"numbers,omitempty"`
	Words        []word    `json:"words,omitempty"`
}

// number is one of the numbers a guard judged by. In a list: their order tells a story.
type number struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// word is something by which a guard judged that is no number.
type word struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (s *Server) listGuards(w http.ResponseWriter, r *http.Request) {
	list := s.controller.Guards()
	if wantsText(r) {
		answerText(w, http.StatusOK, guardsText(list))
		return
	}
	answerJSON(w, http.StatusOK, list)
}

func (s *Server) listDecisions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := gateway.DecisionQuery{
		RequestID: query.Get("request_id"), Guard: query.Get("guard"), Route: query.Get("route"), Key: query.Get("key"), Max: decisionsUsual,
	}
	for name, bind := range map[string]func(string) error{
		"refused": func(v string) (err error) { q.Refused, err = strconv.ParseBool(v); return err },
		"max": func(v string) (err error) {
			if q.Max, err = strconv.Atoi(v); err == nil && (q.Max < 1 || q.Max > decisionsMax) {
				err = strconv.ErrRange
			}
			return err
		},
	} {
		if v := query.Get(name); v != "" {
			if bind(v) != nil {
				answerError(w, r, http.StatusBadRequest, failure{Error: name + " is " + quote(v),
					Fix: fmt.Sprintf("refused is true or false, max a number from 1 to %d", decisionsMax)})
				return
			}
		}
	}
	list := s.controller.Decisions(q)
	if wantsText(r) {
		answerText(w, http.StatusOK, decisionsText(list, q.RequestID))
		return
	}
	out := make([]decision, len(list))
	for i := range list {
		out[i] = decisionOf(&list[i])
	}
	answerJSON(w, http.StatusOK, out)
}

func decisionOf(d *gateway.Decision) decision {
	out := decision{At: d.At, RequestID: d.RequestID, Revision: d.Revision, Route: d.Route, Client: d.Client.String(), Method: d.Method,
		Path: d.Path, Guard: d.Guard, Kind: d.Kind, Mode: d.Mode.String(), Outcome: d.Outcome.String(), Status: d.Status, Reason: d.Reason,
		Text: d.Text, Key: d.Key, RetryAfterMS: d.RetryAfter.Milliseconds()}
	for _, n := range d.Numbers {
		out.Numbers = append(out.Numbers, number{n.Name, n.Value, n.Unit})
	}
	for _, w := range d.Words {
		out.Words = append(out.Words, word(w))
	}
	return out
}

// sampled is why what passed may have no record.
const sampled = "What guards let pass is recorded of a sample of the requests: telemetry.decisions.sample in the document.\n"

// decisionsText is records for people: a line of what was asked, a line of what was decided, a line of the numbers.
func decisionsText(list []gateway.Decision, id string) string {
	if len(list) == 0 {
		if id == "" {
			return "no record fits: no guard has refused, delayed or degraded what was asked for, or it was too long ago.\n" + sampled
		}
		return "no record of request " + id + ": no guard refused, delayed or degraded it, or it was too long ago.\n" + sampled
	}
	var b strings.Builder
	for i := range list {
		d := &list[i]
		fmt.Fprintf(&b, "%s  request %s  %s %s  from %s, route %s, revision %d\n", d.At.UTC().Format("2006-01-02 15:04:05.000"), d.RequestID,
			d.Method, d.Path, d.Client, d.Route, d.Revision)
		what := d.Outcome.String()
		if d.Mode == gateway.Shadow && d.Outcome != gateway.Passed {
			what = "would have been " + what + " (shadow)"
		}
		fmt.Fprintf(&b, "  %s %s: %s", d.Kind, d.Guard, what)
		if d.Status != 0 {
			fmt.Fprintf(&b, " with %d", d.Status)
		}
		if d.Reason != "" {
			fmt.Fprintf(&b, ", %s", d.Reason)
		}
		if d.Text != "" {
			fmt.Fprintf(&b, ": %s", d.Text)
		}
		b.WriteString("\n")
		var facts []string
		if d.Key != "" {
			facts = append(facts, "key "+d.Key)
		}
		for _, n := range d.Numbers {
			facts = append(facts, strings.ReplaceAll(n.Name, "_", " ")+" "+numberText(n))
		}
		for _, w := range d.Words {
			facts = append(facts, strings.ReplaceAll(w.Name, "_", " ")+" "+quote(w.Value))
		}
		if d.RetryAfter > 0 {
			facts = append(facts, "retry after "+d.RetryAfter.Round(time.Millisecond).String())
		}
		if len(facts) > 0 {
			fmt.Fprintf(&b, "    %s\n", strings.Join(facts, ", "))
		}
	}
	return b.String()
}

// numberText is a number with its unit, in as few digits as tell it apart, and never with an exponent: all digits of what is large.
func numberText(n gateway.Number) string {
	const places = 6
	digits := 0
	for v := math.Abs(n.Value); v >= 1 && digits < places; v /= 10 {
		digits++
	}
	text := strconv.FormatFloat(n.Value, 'f', places-digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + n.Unit
}

// guardsText is a table of guards for people.
func guardsText(list []control.GuardStatus) string {
	if len(list) == 0 {
		return "the configuration has no guards\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "GUARD\tKIND\tMODE\tPASSED\tDELAYED\tREFUSED\tDEGRADED\n")
	for i := range list {
		g := &list[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\n", g.Name, g.Kind, g.Mode, g.Outcomes["passed"], g.Outcomes["delayed"], g.Outcomes["refused"],
			g.Outcomes["degraded"])
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	return b.String()
}

package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/yumen-io/yumen/control"
)

func (s *Server) listMirrors(w http.ResponseWriter, r *http.Request) {
	list := s.controller.Mirrors()
	if wantsText(r) {
		answerText(w, http.StatusOK, mirrorsText(list, placesShort))
		return
	}
	answerJSON(w, http.StatusOK, list)
}

func (s *Server) getMirror(w http.ResponseWriter, r *http.Request) {
	all, name := s.controller.Mirrors(), r.PathValue("name")
	i := slices.IndexFunc(all, func(m control.MirrorStatus) bool { return m.Name == name })
	switch {
	case i < 0:
		answerError(w, r, http.StatusNotFound, failure{Error: "there is no mirror " + quote(name), Fix: "GET /api/mirrors lists them"})
	case wantsText(r):
		answerText(w, http.StatusOK, mirrorsText(all[i:i+1], placesLong))
	default:
		answerJSON(w, http.StatusOK, all[i])
	}
}

// How many places are shown to people: of one mirror among others, and of one that was asked for. JSON has all of them.
const (
	placesShort = 10
	placesLong  = 100
)

// mirrorsText is reports for people.
func mirrorsText(list []control.MirrorStatus, places int) string {
	if len(list) == 0 {
		return "the configuration has no mirrors\n"
	}
	var b strings.Builder
	for i := range list {
		if i > 0 {
			b.WriteString("\n")
		}
		mirrorText(&b, &list[i], places)
	}
	return b.String()
}

func mirrorText(b *strings.Builder, m *control.MirrorStatus, places int) {
	b.WriteString(m.Name)
	if m.Mode != "enforce" {
		b.WriteString(" (" + m.Mode + ")")
	}
	number := func(name string) uint64 { return uint64(m.Numbers[name]) }
	fmt.Fprintf(b, ": %d copies, %d answered (%d with 5xx), %d failed, %d under way\n", number("sent"), number("answered"), number("answered_5xx"),
		number("failed"), number("in_flight"))
	said(b, "  not copied", []string{"in_flight_full", "body_too_large", "request_incomplete", "already_mirrored", "would_send"}, number)
	r := m.Report
	if r == nil {
		b.WriteString("  answers are not compared\n")
		return
	}
	v := r.Verdicts
	all := v["equal"] + v["different"] + v["noise"]
	fmt.Fprintf(b, "  compared %d: %d the same, %d different, %d noise\n", all, v["equal"], v["different"], v["noise"])
	var not []string
	for name := range v {
		if strings.HasPrefix(name, "uncompared_") {
			not = append(not, name)
		}
	}
	slices.Sort(not)
	said(b, "  not compared", not, func(name string) uint64 { return v[name] })
	if all > 0 {
		fmt.Fprintf(b, "  first byte: old p50 %gms, p99 %gms; new p50 %gms, p99 %gms\n", r.Old.P50, r.Old.P99, r.New.P50, r.New.P99)
	}
	if len(r.Places) == 0 {
		return
	}
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "  DIFFERENT\tNOISE\tWHERE\tWHAT\tOLD\tNEW\tREQUEST\tLAST SEEN\n")
	for i := range r.Places[:min(len(r.Places), places)] {
		d := &r.Places[i]
		last := "-"
		if !d.LastSeen.IsZero() {
			last = d.LastSeen.UTC().Format("2006-01-02 15:04:05")
		}
		fmt.Fprintf(table, "  %d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Different, d.Noise, cell(d.Path), d.Kind, cell(d.Was), cell(d.Is), cmp.Or(d.RequestID, "-"), last)
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	if n := len(r.Places) - places; n > 0 {
		fmt.Fprintf(b, "  and %s: --json has them\n", counted(n, "place more", "places more"))
	}
	if r.PlacesHidden > 0 {
		fmt.Fprintf(b, "  and %d differences in places for which there was no room\n", r.PlacesHidden)
	}
}

// said writes those of the counters that are not zero.
func said(b *strings.Builder, what string, names []string, of func(string) uint64) {
	var list []string
	for _, name := range names {
		if n := of(name); n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, strings.TrimPrefix(name, "uncompared_")))
		}
	}
	if len(list) > 0 {
		b.WriteString(what + ": " + strings.Join(list, ", ") + "\n")
	}
}

// cell is what an upstream has sent, so that it stays in its cell, and on its line.
func cell(text string) string {
	if text == "" {
		return "-"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		return quote(text)
	}
	return text
}

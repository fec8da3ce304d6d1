package breakers

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	reportFile = flag.String("report", "", "file to write the report into")
	tuneEach   = flag.Int("tune", 5, "traces of each kind to tune on")
	judgeEach  = flag.Int("judge", 10, "traces of each kind to judge by")
)

// Seeds of the two sets are apart, so that nobody is judged by what he was tuned on.
const (
	tuneFirst  = 1
	judgeFirst = 100_001
)

// plain plays to candidates that are told the time.
func plain(t *Trace, candidate func() Candidate) Result { return Play(t, candidate(), nil) }

// virtual plays to candidates that read the clock: within a bubble in which it stands until everybody waits. It is moved twenty times
// a second.
func virtual(t *testing.T) Player {
	return func(tr *Trace, candidate func() Candidate) (r Result) {
		synctest.Test(t, func(*testing.T) {
			begin := time.Now()
			r = Play(tr, candidate(), func(now time.Duration) {
				if now%(50*time.Millisecond) == 0 {
					if d := now - time.Since(begin); d > 0 {
						<-time.After(d)
					}
				}
			})
		})
		return r
	}
}

// rival is one kind of breaker with its grid.
type rival struct {
	name string
	grid []Variant
	play Player

	totals []*Total // of the grid, on the traces to tune on
}

// allowances of false openings on the traces to tune on: what "equal false opens" means is asked at each.
var allowances = []int{0, 2, 5, 10}

func TestReport(t *testing.T) {
	if *reportFile == "" {
		t.Skip("-report FILE makes the report")
	}
	text := report(t, *tuneEach, *judgeEach)
	if err := os.WriteFile(*reportFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryCandidateSeesAnOutageAndLeavesAHealthyServiceAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		of   Variant
		play Player
	}{
		{"classic", Classics()[len(Classics())-4], plain}, {"adaptive", Adaptives()[6], plain},
		{"gobreaker", Sonys()[len(Sonys())-4], virtual(t)}, {"failsafe-go", Failsafes()[len(Failsafes())-4], virtual(t)},
	} {
		down, well := Generate(HardDown, 7), Generate(Healthy, 7)
		if r := c.play(down, func() Candidate { return c.of.Make(1) }); r.Missed != 0 || len(r.Recoveries) != 1 || r.Delays[0] > 15*time.Second {
			t.Errorf("%s, hard down: %+v", c.name, r)
		}
		if r := c.play(well, func() Candidate { return c.of.Make(1) }); r.FalseOpens != 0 || r.RefusedGood != 0 {
			t.Errorf("%s, healthy: %+v", c.name, r)
		}
	}
}

func TestATraceIsTheSameForTheSameSeed(t *testing.T) {
	for _, kind := range Kinds {
		a, b := Generate(kind, 3), Generate(kind, 3)
		if fmt.Sprint(a.Requests[:100], a.Incidents) != fmt.Sprint(b.Requests[:100], b.Incidents) || len(a.Requests) != len(b.Requests) {
			t.Errorf("%s differs from itself", kind)
		}
	}
}

func report(t *testing.T, tune, judge int) string {
	tuning, judging := Traces(tuneFirst, tune), Traces(judgeFirst, judge)
	rivals := []*rival{
		{name: "gobreaker", grid: Sonys(), play: virtual(t)},
		{name: "failsafe-go", grid: Failsafes(), play: virtual(t)},
		{name: "classic", grid: Classics(), play: plain},
		{name: "adaptive", grid: Adaptives(), play: plain},
	}
	for _, r := range rivals {
		for i := range r.grid {
			r.totals = append(r.totals, Run(&r.grid[i], tuning, r.play))
		}
		t.Logf("%s is tuned", r.name)
	}
	var b strings.Builder
	hours := time.Duration(len(judging)) * Length
	fmt.Fprintf(&b, header, *tuneEach, tuneFirst, tuneFirst+tune-1, judge, judgeFirst, judgeFirst+judge-1, len(judging), hours.Hours())

	fmt.Fprintf(&b, "\n## Tuned to no false opening\n\n%s", summaryHead)
	var shown []*Total
	var names []string
	for _, r := range rivals {
		i := best(r.totals, 0)
		if i < 0 {
			fmt.Fprintf(&b, "| %s | none of its settings is without false openings | | | | | |\n", r.name)
			continue
		}
		total := Run(&r.grid[i], judging, r.play)
		shown, names = append(shown, total), append(names, r.name)
		summary(&b, r.name, r.grid[i].Text, total, hours)
	}
	byDefault := Default()
	total := Run(&byDefault, judging, plain)
	shown, names = append(shown, total), append(names, "adaptive, default")
	summary(&b, "adaptive, default", byDefault.Text, total, hours)
	perService := oracle(rivals[2], judging)
	shown, names = append(shown, perService), append(names, "classic, each service its own")
	summary(&b, "classic, each service its own", "one each", perService, hours)

	fmt.Fprintf(&b, "\n## At equal false openings\n\n%s", equalHead)
	for _, allowed := range allowances {
		fmt.Fprintf(&b, "| %d |", allowed)
		for _, r := range rivals {
			i := best(r.totals, allowed)
			if i < 0 {
				b.WriteString(" - |")
				continue
			}
			total := Run(&r.grid[i], judging, r.play)
			fmt.Fprintf(&b, " %s s, %d |", seconds(total.MeanDelay()), total.FalseOpens)
		}
		b.WriteString("\n")
	}

	fmt.Fprintf(&b, "\n%s", hindsightHead)
	classic, adaptive := judged(rivals[2], judging), judged(rivals[3], judging)
	for _, allowed := range []int{0, 1, 2, 3, 5, 10} {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", allowed, hindsight(rivals[2], classic, allowed), hindsight(rivals[3], adaptive, allowed))
	}

	fmt.Fprintf(&b, "\n## By kind of trace\n\nDelay, and how many incidents were missed; for the last three, false openings.\n\n| trace |")
	for _, n := range names {
		fmt.Fprintf(&b, " %s |", n)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(names)) + "\n")
	for _, k := range Kinds {
		fmt.Fprintf(&b, "| %s |", k)
		for _, total := range shown {
			p := total.By[k]
			if p.Incidents == 0 {
				fmt.Fprintf(&b, " %d false |", p.FalseOpens)
				continue
			}
			fmt.Fprintf(&b, " %s s", seconds(p.MeanDelay()))
			if p.Missed > 0 {
				fmt.Fprintf(&b, ", %d of %d missed", p.Missed, p.Incidents)
			}
			if p.FalseOpens > 0 {
				fmt.Fprintf(&b, ", %d false", p.FalseOpens)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	b.WriteString("| all incidents but slow-downs |")
	for _, total := range shown {
		slow := total.By[SlowDown]
		fmt.Fprintf(&b, " %s s |", seconds(mean(total.Delay-slow.Delay, total.Incidents-slow.Incidents)))
	}
	b.WriteString("\n" + footer)
	return b.String()
}

// judged is what all settings of a rival made of the traces to judge by.
func judged(r *rival, judging []*Trace) (list []*Total) {
	for i := range r.grid {
		list = append(list, Run(&r.grid[i], judging, r.play))
	}
	return list
}

func hindsight(r *rival, totals []*Total, allowed int) string {
	i := best(totals, allowed)
	if i < 0 {
		return "-"
	}
	return fmt.Sprintf("%s s (%s)", seconds(totals[i].MeanDelay()), r.grid[i].Text)
}

// oracle judges the classic rule with the best settings for each service.
func oracle(r *rival, judging []*Trace) *Total {
	choice := map[string]*Variant{}
	for _, s := range services {
		part := make([]*Total, len(r.totals))
		for i, total := range r.totals {
			part[i] = total.Of[s.name]
		}
		if i := best(part, 0); i >= 0 {
			choice[s.name] = &r.grid[i]
		} else {
			choice[s.name] = &r.grid[len(r.grid)-1]
		}
	}
	return run(func(t *Trace) *Variant { return choice[t.Service] }, judging, r.play)
}

func summary(b *strings.Builder, name, setting string, t *Total, of time.Duration) {
	fmt.Fprintf(b, "| %s | %s | %s s | %d of %d | %d (%.2f/h) | %s s | %.2f %% |\n", name, setting, seconds(t.MeanDelay()), t.Missed, t.Incidents, t.FalseOpens,
		float64(t.FalseOpens)/of.Hours(), seconds(t.MeanRecovery()), 100*float64(t.RefusedGood)/float64(t.Requests))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

const summaryHead = `| breaker | setting | detection delay | missed | false openings | recovery | refused and good |
|---|---|---|---|---|---|---|
`

const equalHead = `For each number of false openings allowed on the traces to tune on, the quickest setting, and what it did on the traces to judge
by: mean detection delay, and false openings there.

| allowed | gobreaker | failsafe-go | classic | adaptive |
|---|---|---|---|---|
`

const hindsightHead = `In hindsight, that is, with the quickest of all settings that has no more false openings than that on the traces to judge by:

| false openings | classic | adaptive |
|---|---|---|
`

const header = `# Breakers on incident traces

Made by

    cd bench/breakers && go test -run TestReport -timeout 2h -report REPORT.md

The same seeds give the same tables. %d traces of each kind are for tuning (seeds %d to %d), %d others for judging (seeds %d to
%d): %d traces of 7 minutes, %.1f hours of six services whose rates, latencies and usual failures differ. An incident begins
after three healthy minutes at least. Traces are open loops: what a breaker refuses makes nobody well, so that only how it decides is
compared.

- **detection delay**: from the beginning of an incident until the first request is refused; of one that was missed, its length.
- **false opening**: from closed to open outside of any incident and of the 2.5 s after it, in which its requests may still end.
- **recovery**: from the end of an incident that was seen until all requests pass again.
- **refused and good**: requests that were refused and would have been answered well, of all.

All stay open for 5 s at first and ask 5 probes. Ours doubles that with each return that fails and goes up in steps of a second; the
others try again after the same time, and are closed when the probes went well. All are tuned over the same grid of windows,
ratios, volumes and rules for slow calls; the adaptive one over score and evidence, beside the classic rule at 50 %% of 10 s.
`

const footer = `
"Classic, each service its own" is the classic rule with the settings that were best for each service alone on the traces to tune on:
what somebody would have who tunes each of his routes by recorded incidents.

## What this says

At no more false openings the adaptive rule sees incidents in about half the time of the tuned classic one, also in hindsight, and misses none; so
it is on by default. What documents have by default is more careful than what was tuned here: it waits for more evidence, and for twenty
failures in a row instead of eight.

What to read with care:

- Most of the gain is slow-downs, which one threshold for all services cannot see: what is slow for one is quick for another. The row
  without them is the smaller gain that is left for failures, and there the default, being careful, is slower than the tuned classic
  rule; it has fewer false openings in exchange.
- With little traffic the adaptive rule is no help: it joins seconds until they have requests enough, and a classic rule that opens at a
  fifth is quicker there.
- It refuses more requests that would have been answered well: it is open during incidents that others do not see, and in those
  most answers are good, if late. Who prefers late answers to refusals should have it in shadow mode, or off.
- Incidents were made by a generator, and it and the rule have the same author. Real ones differ in ways that neither knows.
- Peers close after their probes at once, and so recover sooner; ours goes up in steps, so that a service with cold caches is not
  buried again. In an open loop that care costs time and earns nothing.
`

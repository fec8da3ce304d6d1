//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report is a whole run, ready to be written.
type report struct {
	Environment []fact
	Missing     []string // programs that could not be run
	Tests       []test
	Profile     string
	// ProfileMissing says why there is no profile.
	ProfileMissing string
	bench          *bench
}

const reportHead = `# Side by side

Written by ` + "`make bench`" + `: do not edit. Each figure is the median of the rounds; ratios are ratios of medians. The machine is
shared and small, so compare within this page and never with another one's. ` + "`relay`" + ` passes bytes and knows no HTTP: it
is what the kernel charges for one connection on each side. A ratio below 1 there is possible only by sharing upstream
connections.

`

// write puts REPORT.md and plot.svg into dir.
func (r *report) write(dir string) error {
	plotted := r.plot()
	if plotted != "" {
		if err := os.WriteFile(filepath.Join(dir, "plot.svg"), []byte(plotted), 0o644); err != nil {
			return fmt.Errorf("writing the plot: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "REPORT.md"), []byte(r.markdown(plotted != "")), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r *report) markdown(plotted bool) string {
	var s strings.Builder
	s.WriteString(reportHead)
	if r.bench.options.quick {
		s.WriteString("**A quick run: it shows that everything works, and its figures mean nothing.**\n\n")
	}
	if plotted {
		s.WriteString("![CPU time of one request](plot.svg)\n\n")
	}
	for _, t := range r.Tests {
		r.table(&s, t)
	}
	if r.Profile != "" {
		fmt.Fprintf(&s, "## Where yumen's time goes\n\nA CPU profile under 64 connections, in a run of its own:\n\n```\n%s\n```\n\n", r.Profile)
	} else {
		fmt.Fprintf(&s, "## Where yumen's time goes\n\nNo profile: %s.\n\n", r.ProfileMissing)
	}
	s.WriteString("## The machine\n\n| | |\n|---|---|\n")
	for _, f := range r.Environment {
		fmt.Fprintf(&s, "| %s | %s |\n", f.Name, f.Value)
	}
	fmt.Fprintf(&s, "\nThe program under test ran on core %d, its clients and origin on core %d (`taskset -c`). Configurations are in\n"+
		"`bench/peers`, the load in `bench/load`:\n\n", r.bench.options.coreTest, r.bench.options.coreLoad)
	for _, t := range r.Tests {
		if t.h2load != nil {
			fmt.Fprintf(&s, "    %-10s  h2load %s -n REQUESTS %s\n", t.name, strings.Join(t.h2load, " "), t.url("PORT"))
			continue
		}
		tool := filepath.Base(t.tool(tools{load: "load", bulk: "bulk", dial: "dial"}))
		fmt.Fprintf(&s, "    %-10s  %s -g PORT -o PORT %s PID...\n", t.name, tool, strings.Join(t.args, " "))
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(&s, "\nNot measured: %s.\n", strings.Join(r.Missing, "; "))
	}
	if len(r.bench.failures) > 0 {
		s.WriteString("\n## What failed\n\n")
		for _, f := range r.bench.failures {
			fmt.Fprintf(&s, "- %s\n", strings.ReplaceAll(f, "\n", " "))
		}
	}
	return s.String()
}

// table writes one test: a row for each program, a column for each figure.
func (r *report) table(s *strings.Builder, t test) {
	fmt.Fprintf(s, "## %s\n\n%s\n\n| |", t.title, t.what)
	rule := "|---|"
	for _, c := range t.columns {
		s.WriteString(" " + c.head + " |")
		rule += "--:|"
		if c.ratios {
			for _, base := range t.bases() {
				s.WriteString(" × " + base + " |")
				rule += "--:|"
			}
		}
	}
	s.WriteString("\n" + rule + "\n")
	for _, p := range r.bench.programs {
		if len(r.bench.results[t.name][p.Name]) == 0 {
			continue
		}
		fmt.Fprintf(s, "| %s |", p.Name)
		for _, c := range t.columns {
			m, _ := r.bench.figure(t.name, p.Name, c)
			fmt.Fprintf(s, " "+c.format+" |", m)
			if c.ratios {
				for _, base := range t.bases() {
					if against, ok := r.bench.figure(t.name, base, c); ok {
						fmt.Fprintf(s, " %.2f |", m/against)
					} else {
						s.WriteString(" |")
					}
				}
			}
		}
		s.WriteString("\n")
	}
	s.WriteString("\n")
}

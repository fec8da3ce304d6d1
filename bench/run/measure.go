//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"

	"github.com/yumen-io/yumen/bench/peers"
)

// result is what a load program prints: one measurement of one program.
type result struct {
	Requests    int64   `json:"requests"`
	Bytes       int64   `json:"bytes"`
	Errors      int64   `json:"errors"`
	Connections int64   `json:"connections"`
	Seconds     float64 `json:"seconds"`
	Rate        float64 `json:"rps"`
	CPUNanos    int64   `json:"cpu_ns"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`
	RSSBefore   int64   `json:"rss_before_kb"`
	RSS         int64   `json:"rss_kb"`
}

// bench is one run of everything.
type bench struct {
	options  options
	tools    tools
	work     string
	programs []peers.Program
	results  map[string]map[string][]result // test -> program -> one per round
	failures []string
}

// measureAll goes through all programs in each round, so that a machine that changes its pace changes it for all. It
// ends early only when ctx does.
func (b *bench) measureAll(ctx context.Context, tests []test) error {
	for round := range b.options.rounds {
		for _, t := range tests {
			if t.roundsMax > 0 && round >= t.roundsMax {
				continue
			}
			for _, p := range b.programs {
				if slices.Contains(t.skip, p.Name) || p.Only != "" && p.Only != t.name {
					continue
				}
				r, err := b.measure(ctx, &p, t)
				if ctx.Err() != nil {
					return fmt.Errorf("measuring %s: %w", p.Name, context.Cause(ctx))
				}
				if err != nil {
					// One program that fails is a line of the report; the others are still worth their figures.
					b.failures = append(b.failures, fmt.Sprintf("round %d, %s, %s: %v", round+1, t.name, p.Name, err))
					fmt.Fprintln(os.Stderr, b.failures[len(b.failures)-1])
					continue
				}
				if b.results[t.name] == nil {
					b.results[t.name] = map[string][]result{}
				}
				b.results[t.name][p.Name] = append(b.results[t.name][p.Name], r)
				fmt.Printf("round %d  %-10s %-15s", round+1, t.name, p.Name)
				for _, c := range t.columns {
					fmt.Printf("  %s "+c.format, c.head, c.value(r))
				}
				fmt.Println()
			}
		}
	}
	return nil
}

func (b *bench) measure(ctx context.Context, p *peers.Program, t test) (result, error) {
	running, err := p.Start(b.work, b.options.coreTest, t.wireOf(p.Name))
	if err != nil {
		return result{}, err
	}
	defer running.Stop()
	if t.origin || t.h2load != nil {
		stop, err := b.startOrigin(running.Settings.Origin)
		if err != nil {
			return result{}, err
		}
		defer stop()
	}
	if t.h2load != nil {
		return b.measureH2load(ctx, running, t)
	}
	out, err := b.loadCommand(ctx, running, t).Output()
	if err != nil {
		return result{}, fmt.Errorf("running the load: %w (the program's last words: %s)", err, running.LogTail())
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		return result{}, fmt.Errorf("reading the load's result %q: %w", out, err)
	}
	if r.Connections == 0 {
		return result{}, fmt.Errorf("%d errors and no connection left (the program's last words: %s)", r.Errors, running.LogTail())
	}
	return r, nil
}

// loadCommand is a load program on its core, pointed at a running one.
func (b *bench) loadCommand(ctx context.Context, running *peers.Running, t test) *exec.Cmd {
	args := []string{"-c", strconv.Itoa(b.options.coreLoad), t.tool(b.tools),
		"-g", strconv.Itoa(running.Settings.Listen), "-o", strconv.Itoa(running.Settings.Origin)}
	cmd := exec.CommandContext(ctx, "taskset", slices.Concat(args, t.args, running.PIDs())...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// figure is a column over the rounds; ok is false when nothing was measured.
func (b *bench) figure(testName, program string, c column) (m float64, ok bool) {
	rounds := b.results[testName][program]
	if len(rounds) == 0 {
		return 0, false
	}
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = c.value(r)
		m += values[i]
	}
	if c.total {
		return m, true
	}
	return median(values), true
}

// median sorts its argument. Of an even number of values it is the mean of the middle two.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

//go:build linux

// Command run measures proxies side by side: the same work, in the same run, on the same core. It builds the floor and
// the load of bench/floor and bench/load, starts each program of bench/peers in turn, and writes bench/REPORT.md and
// bench/plot.svg.
//
// Everything is on loopback: the program under test has one core to itself, clients and origin share another. Absolute
// figures belong to the machine and drift with it; rounds go through all programs in turn, so that a drift falls on all
// of them, and what is worth quoting are ratios of medians.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/yumen-io/yumen/bench/peers"
)

func main() {
	// Children are ended with the thread that started them (see peers.Start), so it must be one that stays.
	runtime.LockOSThread()
	// An interrupt ends the load; then what runs is stopped in order, workers included, and nothing is left behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	rounds, seconds int
	only, tests     string
	yumen           string
	dir, out        string
	coreTest        int
	coreLoad        int
	quick           bool
	tokens          string // fields of requests of the test with guards
}

func parseOptions() options {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often everything is measured; the table shows medians")
	flag.IntVar(&o.seconds, "seconds", 3, "how long one measurement takes")
	flag.StringVar(&o.only, "only", "", "programs to measure, by name and comma; all if empty")
	flag.StringVar(&o.tests, "tests", "", "tests to run, by name and comma; all if empty")
	flag.StringVar(&o.yumen, "yumen", "./yumen", "the gateway's binary")
	flag.StringVar(&o.dir, "dir", "bench", "the bench folder")
	flag.StringVar(&o.out, "out", "", "where REPORT.md and plot.svg go; the bench folder if empty")
	flag.IntVar(&o.coreTest, "core-test", 0, "the core of the program under test")
	flag.IntVar(&o.coreLoad, "core-load", 1, "the core of clients and origin")
	flag.BoolVar(&o.quick, "quick", false, "one short round with small sizes, to see that everything works; its figures mean nothing")
	flag.Parse()
	if o.quick {
		o.rounds, o.seconds = 1, 1
	}
	if o.out == "" {
		o.out = o.dir
	}
	return o
}

func run(ctx context.Context) error {
	o := parseOptions()
	if runtime.NumCPU() < 2 || o.coreTest == o.coreLoad {
		return fmt.Errorf("choosing cores: the program under test and its load need one each, there are %d", runtime.NumCPU())
	}
	if err := settle(o.coreLoad); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "yumen-bench-")
	if err != nil {
		return fmt.Errorf("making a work folder: %w", err)
	}
	defer os.RemoveAll(work)
	// Workers that run as another user must pass through.
	if err := os.Chmod(work, 0o755); err != nil {
		return fmt.Errorf("making a work folder: %w", err)
	}
	tools, err := buildTools(o.dir, work)
	if err != nil {
		return err
	}
	programs, missing := choose(peers.List(tools.relay, o.yumen), o.only)
	if len(programs) == 0 {
		return fmt.Errorf("choosing programs: none of them can be run: %s", strings.Join(missing, "; "))
	}
	if o.tokens, err = peers.TokenFields(); err != nil {
		return fmt.Errorf("making tokens: %w", err)
	}
	b := &bench{options: o, tools: tools, work: work, programs: programs, results: map[string]map[string][]result{}}
	tests := chooseTests(o)
	if len(tests) == 0 {
		return fmt.Errorf("choosing tests: none is named %q", o.tests)
	}
	if err := b.measureAll(ctx, tests); err != nil {
		return err
	}
	r := report{Environment: environment(b), Missing: missing, Tests: tests, bench: b}
	if profile, err := b.profile(ctx); err != nil {
		r.ProfileMissing = err.Error()
	} else {
		r.Profile = profile
	}
	return r.write(o.out)
}

// settle keeps this program off the core under test and lets its children open as many files as the machine allows.
func settle(core int) error {
	var set unix.CPUSet
	set.Set(core)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("listing our threads: %w", err)
	}
	// Threads made later inherit this from those that make them.
	for _, thread := range threads {
		var tid int
		if _, err := fmt.Sscan(thread.Name(), &tid); err != nil {
			return fmt.Errorf("listing our threads: %w", err)
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("moving to core %d: %w", core, err)
		}
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	files.Cur = min(files.Max, 1<<17)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("raising the limit of open files: %w", err)
	}
	return nil
}

// tools are the built programs of this repository that stand beside the ones under test.
type tools struct{ relay, load, bulk, origin, dial string }

func buildTools(dir, work string) (tools, error) {
	var t tools
	for source, binary := range map[string]*string{
		"floor/relay.c": &t.relay, "load/load.c": &t.load, "load/bulk.c": &t.bulk, "load/origin.c": &t.origin,
	} {
		*binary = filepath.Join(work, strings.TrimSuffix(filepath.Base(source), ".c"))
		out, err := exec.Command("gcc", "-O2", "-Wall", "-pthread", "-o", *binary, filepath.Join(dir, source)).CombinedOutput()
		if err != nil {
			return tools{}, fmt.Errorf("building %s: %w\n%s", source, err, out)
		}
	}
	t.dial = filepath.Join(work, "dial")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", t.dial, "./load/dial")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return tools{}, fmt.Errorf("building load/dial: %w\n%s", err, out)
	}
	return t, nil
}

// choose keeps the programs that were asked for and can be run, and says why others cannot.
func choose(list []peers.Program, only string) (found []peers.Program, missing []string) {
	for _, p := range list {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.Name) {
			continue
		}
		if err := p.Find(); err != nil {
			missing = append(missing, err.Error())
			continue
		}
		found = append(found, p)
	}
	return found, missing
}

package kit

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

var (
	reportFile = flag.String("report", "", "file to write the report into")
	rounds     = flag.Int("rounds", 9, "how often each side of each row is measured")
	each       = flag.Duration("each", 100*time.Millisecond, "how long one measurement takes")
	only       = flag.String("only", "", "title of the one table to measure; nothing is written then, see -v")
	loadRounds = flag.Int("load-rounds", 3, "how often each cache is asked over Redis")
	loadFor    = flag.Duration("load-for", 8*time.Second, "how long that takes each time")
)

// subject is a table of the report.
type subject struct {
	title string
	rows  []Row
}

func subjects() []subject {
	return []subject{
		{"Ids", Ids()}, {"Breakers", Breakers()}, {"Limiters", Limiters()}, {"Balancers", Balancers()}, {"Others", Others()},
	}
}

func TestReport(t *testing.T) {
	if *reportFile == "" && *only == "" {
		t.Skip("-report FILE makes the report")
	}
	load := "a load average of " + told("cat", "/proc/loadavg") + " before the run"
	var b strings.Builder
	b.WriteString(header)
	for _, s := range subjects() {
		if *only != "" && s.title != *only {
			continue
		}
		fmt.Fprintf(&b, "## %s\n\n%s", s.title, tableHead)
		var notes strings.Builder
		for _, r := range s.rows {
			of, err := r.Run(*rounds, *each)
			if err != nil {
				t.Fatal(err)
			}
			for g, p := range of {
				name := r.Name
				if g > 0 {
					name = ""
				}
				line := fmt.Sprintf("| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, g+1,
					nanos(p.Ours.Nanos), nanos(p.Peer.Nanos), ratio(p.Ours.Nanos, p.Peer.Nanos),
					nanos(p.Ours.CPU), nanos(p.Peer.CPU), ratio(p.Ours.CPU, p.Peer.CPU), allocs(p.Ours), allocs(p.Peer))
				b.WriteString(line)
				t.Log(r.Name, line)
			}
			fmt.Fprintf(&notes, "- %s: %s\n", r.Name, r.What)
		}
		fmt.Fprintf(&b, "\n%s\n", notes.String())
	}
	if *only != "" {
		return
	}
	b.WriteString(loadTable(t))
	fmt.Fprintf(&b, "## The machine\n\n| | |\n|---|---|\n")
	for _, f := range machine(load) {
		fmt.Fprintf(&b, "| %s | %s |\n", f[0], f[1])
	}
	if err := os.WriteFile(*reportFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every row does what it says, on both sides and with two goroutines.
func TestEveryRow(t *testing.T) {
	for _, s := range subjects() {
		for _, r := range s.rows {
			t.Run(s.title+"/"+r.Name, func(t *testing.T) {
				of, err := r.Run(1, time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				for g, p := range of {
					if p.Ours.Nanos <= 0 || p.Peer.Nanos <= 0 {
						t.Errorf("%d goroutines: %+v", g+1, p)
					}
				}
			})
		}
	}
}

func nanos(of float64) string {
	if of < 100 {
		return fmt.Sprintf("%.1f", of)
	}
	return fmt.Sprintf("%.0f", of)
}

func ratio(ours, peer float64) string {
	if peer == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ours/peer)
}

// allocs leaves out what the runtime and tickers do beside.
func allocs(f Figures) string {
	if f.Allocs < 0.01 {
		return "0"
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", f.Allocs), "0"), ".")
}

// machine is where and with what it was measured.
func machine(load string) [][2]string {
	list := [][2]string{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"commit", told("git", "describe", "--always", "--dirty")},
		{"processor", processor()},
		{"cores", fmt.Sprint(runtime.NumCPU())},
		{"what others did meanwhile", load},
		{"Go", runtime.Version()},
		{"redis-server", told("redis-server", "--version")},
		{"rounds", fmt.Sprintf("%d of %v each; over Redis %d of %v", *rounds, *each, *loadRounds, *loadFor)},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			switch m.Path {
			case "github.com/bwmarrin/snowflake", "github.com/sony/gobreaker/v2", "golang.org/x/time", "google.golang.org/grpc", "github.com/zeromicro/go-zero":
				list = append(list, [2]string{m.Path, m.Version})
			}
		}
	}
	return list
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// told is the first line of what a program says.
func told(name string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

const header = `# The service kit side by side

Written by ` + "`make bench-kit`" + `, which does

    cd bench/kit && go test -run TestReport -timeout 30m -report ../KIT.md

Do not edit. Both sides of a row run in one process, one directly after the other, in rounds; each figure is the median of the
rounds, and × is ours by the other's: below 1 ours is cheaper. The machine is small and shared, so compare within this page and never
with another one's.

- **goroutines**: how many do the work at the same time, on the same breaker, bucket, picker.
- **ns**: the time between the ends of two operations, of all goroutines together. What scales perfectly halves with the second.
- **CPU ns**: the time of processors that an operation takes. A side that waits takes little, one that spins much. It is the steadier figure on a
  machine that others use too.
- **allocs**: allocations of an operation.

`

const tableHead = `| what (beside what) | goroutines | ns | other's ns | × | CPU ns | other's CPU ns | × | allocs | other's allocs |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

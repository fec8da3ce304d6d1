//go:build unix

package rpc

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage measures what the process uses of what it may use.
type usage struct {
	quota  float64 // processors by the control group; 0: no quota
	limit  float64 // bytes by the control group, or of the machine; 0: not known
	before time.Duration
}

func newUsage() (usage, error) {
	u := usage{}
	u.quota, u.limit = groupLimits("/proc/self/cgroup", "/sys/fs/cgroup")
	if u.limit == 0 {
		u.limit = machineMemory("/proc/meminfo")
	}
	used, err := processorTime()
	u.before = used
	return u, err
}

// cpu is the share of its processors that the process has used in the time that has passed.
func (u *usage) cpu(passed time.Duration) float64 {
	used, err := processorTime()
	if err != nil || passed <= 0 {
		return 0
	}
	spent := used - u.before
	u.before = used
	// GOMAXPROCS follows the quota by itself, rounded up; the quota is exact.
	processors := float64(runtime.GOMAXPROCS(0))
	if u.quota > 0 {
		processors = min(processors, u.quota)
	}
	return float64(spent) / float64(passed) / processors
}

// memory is the share in use. Against GOMEMLIMIT, what is live counts: a process at its limit collects more often and is
// well as long as little of that is live. Against any other limit, what is taken from the system counts.
func (u *usage) memory() float64 {
	samples := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples[:])
	value := func(i int) float64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return float64(samples[i].Value.Uint64())
	}
	if limit := debug.SetMemoryLimit(-1); limit > 0 && limit < math.MaxInt64 {
		return (value(0) + value(1)) / float64(limit)
	}
	if u.limit <= 0 {
		return 0
	}
	return (value(2) - value(3)) / u.limit
}

func processorTime() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("rpc: getrusage: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// groupLimits are the tightest limits of the control groups that the process is in, version 2, or 1 where cpu and memory
// have hierarchies of their own. What cannot be read sets no limit.
func groupLimits(self, root string) (processors, memory float64) {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for path := parts[2]; ; path = filepath.Dir(path) {
			switch controllers := "," + parts[1] + ","; {
			case parts[1] == "":
				dir := filepath.Join(root, path)
				if f := strings.Fields(read(filepath.Join(dir, "cpu.max"))); len(f) == 2 {
					tighten(&processors, number(f[0])/number(f[1]))
				}
				tighten(&memory, number(read(filepath.Join(dir, "memory.max"))))
			case strings.Contains(controllers, ",cpu,"):
				dir := filepath.Join(root, "cpu", path)
				tighten(&processors, number(read(filepath.Join(dir, "cpu.cfs_quota_us")))/number(read(filepath.Join(dir, "cpu.cfs_period_us"))))
			case strings.Contains(controllers, ",memory,"):
				tighten(&memory, number(read(filepath.Join(root, "memory", path, "memory.limit_in_bytes"))))
			}
			if path == "/" || path == "." || path == "" {
				break
			}
		}
	}
	if memory > 1<<60 { // version 1 says "none" with a very large number
		memory = 0
	}
	return processors, memory
}

// tighten takes a limit that is one.
func tighten(limit *float64, to float64) {
	if to > 0 && !math.IsInf(to, 0) && (*limit == 0 || to < *limit) {
		*limit = to
	}
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// number is 0 for what is none, such as "max".
func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
}

func machineMemory(file string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) >= 2 && f[0] == "MemTotal:" {
			return number(f[1]) * 1024
		}
	}
	return 0
}

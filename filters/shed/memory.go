package shed

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Memory measures which share of the memory it may have the process uses, off the loops, and publishes it: against the limit of
// its control group (cgroup v2) and that of the Go runtime (GOMEMLIMIT), whichever is nearer. Without any limit it is 0: nobody
// has said what is too much.
type Memory struct {
	group string // the folder of the process's control group; empty: none
	used  atomic.Uint64
}

// Groups is where control groups are on Linux, and which one the process is in.
const (
	groupRoot = "/sys/fs/cgroup"
	groupFile = "/proc/self/cgroup"
)

func newMemory() *Memory { return &Memory{} }

// Start is for gateway.Remembered.
func (m *Memory) Start() {
	if line, err := os.ReadFile(groupFile); err == nil {
		m.group = groupOf(string(line), groupRoot)
	}
}

// Close is for gateway.Remembered.
func (m *Memory) Close() {}

// groupOf finds the folder in the text of groupFile: the line of cgroup v2 begins with 0::. Within a container the group is the
// root of what it sees. Anything else is no group of ours.
func groupOf(text, root string) string {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok {
			return path.Join(root, path.Clean("/"+name))
		}
	}
	return ""
}

// Tick is for gateway.Ticking. Files of a control group are answered by the kernel from memory.
func (m *Memory) Tick(mono.Time, time.Time) {
	used := runtimeUsed()
	if m.group != "" {
		used = max(used, groupUsed(m.group))
	}
	m.used.Store(math.Float64bits(used))
}

// Used returns the share in use, from 0. From any goroutine.
func (m *Memory) Used() float64 { return math.Float64frombits(m.used.Load()) }

// runtimeUsed is what counts for GOMEMLIMIT: all that the runtime has from the system and not given back.
func runtimeUsed() float64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 || limit <= 0 {
		return 0
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return float64(samples[0].Value.Uint64()-samples[1].Value.Uint64()) / float64(limit)
}

// groupUsed is what counts for a group's limit, without what the kernel would drop first: files that were not used of late. The
// limit of a group above counts as well, and the nearest is taken.
func groupUsed(group string) (used float64) {
	for ; strings.HasPrefix(group, groupRoot); group = path.Dir(group) {
		limit, limited := number(group + "/memory.max")
		current, ok := number(group + "/memory.current")
		if !limited || !ok || limit == 0 {
			continue
		}
		if stat, err := os.ReadFile(group + "/memory.stat"); err == nil {
			current -= min(current, field(stat, "inactive_file "))
		}
		used = max(used, current/limit)
	}
	return used
}

// number reads a file with a number in it; "max" is none.
func number(name string) (float64, bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	return float64(n), err == nil
}

// field finds a line of memory.stat.
func field(text []byte, name string) float64 {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 64)
			return float64(n)
		}
	}
	return 0
}

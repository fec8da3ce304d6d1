// Package sys asks the operating system about the process itself: how much of the memory it may have it uses. It decides nothing.
package sys

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// Memory measures which share of the memory it may have the process uses: against the limit of its control group (cgroup v2)
// and that of the Go runtime (GOMEMLIMIT), whichever is nearer. The zero value knows of no group. It may be asked from any goroutine.
type Memory struct {
	group string // the folder of the process's control group; empty: none
}

// groupRoot is where control groups are on Linux, groupFile says which one the process is in.
const (
	groupRoot = "/sys/fs/cgroup"
	groupFile = "/proc/self/cgroup"
)

// FindMemory finds the control group of the process.
func FindMemory() Memory {
	line, err := os.ReadFile(groupFile)
	if err != nil {
		return Memory{}
	}
	return Memory{group: groupOf(string(line), groupRoot)}
}

// Used returns the share in use, from 0. Without any limit it is 0: nobody has said what is too much. Files of a control group
// are answered by the kernel from memory; it takes some tens of microseconds.
func (m Memory) Used() float64 {
	used := runtimeUsed()
	if m.group != "" {
		used = max(used, groupUsed(m.group))
	}
	return used
}

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

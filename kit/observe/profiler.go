package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ProfilerConfig is how a Profiler is made. Dir is required, and one of CPUAbove and LatencyAbove has to be on.
type ProfilerConfig struct {
	// Dir is where profiles are written. It is made if it is not there; nothing else should be kept in it.
	Dir string
	// CPUAbove is the part of the CPU that the process may use, above which it is profiled: above 0, up to 1. It is a part
	// of the quota of the process's cgroup, or of the machine where there is none. Default: 0.8. NoCPU turns it off.
	CPUAbove float64
	NoCPU    bool
	// LatencyAbove is the latency at Quantile, above which the process is profiled. Default: 0, off. Latencies are told
	// apart by an eighth of their size.
	LatencyAbove time.Duration
	// Quantile is above 0 and below 1. Default: 0.99. It is looked at when there were at least 100 requests since the last
	// check.
	Quantile float64
	// Every is the time between two checks: 1 s to an hour. Default: 10 s.
	Every time.Duration
	// Interval is the shortest time from one profile to the next: 1 s to a week. Default: 10 min.
	Interval time.Duration
	// Duration is how long the CPU is profiled: 100 ms to 5 min. Default: 10 s.
	Duration time.Duration
	// FilesMax bounds the files in Dir, of which each spike makes two; the oldest go. 2 to 1,000. Default: 20.
	FilesMax int
	// BytesMax bounds their bytes together: at least 1 MiB. Default: 256 MiB.
	BytesMax int64
	// Clock is the time. Default: time.Now.
	Clock func() time.Time
	// Logger is told of each profile. Default: slog.Default().
	Logger *slog.Logger

	// seams for tests: CPU time used so far, CPUs that may be used, the making of a CPU profile
	used  func() time.Duration
	cpus  float64
	start func(ctx context.Context, f *os.File, d time.Duration) error
}

// ProfilerStats are counts since the Profiler was made, and what the last check saw.
type ProfilerStats struct {
	Profiles uint64 // spikes that were profiled
	Held     uint64 // spikes that were not, since another was less than Interval ago
	Failures uint64 // profiles that could not be made or written
	CPU      float64
	Latency  time.Duration // at Quantile, 0 for too few requests
}

// Profiler looks at the CPU and the latency of its own process, and when one of them is above its bound writes a CPU
// profile and a heap profile, so that a spike at night can be looked at in the morning. Observe may be called by any
// goroutine; Run and Check are for one.
type Profiler struct {
	cfg     ProfilerConfig
	now     func() time.Time
	logger  *slog.Logger
	buckets [bucketCount]atomic.Uint64

	// owned by Run
	lastUsed time.Duration
	lastAt   time.Time
	lastDone time.Time

	profiles, held, failures atomic.Uint64
	cpu                      atomic.Uint64 // in millionths
	latency                  atomic.Int64
}

// Latencies are counted by the power of two of their microseconds, in eight parts each.
const bucketCount = 64 * 8

// requestsMin is how many requests a quantile wants, so that one slow one at night is no spike.
const requestsMin = 100

// NewProfiler makes a Profiler and its directory. Nothing is looked at before Run.
func NewProfiler(cfg ProfilerConfig) (*Profiler, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	duration := func(name string, d *time.Duration, low, high, by time.Duration) {
		if *d == 0 {
			*d = by
		}
		if *d < low || *d > high {
			wrong("%s is %s and must be %s to %s", name, *d, low, high)
		}
	}
	if cfg.Dir == "" {
		wrong("Dir is empty and must be a directory")
	}
	if cfg.CPUAbove == 0 {
		cfg.CPUAbove = 0.8
	}
	if !(cfg.CPUAbove > 0 && cfg.CPUAbove <= 1) {
		wrong("CPUAbove is %v and must be above 0 and at most 1", cfg.CPUAbove)
	}
	if cfg.LatencyAbove < 0 {
		wrong("LatencyAbove is %s and must not be negative", cfg.LatencyAbove)
	}
	if cfg.NoCPU && cfg.LatencyAbove == 0 {
		wrong("NoCPU is set and LatencyAbove is not, so that nothing is looked at")
	}
	if cfg.Quantile == 0 {
		cfg.Quantile = 0.99
	}
	if !(cfg.Quantile > 0 && cfg.Quantile < 1) {
		wrong("Quantile is %v and must be above 0 and below 1", cfg.Quantile)
	}
	duration("Every", &cfg.Every, time.Second, time.Hour, 10*time.Second)
	duration("Interval", &cfg.Interval, time.Second, 7*24*time.Hour, 10*time.Minute)
	duration("Duration", &cfg.Duration, 100*time.Millisecond, 5*time.Minute, 10*time.Second)
	if cfg.FilesMax == 0 {
		cfg.FilesMax = 20
	}
	if cfg.FilesMax < 2 || cfg.FilesMax > 1000 {
		wrong("FilesMax is %d and must be 2 to 1000", cfg.FilesMax)
	}
	if cfg.BytesMax == 0 {
		cfg.BytesMax = 256 << 20
	}
	if cfg.BytesMax < 1<<20 {
		wrong("BytesMax is %d and must be at least %d", cfg.BytesMax, 1<<20)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("observe: profiler: %w", errors.Join(errs...))
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("observe: profiler: making its directory: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.used == nil {
		cfg.used = cpuUsed
	}
	if cfg.cpus == 0 {
		cfg.cpus = cpuQuota()
	}
	if cfg.start == nil {
		cfg.start = profileCPU
	}
	return &Profiler{cfg: cfg, now: clockOf(cfg.Clock), logger: cfg.Logger}, nil
}

// Observe counts a request. It costs an atomic addition.
func (p *Profiler) Observe(took time.Duration) { p.buckets[bucketOf(took)].Add(1) }

func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < 8 {
		return int(us)
	}
	n := bits.Len64(us) // at least 4
	return (n-3)*8 + int(us>>(n-4)&7)
}

// upTo is the longest latency of a bucket.
func upTo(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(bucket) * time.Microsecond
	}
	n := bucket/8 + 3
	return time.Duration((uint64(8+bucket%8+1)<<(n-4))-1) * time.Microsecond
}

// Stats are for metrics.
func (p *Profiler) Stats() ProfilerStats {
	return ProfilerStats{
		Profiles: p.profiles.Load(), Held: p.held.Load(), Failures: p.failures.Load(),
		CPU: float64(p.cpu.Load()) / 1e6, Latency: time.Duration(p.latency.Load()),
	}
}

// Run checks until ctx ends.
func (p *Profiler) Run(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	p.Check(ctx)
	for {
		select {
		case <-tick.C:
			p.Check(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Check looks at what happened since the last one, and profiles if it has to, which takes Duration. It tells whether
// files were written.
func (p *Profiler) Check(ctx context.Context) bool {
	reason := p.spike()
	if reason == "" {
		return false
	}
	now := p.now()
	if !p.lastDone.IsZero() && now.Sub(p.lastDone) < p.cfg.Interval {
		p.held.Add(1)
		return false
	}
	p.lastDone = now
	err := p.profile(ctx, now, reason)
	// The time of the profile itself is no part of the next check.
	p.lastUsed, p.lastAt = p.cfg.used(), p.now()
	if err != nil {
		p.failures.Add(1)
		p.logger.Warn("observe: a spike could not be profiled", "reason", reason, "error", err)
		return false
	}
	p.profiles.Add(1)
	p.logger.Info("observe: a spike was profiled", "reason", reason, "cpu", p.Stats().CPU, "latency", p.Stats().Latency, "dir", p.cfg.Dir)
	return true
}

// spike is what is above its bound: "cpu", "latency", or nothing.
func (p *Profiler) spike() (reason string) {
	now, used := p.now(), p.cfg.used()
	if took := now.Sub(p.lastAt); !p.lastAt.IsZero() && took > 0 {
		part := float64(used-p.lastUsed) / float64(took) / p.cfg.cpus
		p.cpu.Store(uint64(max(0, part) * 1e6))
		if !p.cfg.NoCPU && part > p.cfg.CPUAbove {
			reason = "cpu"
		}
	}
	p.lastAt, p.lastUsed = now, used

	var counts [bucketCount]uint64
	total := uint64(0)
	for i := range counts {
		counts[i] = p.buckets[i].Swap(0)
		total += counts[i]
	}
	p.latency.Store(0)
	if total < requestsMin {
		return reason
	}
	left := total - uint64(p.cfg.Quantile*float64(total)) // requests at or above the quantile
	for i := bucketCount - 1; i >= 0; i-- {
		if counts[i] < left {
			left -= counts[i]
			continue
		}
		p.latency.Store(int64(upTo(i)))
		if p.cfg.LatencyAbove > 0 && upTo(i) > p.cfg.LatencyAbove {
			reason = "latency"
		}
		break
	}
	return reason
}

// profile writes both files. A name has the time first, so that their order is that of the names.
func (p *Profiler) profile(ctx context.Context, at time.Time, reason string) error {
	base := at.UTC().Format("20060102T150405.000") + "-" + reason
	cpu := p.write(base+".cpu.pprof", func(f *os.File) error { return p.cfg.start(ctx, f, p.cfg.Duration) })
	heap := p.write(base+".heap.pprof", func(f *os.File) error { return pprof.Lookup("heap").WriteTo(f, 0) })
	return errors.Join(cpu, heap, p.prune())
}

// write writes a file under another name first: what has the right name is whole.
func (p *Profiler) write(name string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(p.cfg.Dir, "unfinished-*")
	if err != nil {
		return err
	}
	err = fill(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(p.cfg.Dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// prune keeps the bounds of the directory. Files of other names are left alone.
func (p *Profiler) prune() error {
	entries, err := os.ReadDir(p.cfg.Dir)
	if err != nil {
		return err
	}
	slices.Reverse(entries) // they are sorted by name: now the newest are first
	files, bytes := 0, int64(0)
	var errs []error
	for _, e := range entries {
		unfinished := strings.HasPrefix(e.Name(), "unfinished-") // of a process that died
		if !unfinished && !strings.HasSuffix(e.Name(), ".pprof") || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if !unfinished {
			files++
			bytes += info.Size()
		}
		if unfinished || files > p.cfg.FilesMax || bytes > p.cfg.BytesMax {
			errs = append(errs, os.Remove(filepath.Join(p.cfg.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func profileCPU(ctx context.Context, f *os.File, d time.Duration) error {
	if err := pprof.StartCPUProfile(f); err != nil {
		return err // somebody else is at it, by hand
	}
	defer pprof.StopCPUProfile()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// cpuQuota is how many CPUs the process may use. GOMAXPROCS knows of the quota, and rounds it up to at least two.
func cpuQuota() float64 {
	n := float64(runtime.GOMAXPROCS(0))
	text, err := os.ReadFile("/sys/fs/cgroup/cpu.max")
	if err != nil {
		return n
	}
	return quotaOf(string(text), n)
}

// quotaOf reads "max 100000" or "150000 100000", microseconds in each period.
func quotaOf(text string, otherwise float64) float64 {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return otherwise
	}
	quota, err1 := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil || !(quota > 0) || !(period > 0) {
		return otherwise
	}
	return min(quota/period, otherwise)
}

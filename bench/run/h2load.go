//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/yumen-io/yumen/bench/peers"
)

// warmRequests go before each measurement: they open the connections to the upstream, fill the tables, and tell how many
// requests fill the time asked for.
const warmRequests = 20000

// originReadyMax is how long our own origin may take to listen: a process start.
const originReadyMax = 5 * time.Second

// measureH2load lets h2load (of nghttp2) put a fixed number of requests through a running program to bench/load's origin,
// and takes the CPU time from before its first connection to after its last: a few handshakes among a hundred thousand
// requests, the same for all.
func (b *bench) measureH2load(ctx context.Context, running *peers.Running, t test) (result, error) {
	if _, err := exec.LookPath("h2load"); err != nil {
		return result{}, fmt.Errorf("finding h2load (Debian: nghttp2-client): %w", err)
	}
	url := t.url(strconv.Itoa(running.Settings.Listen))
	warm, err := b.runH2load(ctx, t, url, warmRequests)
	if err != nil {
		return result{}, fmt.Errorf("warming up: %w (the program's last words: %s)", err, running.LogTail())
	}
	pids := running.PIDs()
	before := cpuNanos(pids)
	r, err := b.runH2load(ctx, t, url, max(warmRequests, int(warm.Rate*float64(b.options.seconds))))
	if err != nil {
		return result{}, fmt.Errorf("running h2load: %w (the program's last words: %s)", err, running.LogTail())
	}
	r.CPUNanos = cpuNanos(pids) - before
	r.RSS = residentKB(pids)
	return r, nil
}

// url is what a test asks for; the fields are those of load.c.
func (t *test) url(port string) string {
	scheme := "http"
	if t.wire.Front == peers.TLS {
		scheme = "https"
	}
	return scheme + "://127.0.0.1:" + port + "/api/v1/users/42?view=full"
}

func (b *bench) runH2load(ctx context.Context, t test, url string, requests int) (result, error) {
	args := slices.Concat([]string{"-c", strconv.Itoa(b.options.coreLoad), "h2load", "-t", "1"}, t.h2load, []string{
		"-n", strconv.Itoa(requests), "-H", "accept: application/json", "-H", "accept-language: en", "-H", "x-tenant: 0123456789abcdef", url,
	})
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return result{}, err
	}
	return parseH2load(string(out))
}

var (
	h2loadFinished = regexp.MustCompile(`finished in ([0-9.]+)(us|ms|s|m), ([0-9.]+) req/s`)
	h2loadRequests = regexp.MustCompile(`requests: ([0-9]+) total, .* ([0-9]+) failed`)
	h2loadStatus   = regexp.MustCompile(`status codes: ([0-9]+) 2xx`)
)

// parseH2load reads what h2load prints at its end. A request that was answered with anything but 2xx is an error. Over
// HTTP/1.1 h2load takes a status line without a phrase for a failure, so proxies that write such cannot be measured so.
func parseH2load(out string) (result, error) {
	finished, requests, status := h2loadFinished.FindStringSubmatch(out), h2loadRequests.FindStringSubmatch(out), h2loadStatus.FindStringSubmatch(out)
	if finished == nil || requests == nil || status == nil {
		return result{}, fmt.Errorf("reading the result of h2load: %s", strings.TrimSpace(out))
	}
	var r result
	unit := map[string]float64{"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[finished[2]]
	seconds, err1 := strconv.ParseFloat(finished[1], 64)
	rate, err2 := strconv.ParseFloat(finished[3], 64)
	total, err3 := strconv.ParseInt(requests[1], 10, 64)
	good, err4 := strconv.ParseInt(status[1], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return result{}, fmt.Errorf("reading the result of h2load: %w", err)
	}
	if good == 0 {
		return result{}, fmt.Errorf("none of %d requests was answered with 2xx", total)
	}
	r.Requests, r.Errors, r.Seconds, r.Rate, r.Connections = good, total-good, seconds*unit, rate, h2Clients
	return r, nil
}

// startOrigin runs bench/load's origin beside the load, and waits until it listens.
func (b *bench) startOrigin(port int) (stop func(), err error) {
	cmd := exec.Command("taskset", "-c", strconv.Itoa(b.options.coreLoad), b.tools.origin, "-o", strconv.Itoa(port))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the origin: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	deadline := time.After(originReadyMax)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.Close()
			return stop, nil
		}
		select {
		case <-deadline:
			stop()
			return nil, fmt.Errorf("starting the origin: %w", err)
		case <-again.C:
		}
	}
}

// cpuNanos adds up the CPU time of processes, threads that have ended included, by the kernel's own account.
func cpuNanos(pids []string) (sum int64) {
	const cpuclockSched = 2 // of <linux/posix-timers.h>: a clock id is the inverted process id and a kind
	for _, text := range pids {
		var t unix.Timespec
		if pid, err := strconv.Atoi(text); err == nil && unix.ClockGettime(int32(^pid<<3|cpuclockSched), &t) == nil {
			sum += t.Nano()
		}
	}
	return sum
}

// residentKB adds up the resident memory of processes.
func residentKB(pids []string) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + pid + "/statm")
		if err != nil {
			continue // it has ended
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(text), &size, &resident); err == nil {
			sum += resident * int64(os.Getpagesize()) / 1024
		}
	}
	return sum
}

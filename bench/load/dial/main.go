//go:build linux

// Command dial measures what connections cost a proxy: TLS handshakes, full and resumed, and connections that are open and
// idle. Like its neighbours in C it is one process with its own origin, takes the CPU time and memory of the processes it
// is given, and prints one line of JSON.
//
//	dial -g GATEWAY_PORT -o ORIGIN_PORT -m full|resumed|idle [-p h1|h2|h2c] [-c CONNECTIONS] [-d SECONDS] [-w WARM_SECONDS]
//	     [-i SETTLE_SECONDS] [PID...]
//
// full and resumed: CONNECTIONS clients at a time connect by TLS, wait for the session ticket, which a TLS 1.3 server sends
// once it has the client's last word, and close. A resumed handshake that was not resumed is an error. idle: CONNECTIONS
// ask once each and are then held open.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// options are the command line.
type options struct {
	gateway, origin int
	mode, protocol  string
	connections     int
	seconds, warm   float64
	settle          int
	pids            []int
	gatewayAddress  string
}

// result is what is printed; bench/run reads it. Requests are handshakes, or connections that were answered.
type result struct {
	Requests    int64   `json:"requests"`
	Errors      int64   `json:"errors"`
	Connections int64   `json:"connections"`
	Seconds     float64 `json:"seconds"`
	Rate        float64 `json:"rps"`
	CPUNanos    int64   `json:"cpu_ns"`
	RSSBefore   int64   `json:"rss_before_kb"`
	RSS         int64   `json:"rss_kb"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dial:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	origin, err := serveOrigin(o.origin)
	if err != nil {
		return err
	}
	defer origin.Close()
	var r result
	if o.mode == "idle" {
		r, err = holdIdle(o)
	} else {
		r, err = shakeHands(o, o.mode == "resumed")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func parseOptions() (options, error) {
	var o options
	flag.IntVar(&o.gateway, "g", 0, "port of the gateway")
	flag.IntVar(&o.origin, "o", 0, "port of the origin")
	flag.StringVar(&o.mode, "m", "full", "full, resumed or idle")
	flag.StringVar(&o.protocol, "p", "h1", "idle: h1 or h2 over TLS, or h2c")
	flag.IntVar(&o.connections, "c", 8, "connections, at a time")
	flag.Float64Var(&o.seconds, "d", 3, "full and resumed: how long")
	flag.Float64Var(&o.warm, "w", 0.5, "full and resumed: how long before that")
	flag.IntVar(&o.settle, "i", 3, "idle: seconds until the memory is read")
	flag.Parse()
	if o.gateway == 0 || o.origin == 0 || o.connections < 1 {
		return o, errors.New("reading the command line: -g, -o and -c are needed")
	}
	switch {
	case o.mode != "full" && o.mode != "resumed" && o.mode != "idle":
		return o, fmt.Errorf("reading the command line: no mode is called %q", o.mode)
	case o.protocol != "h1" && o.protocol != "h2" && o.protocol != "h2c":
		return o, fmt.Errorf("reading the command line: no protocol is called %q", o.protocol)
	}
	o.gatewayAddress = net.JoinHostPort("127.0.0.1", strconv.Itoa(o.gateway))
	for _, arg := range flag.Args() {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return o, fmt.Errorf("reading the command line: process %q: %w", arg, err)
		}
		o.pids = append(o.pids, pid)
	}
	return o, nil
}

// serveOrigin answers what idle connections ask before they idle.
func serveOrigin(port int) (*http.Server, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	body := make([]byte, 128)
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }),
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(l) }() // ends with Close
	return server, nil
}

// cpuNanos adds up the CPU time of processes, threads that have ended included. A process that is gone adds nothing.
func cpuNanos(pids []int) (sum int64) {
	const cpuclockSched = 2 // of the kernel's <linux/posix-timers.h>: a clock id is the inverted process id and a kind
	for _, pid := range pids {
		var t unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|cpuclockSched), &t) == nil {
			sum += t.Nano()
		}
	}
	return sum
}

// residentKB adds up the resident memory of processes.
func residentKB(pids []int) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
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

// answerMax bounds whatever should take a moment.
const answerMax = 10 * time.Second

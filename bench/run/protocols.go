//go:build linux

package main

import (
	"slices"
	"strconv"

	"github.com/yumen-io/yumen/bench/peers"
)

// Clients of the tests over HTTP/2: as many connections as in the tests over HTTP/1.1, with streams that a browser or a
// service would have open at a time.
const (
	h2Clients = 64
	h2Streams = 16
)

// protocolTests are those of TLS and HTTP/2. What is spoken before the proxy stands first in their names, what behind it
// second.
func protocolTests(o options) []test {
	seconds, idle := strconv.Itoa(o.seconds), 2000
	if o.quick {
		idle = 200
	}
	many := []string{"-c", strconv.Itoa(h2Clients), "-m", strconv.Itoa(h2Streams)}
	single := []string{"--h1", "-c", strconv.Itoa(h2Clients), "-m", "1"}
	dial := func(t tools) string { return t.dial }
	// The floor knows no HTTP, and variants of ours that differ in HTTP/1.1 alone say nothing here.
	variants := []string{"relay", "yumen-log", "yumen-pipeline"}
	without := func(more ...string) []string { return append(slices.Clone(variants), more...) }
	both := []string{"haproxy", "nginx"}
	return []test{
		{
			name: "h2-h1", title: "HTTP/2 over TLS to HTTP/1.1", h2load: many, columns: throughputColumns, against: both, skip: without(),
			what: "64 clients with 16 streams each, 128-byte bodies.",
			wire: peers.Wire{Front: peers.TLS},
		},
		{
			name: "h2c-h1", title: "h2c to HTTP/1.1", h2load: many, columns: throughputColumns, against: both, skip: without(),
			what: "The same without TLS.",
			wire: peers.Wire{Front: peers.H2C},
		},
		{
			name: "h2c-h2c", title: "h2c to h2c", h2load: many, columns: throughputColumns, against: []string{"haproxy"}, skip: without("nginx"),
			what: "The same to an upstream that speaks HTTP/2; nginx speaks it to clients only.",
			wire: peers.Wire{Front: peers.H2C, Back: peers.H2C},
		},
		{
			name: "h1-h2c", title: "HTTP/1.1 to h2c", tool: func(t tools) string { return t.load }, origin: true,
			args: []string{"-c", "64", "-d", seconds, "-x"}, columns: requestColumns, against: both, skip: without(),
			what: "64 keep-alive clients of HTTP/1.1 before an upstream that speaks HTTP/2. nginx has an upstream of HTTP/1.1, for want of the other.",
			wire: peers.Wire{Back: peers.H2C}, other: map[string]peers.Wire{"nginx": {}},
		},
		{
			name: "tls-h1", title: "HTTP/1.1 over TLS 1.3", h2load: single, columns: throughputColumns, against: both, skip: without(),
			what: "64 keep-alive clients of HTTP/1.1 over TLS, to HTTP/1.1.",
			wire: peers.Wire{Front: peers.TLS},
		},
		{
			name: "handshake", title: "TLS 1.3 handshakes", tool: dial, columns: handshakeColumns, against: both, skip: without(),
			what: "Eight clients connect, wait for the session ticket and close. ECDSA P-256, X25519; nothing is asked. The client's own work shares a core with nobody under test and bounds the rate.",
			args: []string{"-m", "full", "-d", seconds}, wire: peers.Wire{Front: peers.TLS},
		},
		{
			name: "resumed", title: "Resumed TLS 1.3 handshakes", tool: dial, columns: handshakeColumns, against: both, skip: without(),
			what: "The same with the ticket of the time before.",
			args: []string{"-m", "resumed", "-d", seconds}, wire: peers.Wire{Front: peers.TLS},
		},
		{
			name: "idle-h2c", title: strconv.Itoa(idle) + " idle h2c connections", tool: dial, columns: idleColumns, roundsMax: 1, skip: without(),
			what: "Each connection asks once and is then held open.",
			args: []string{"-m", "idle", "-p", "h2c", "-c", strconv.Itoa(idle)}, wire: peers.Wire{Front: peers.H2C},
		},
		{
			name: "idle-tls", title: strconv.Itoa(idle) + " idle TLS connections", tool: dial, columns: idleColumns, roundsMax: 1, skip: without(),
			what: "The same with HTTP/1.1 over TLS.",
			args: []string{"-m", "idle", "-p", "h1", "-c", strconv.Itoa(idle)}, wire: peers.Wire{Front: peers.TLS},
		},
		{
			name: "idle-h2", title: strconv.Itoa(idle) + " idle connections of HTTP/2 over TLS", tool: dial, columns: idleColumns, roundsMax: 1, skip: without(),
			what: "The same with HTTP/2 over TLS.",
			args: []string{"-m", "idle", "-p", "h2", "-c", strconv.Itoa(idle)}, wire: peers.Wire{Front: peers.TLS},
		},
	}
}

var (
	throughputColumns = []column{
		cpuColumn,
		{head: "requests/s", format: "%.0f", value: func(r result) float64 { return r.Rate }},
		rssColumn, errColumn,
	}
	handshakeColumns = []column{
		{head: "per CPU second", format: "%.0f", ratios: true, value: func(r result) float64 { return float64(r.Requests) / (float64(r.CPUNanos) / 1e9) }},
		{head: "CPU µs each", format: "%.0f", value: func(r result) float64 { return float64(r.CPUNanos) / 1e3 / float64(r.Requests) }},
		{head: "per second", format: "%.0f", value: func(r result) float64 { return r.Rate }},
		errColumn,
	}
)

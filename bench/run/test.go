//go:build linux

package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/bench/peers"
)

// test is one kind of work, done by every program in every round.
type test struct {
	name  string
	title string
	what  string // one sentence for the report: what is done and how to read it
	// tool is the load program and args what it is told; or h2load is what that is told, and there is no tool.
	tool   func(tools) string
	args   []string
	h2load []string
	// origin has bench/load's origin run for a load that brings none of its own. h2load never does.
	origin bool
	// wire is what is spoken; other has the programs that speak something else here, with a reason in what.
	wire  peers.Wire
	other map[string]peers.Wire
	// against are the programs whose figures ratios are of; relay and nginx if empty.
	against []string
	// roundsMax bounds the rounds of tests whose result hardly varies; 0 is no bound.
	roundsMax int
	// skip names programs for which the test says nothing, with a reason in what.
	skip    []string
	columns []column
}

func (t *test) wireOf(program string) peers.Wire {
	if w, ok := t.other[program]; ok {
		return w
	}
	return t.wire
}

func (t *test) bases() []string {
	if t.against != nil {
		return t.against
	}
	return []string{"relay", "nginx"}
}

// openLoopRate is about half of what the slowest program here does on one core: below the knee, where a latency tells
// of the program and not of the queue before it.
const openLoopRate = 15000

func chooseTests(o options) []test {
	seconds := strconv.Itoa(o.seconds)
	idle, bulk, slow := 9000, 1<<30, 100<<20
	if o.quick {
		idle, bulk, slow = 500, 64<<20, 8<<20
	}
	load := func(t tools) string { return t.load }
	large := func(t tools) string { return t.bulk }
	all := []test{
		{
			name: "closed-64", title: "64 connections", tool: load, columns: requestColumns,
			what: "64 keep-alive clients that ask again as soon as they are answered, 128-byte bodies. CPU is user and system time of the program's process tree for each request.",
			args: []string{"-c", "64", "-d", seconds},
		},
		{
			name: "closed-512", title: "512 connections", tool: load, columns: requestColumns,
			what: "The same with 512 clients.",
			args: []string{"-c", "512", "-d", seconds},
		},
		{
			name: "open-64", title: strconv.Itoa(openLoopRate) + " requests a second", tool: load, columns: latencyColumns,
			what: "64 connections, requests due at a fixed rate below what each program can do; a latency counts from when its request fell due. The figures hold what the load and the origin cost as well, the same for all.",
			args: []string{"-c", "64", "-d", seconds, "-r", strconv.Itoa(openLoopRate)},
		},
		{
			name: "idle", title: strconv.Itoa(idle) + " idle connections", tool: load, columns: idleColumns, roundsMax: 1,
			what: "Each connection asks once and is then held open. Growth is measured from the first answer on; upstream connections that a program keeps are part of it. The relay keeps one for each client and no state worth measuring.",
			args: []string{"-c", strconv.Itoa(idle), "-i", "3", "-w", "0"}, skip: []string{"relay", "yumen-log", "yumen-pipeline"},
		},
		{
			name: "bulk-down", title: "Large responses", tool: large, columns: bulkColumns, roundsMax: 3,
			what: "Two clients fetch " + strconv.Itoa(bulk>>20) + " MiB each. Client and origin share a core and bound the speed; CPU per GB is the program's own.",
			args: []string{"-m", "down", "-c", "2", "-n", strconv.Itoa(bulk)}, skip: []string{"yumen-log", "yumen-pipeline"},
		},
		{
			name: "bulk-up", title: "Large requests", tool: large, columns: bulkColumns, roundsMax: 3,
			what: "Two clients send " + strconv.Itoa(bulk>>20) + " MiB each.",
			args: []string{"-m", "up", "-c", "2", "-n", strconv.Itoa(bulk)}, skip: []string{"yumen-log", "yumen-pipeline"},
		},
		{
			name: "slow", title: "Slow readers", tool: large, columns: slowColumns, roundsMax: 1,
			what: "100 clients ask for " + strconv.Itoa(slow>>20) + " MiB each and read nothing.",
			args: []string{"-m", "slow", "-c", "100", "-s", "2", "-n", strconv.Itoa(slow)}, skip: []string{"yumen-log", "yumen-pipeline"},
		},
	}
	all = append(all, protocolTests(o)...)
	all = append(all, test{
		name: "guards", title: "Guards", tool: load, columns: requestColumns, against: []string{"yumen", "nginx"}, skip: []string{"relay", "haproxy", "yumen-log", "yumen-pipeline"},
		what: "64 connections whose requests carry two tokens. yumen-hs256 and yumen-es256 verify one of them, count by its subject (token bucket) and go through a breaker; the others pass it on unread.",
		args: []string{"-c", "64", "-d", seconds, "-H", o.tokens},
	})
	if o.tests == "" {
		return all
	}
	return slices.DeleteFunc(all, func(t test) bool { return !slices.Contains(strings.Split(o.tests, ","), t.name) })
}

// column is one figure of a table. Each round gives a value, the table shows the median.
type column struct {
	head   string
	value  func(result) float64
	format string
	// ratios adds a column for each of the test's bases: this one against theirs.
	ratios bool
	// total shows the sum of the rounds in place of the median: one error in one round is still an error.
	total bool
}

var (
	cpuColumn = column{head: "CPU µs/request", format: "%.2f", ratios: true, value: func(r result) float64 {
		return float64(r.CPUNanos) / 1e3 / float64(r.Requests)
	}}
	p50Column  = column{head: "p50 µs", format: "%.0f", value: func(r result) float64 { return r.P50 }}
	p99Column  = column{head: "p99 µs", format: "%.0f", value: func(r result) float64 { return r.P99 }}
	p999Column = column{head: "p99.9 µs", format: "%.0f", value: func(r result) float64 { return r.P999 }}
	rssColumn  = column{head: "RSS MB", format: "%.1f", value: func(r result) float64 { return float64(r.RSS) / 1e3 }}
	errColumn  = column{head: "errors", format: "%.0f", total: true, value: func(r result) float64 { return float64(r.Errors) }}

	requestColumns = []column{
		cpuColumn,
		{head: "requests/s", format: "%.0f", value: func(r result) float64 { return r.Rate }},
		p50Column, p99Column, p999Column, rssColumn, errColumn,
	}
	latencyColumns = []column{p50Column, p99Column, p999Column, cpuColumn, errColumn}
	idleColumns    = []column{
		{head: "kB each", format: "%.2f", value: func(r result) float64 { return growth(r) }},
		rssColumn, errColumn,
	}
	bulkColumns = []column{
		{head: "CPU ms/GB", format: "%.0f", ratios: true, value: func(r result) float64 {
			return float64(r.CPUNanos) / 1e6 / (float64(r.Bytes) / 1e9)
		}},
		{head: "MB/s", format: "%.0f", value: func(r result) float64 { return float64(r.Bytes) / 1e6 / r.Seconds }},
		{head: "peak RSS growth MB", format: "%.1f", value: func(r result) float64 { return float64(r.RSS-r.RSSBefore) / 1e3 }},
		errColumn,
	}
	slowColumns = []column{
		{head: "kB each", format: "%.0f", value: func(r result) float64 { return growth(r) }},
		rssColumn, errColumn,
	}
)

// growth is the resident memory that each connection added, in kB.
func growth(r result) float64 { return float64(r.RSS-r.RSSBefore) / float64(r.Connections) }

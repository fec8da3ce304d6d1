//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/bench/peers"
)

var update = flag.Bool("update", false, "rewrite testdata/report.md")

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// told is a bench whose figures are easy to check by hand: nginx costs 20 µs a request, the relay 10, and one of
// nginx's two rounds had an error.
func told() *bench {
	request := func(micros int64) result {
		return result{Requests: 1000, Connections: 64, CPUNanos: micros * 1e6, Rate: 5000, P50: 10, P99: 20, P999: 30, RSS: 2000}
	}
	failed := request(20)
	failed.Errors = 1
	return &bench{
		options:  options{rounds: 2, seconds: 3, coreLoad: 1},
		programs: []peers.Program{{Name: "relay"}, {Name: "nginx"}, {Name: "absent"}},
		results: map[string]map[string][]result{
			"closed-64": {"relay": {request(9), request(11)}, "nginx": {request(20), failed}},
			"idle":      {"nginx": {{Connections: 100, RSSBefore: 1000, RSS: 1150}}},
		},
		failures: []string{"round 1, idle, relay: it fell over"},
	}
}

func TestReportOfKnownFigures(t *testing.T) {
	b := told()
	r := report{
		Environment: []fact{{"kernel", "Linux"}}, Missing: []string{"finding absent: not there"},
		Tests: chooseTests(options{seconds: 3, tests: "closed-64,idle"}), ProfileMissing: "yumen was not there", bench: b,
	}
	got := r.markdown(true)
	const golden = "testdata/report.md"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, w string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, g, w)
		}
	}
}

func TestH2loadIsRead(t *testing.T) {
	const said = `starting benchmark...
finished in %s, 47045.84 req/s, 6.75MB/s
requests: 500 total, 500 started, 500 done, 498 succeeded, 2 failed, 1 errored, 0 timeout
status codes: %s 2xx, 0 3xx, 1 4xx, 0 5xx
`
	for _, c := range []struct {
		finished, good string
		want           result
		fails          bool
	}{
		{"1.50s", "498", result{Requests: 498, Errors: 2, Seconds: 1.5, Rate: 47045.84, Connections: h2Clients}, false},
		{"250.5ms", "500", result{Requests: 500, Seconds: 0.2505, Rate: 47045.84, Connections: h2Clients}, false},
		{"1.50s", "0", result{}, true},
		{"", "500", result{}, true},
	} {
		got, err := parseH2load(fmt.Sprintf(said, c.finished, c.good))
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("finished in %q with %s good ones: got %+v, %v; want %+v", c.finished, c.good, got, err, c.want)
		}
	}
}

func TestPlotIsXMLWithABarForEachFigure(t *testing.T) {
	r := report{bench: told()}
	svg := r.plot()
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	// The page, two in the legend, one for each program.
	if bars != 1+2+2 {
		t.Errorf("%d rectangles, want 5 in\n%s", bars, svg)
	}
}

// TestLoadThroughTheRelay builds the C programs and runs each kind of work for a moment through the floor.
func TestLoadThroughTheRelay(t *testing.T) {
	work := t.TempDir()
	built, err := buildTools("..", work)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{coreTest: 0, coreLoad: 0}, tools: built, work: work}
	relay := peers.List(built.relay, "yumen")[0]
	if err := relay.Find(); err != nil {
		t.Fatal(err)
	}
	load := func(t tools) string { return t.load }
	bulk := func(t tools) string { return t.bulk }
	dial := func(t tools) string { return t.dial }
	for _, c := range []test{
		{name: "closed loop", tool: load, args: []string{"-c", "8", "-w", "0.05", "-d", "0.2"}},
		{name: "open loop", tool: load, args: []string{"-c", "8", "-w", "0.05", "-d", "0.2", "-r", "1000"}},
		{name: "idle", tool: load, args: []string{"-c", "50", "-w", "0", "-i", "0"}},
		{name: "down", tool: bulk, args: []string{"-m", "down", "-c", "2", "-n", "1000001"}},
		{name: "up", tool: bulk, args: []string{"-m", "up", "-c", "2", "-n", "1000001"}},
		{name: "foreign origin", tool: load, origin: true, args: []string{"-c", "8", "-w", "0.05", "-d", "0.2", "-x"}},
		{name: "idle over HTTP/2", tool: dial, args: []string{"-m", "idle", "-p", "h2c", "-c", "20", "-i", "0"}, wire: peers.Wire{Front: peers.H2C}},
		{name: "slow", tool: bulk, args: []string{"-m", "slow", "-c", "5", "-s", "0", "-n", "1000001"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := b.measure(t.Context(), &relay, c)
			if err != nil {
				t.Fatal(err)
			}
			if r.Errors != 0 || r.RSS == 0 {
				t.Errorf("got %+v, want no errors and some memory", r)
			}
			switch filepath.Base(c.tool(built)) {
			case "load":
				if c.name != "idle" && (r.Requests == 0 || r.CPUNanos == 0) {
					t.Errorf("got %+v, want requests and their CPU time", r)
				}
			case "bulk":
				if c.name != "slow" && r.Bytes != 2*1000001 {
					t.Errorf("moved %d bytes, want 2 bodies of 1000001", r.Bytes)
				}
			}
		})
	}
}

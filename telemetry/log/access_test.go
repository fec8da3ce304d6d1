package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yumen-io/yumen/internal/mono"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	if os.Getenv("YUMEN_TEST_CLOSED_STDOUT") != "" {
		os.Exit(writeToClosedStdout())
	}
	goleak.VerifyTestMain(m)
}

// manual is an access log whose drains the test makes.
func manual(t *testing.T, c AccessConfig) *Access {
	t.Helper()
	if c.Loops == 0 {
		c.Loops = 1
	}
	a, err := newAccess(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func closeAccess(t *testing.T, a *Access) {
	t.Helper()
	if err := a.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestLine(t *testing.T) {
	all, _ := Fields()
	f := func(fields []string, change func(*Record), want string) {
		t.Helper()
		l := newLiner(mustChoose(t, fields), []string{"x-tenant", "Status"})
		l.wall = time.Date(2026, 8, 1, 12, 30, 59, 0, time.UTC).UnixNano()
		rec := usualRecord()
		rec.Start = mono.Time(999_999_999)
		change(rec)
		if got := lineOf(t, l, rec); got != want+"\n" {
			t.Errorf("line\n%swant\n%s", got, want)
		}
	}
	f(nil, func(r *Record) {}, `{"time":"2026-08-01T12:30:59.999999Z","request_id":"01hzy3v5k8m2n4p6q8r0s2t4v6","client":"192.0.2.17:51234",`+
		`"method":"GET","host":"www.example.com","path":"/users/12345","status":200,"route":"/users/:id","cluster":"app",`+
		`"endpoint":"10.0.0.1:9000","bytes_out":1530,"duration_us":1234}`)
	f(nil, func(r *Record) {
		*r = Record{Start: 1_000_001_000, Status: 400, Reason: "bare_lf", Client: netip.MustParseAddrPort("[2001:db8::1]:7")}
	}, `{"time":"2026-08-01T12:31:00.000001Z","client":"[2001:db8::1]:7","status":400,"reason":"bare_lf","bytes_out":0,"duration_us":0}`)
	f(all, func(r *Record) {
		r.Query = []byte("a=b&c")
		r.Referer = []byte("https://example.org/")
		r.Reason = "no_route"
		r.Attempts = 2
		r.Headers[0], r.Headers[1], r.Headers[2] = []byte("t1"), []byte("fake"), []byte("not configured")
	}, `{"time":"2026-08-01T12:30:59.999999Z","request_id":"01hzy3v5k8m2n4p6q8r0s2t4v6","listener":"web","client":"192.0.2.17:51234",`+
		`"method":"GET","host":"www.example.com","path":"/users/12345","query":"a=b&c","protocol":"HTTP/1.1","status":200,`+
		`"reason":"no_route","route":"/users/:id","cluster":"app","endpoint":"10.0.0.1:9000","attempts":2,"bytes_in":420,`+
		`"bytes_out":1530,"duration_us":1234,"first_byte_us":900,`+
		`"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0","referer":"https://example.org/",`+
		`"revision":7,"headers":{"x-tenant":"t1","Status":"fake"}}`)
	f([]string{"status", "path"}, func(r *Record) { r.Path = bytes.Repeat([]byte("/"), 5000) },
		`{"status":200,"path":"`+strings.Repeat("/", 2048)+`","truncated":true}`)
}

func mustChoose(t *testing.T, names []string) []field {
	t.Helper()
	fields, err := chooseFields(names)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

func lineOf(t interface{ Fatal(...any) }, l *liner, rec *Record) string {
	limits := textLimits(l.chosen, len(l.headers))
	var s shape
	s.measure(rec, &limits)
	e := make(entry, s.size())
	s.encode(e, rec)
	line, err := l.line(e)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Free()
	return line.String()
}

// Nothing that a client sends can end a line, add a member, or reach a terminal as a command.
func TestLogInjectionIsImpossible(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		l := newLiner(mustChoose(t, []string{"path"}), nil)
		if got := lineOf(t, l, &Record{Path: []byte(path)}); got != `{"path":"`+want+`"}`+"\n" {
			t.Errorf("path %q is logged as %swant %s", path, got, want)
		}
	}
	f("/plain-ascii-longer-than-eight", "/plain-ascii-longer-than-eight")
	f("/a\r\n{\"status\":200}", `/a\r\n{\"status\":200}`)
	f(`/","status":"`, `/\",\"status\":\"`)
	f(`/\`, `/\\`)
	f("/\x00\x1b[31m\x1c", `/\u0000\u001b[31m\u001c`)
	f("/long-enough-\x7f", "/long-enough-\uFFFD")
	f("/é玉门😀", "/é玉门😀")
	f("/\u009b31m\u0085", "/\uFFFD31m\uFFFD")
	f("/\u2028\u2029\u202e\u2066", "/\uFFFD\uFFFD\uFFFD\uFFFD")
	f("/\xff\xc3", `/\ufffd\ufffd`)
	f("/\xed\xa0\x80", `/\ufffd\ufffd\ufffd`) // a surrogate
	f("/12345\xc2", `/12345\ufffd`)

	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
		rec := &Record{Path: value, Host: value, Route: string(value)}
		line := lineOf(t, newLiner([]field{fieldPath, fieldHost, fieldRoute}, nil), rec)
		body, ended := strings.CutSuffix(line, "\n")
		for _, c := range body {
			if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
				t.Fatalf("line %q holds %q", line, c)
			}
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(body), &back); err != nil || !ended || !utf8.ValidString(line) || len(back) > 3 {
			t.Fatalf("line %q: %v", line, err)
		}
	})
}

func TestFieldsThatCannotBeChosen(t *testing.T) {
	f := func(c AccessConfig, want string) {
		t.Helper()
		c.Output = io.Discard
		if c.Loops == 0 {
			c.Loops = 1
		}
		if _, err := NewAccess(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	f(AccessConfig{Loops: -1}, "-1 loops")
	f(AccessConfig{Fields: []string{"pth"}}, `no field "pth"; there are time, `)
	f(AccessConfig{Fields: []string{"path", "path"}}, "chosen twice")
	f(AccessConfig{Headers: make([]string, 9)}, "9 extra headers")
	f(AccessConfig{Sample: 1.5}, "sample 1.5")
	f(AccessConfig{RingBytes: -1}, "ring of -1")
	f(AccessConfig{Interval: -1}, "interval")
}

// lines is a sink that remembers. Its fields are read after Close.
type lines struct {
	bytes.Buffer
	writes int
}

func (l *lines) Write(p []byte) (int, error) {
	l.writes++
	return l.Buffer.Write(p)
}

func TestNothingIsLostBetweenLoopsAndClose(t *testing.T) {
	const loops, each = 3, 20000
	var out lines
	a, err := NewAccess(AccessConfig{Loops: loops, RingBytes: ringBytesMin, Output: &out, Interval: time.Millisecond, Fields: []string{"listener", "bytes_in"}})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for loop := range loops {
		running.Go(func() {
			rec := &Record{Listener: fmt.Sprint(loop)}
			for i := range each {
				rec.BytesIn = int64(i)
				a.Ring(loop).Add(rec)
			}
		})
	}
	running.Wait()
	closeAccess(t, a)
	closeAccess(t, a)

	s := a.Stats()
	if s.Written+s.Dropped != loops*each || s.Lost != 0 || s.Skipped != 0 {
		t.Errorf("%d records offered, %+v", loops*each, s)
	}
	last := map[string]int64{}
	n := uint64(0)
	for line := range strings.Lines(out.String()) {
		var r struct {
			Listener string `json:"listener"`
			In       int64  `json:"bytes_in"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if before, any := last[r.Listener]; any && r.In <= before {
			t.Fatalf("loop %s: %d after %d", r.Listener, r.In, before)
		}
		last[r.Listener] = r.In
		n++
	}
	if n != s.Written {
		t.Errorf("%d lines, %d counted as written", n, s.Written)
	}
}

func TestOneDrainIsOneWrite(t *testing.T) {
	var out lines
	a := manual(t, AccessConfig{Loops: 2, Output: &out})
	a.drain()
	for range 100 {
		a.Ring(0).Add(usualRecord())
		a.Ring(1).Add(usualRecord())
	}
	a.drain()
	if n := strings.Count(out.String(), "\n"); out.writes != 1 || n != 200 {
		t.Errorf("%d lines in %d writes, want 200 in 1", n, out.writes)
	}
}

func TestLineHasTheWallTimeOfItsStart(t *testing.T) {
	var out lines
	a := manual(t, AccessConfig{Output: &out, Fields: []string{"time"}})
	before := time.Now().Truncate(time.Microsecond)
	a.Ring(0).Add(&Record{Start: mono.Now()})
	a.drain()
	var line struct{ Time time.Time }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	// Wall and monotonic clock are read one after the other, by a thread that may be put aside in between.
	if d := line.Time.Sub(before); d < -10*time.Second || d > 10*time.Second {
		t.Errorf("logged %v, started %v", line.Time, before)
	}
}

// gate is a sink that blocks until it is opened.
type gate struct {
	entered chan struct{} // gets one at the first write
	open    chan struct{}
	lines
}

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return g.lines.Write(p)
}

func TestBlockedSinkDropsAndDoesNotHoldUpTheLoop(t *testing.T) {
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	a, err := NewAccess(AccessConfig{Loops: 1, RingBytes: ringBytesMin, Output: g})
	if err != nil {
		t.Fatal(err)
	}
	const offered = 5000 // several rings full
	rec := usualRecord()
	for range offered - 1000 {
		a.Ring(0).Add(rec) // would never come back if a loop could wait for the sink
	}
	<-g.entered
	for range 1000 {
		a.Ring(0).Add(rec)
	}
	if a.Stats().Dropped == 0 {
		t.Error("nothing was dropped")
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Close(over); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "unwritten") {
		t.Errorf("Close of a blocked log: %v", err)
	}

	close(g.open)
	closeAccess(t, a)
	s := a.Stats()
	if got := strings.Count(g.String(), "\n"); s.Written+s.Dropped != offered || uint64(got) != s.Written {
		t.Errorf("%d offered, %+v, %d lines", offered, s, got)
	}
}

// faulty is a sink that answers each write by its script, and takes everything when the script is over.
type faulty struct {
	script []func(p []byte) (int, error)
	lines
}

func (f *faulty) Write(p []byte) (int, error) {
	if len(f.script) == 0 {
		return f.lines.Write(p)
	}
	step := f.script[0]
	f.script = f.script[1:]
	n, err := step(p)
	f.lines.Write(p[:n])
	return n, err
}

func TestFailingSink(t *testing.T) {
	full := errors.New("no space left on device")
	none := func(p []byte) (int, error) { return 0, full }
	// One line is {"bytes_in":0}, 15 bytes with its end.
	f := func(name string, script []func(p []byte) (int, error), wantOut string, wantLost uint64) {
		t.Helper()
		var told bytes.Buffer
		out := &faulty{script: script}
		a := manual(t, AccessConfig{Output: out, Fields: []string{"bytes_in"}, Logger: slog.New(slog.NewTextHandler(&told, nil))})
		offered := uint64(0)
		for len(out.script) > 0 || offered == 0 {
			for range 2 {
				a.Ring(0).Add(&Record{BytesIn: int64(offered)})
				offered++
			}
			a.drain()
		}
		a.Ring(0).Add(&Record{BytesIn: 9})
		a.drain()
		offered++
		if out.String() != wantOut {
			t.Errorf("%s: out\n%swant\n%s", name, out.String(), wantOut)
		}
		if s := a.Stats(); s.Lost != wantLost || s.Written+s.Lost != offered {
			t.Errorf("%s: %d offered, %+v, want %d lost", name, offered, s, wantLost)
		}
		if strings.Count(told.String(), "writing failed") != 1 || strings.Count(told.String(), "writing works") != 1 {
			t.Errorf("%s: the logger was told\n%s", name, told.String())
		}
	}
	f("full disk, three times", []func(p []byte) (int, error){none, none, none}, "{\"bytes_in\":9}\n", 6)
	f("torn in the second line", []func(p []byte) (int, error){
		func(p []byte) (int, error) { return 20, full },
	}, "{\"bytes_in\":0}\n{\"byt\n{\"bytes_in\":9}\n", 1)
	f("torn, then full, then torn after the first byte", []func(p []byte) (int, error){
		func(p []byte) (int, error) { return 3, full },
		none,
		func(p []byte) (int, error) { return 1, full },
	}, "{\"b\n{\"bytes_in\":9}\n", 6)
	f("cut between lines", []func(p []byte) (int, error){
		func(p []byte) (int, error) { return 15, full },
	}, "{\"bytes_in\":0}\n{\"bytes_in\":9}\n", 1)
	f("short and silent", []func(p []byte) (int, error){
		func(p []byte) (int, error) { return 15, nil },
	}, "{\"bytes_in\":0}\n{\"bytes_in\":9}\n", 1)
}

func TestFullDevice(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	a, err := NewAccess(AccessConfig{Loops: 1, Path: "/dev/full"})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		a.Ring(0).Add(usualRecord())
	}
	closeAccess(t, a)
	if s := a.Stats(); s != (AccessStats{Lost: 100}) {
		t.Errorf("%+v, want 100 lost", s)
	}
}

func TestSkippedRecordsAreCounted(t *testing.T) {
	a := manual(t, AccessConfig{Output: io.Discard, Sample: 0.5, Seed: 3})
	for range 1000 {
		a.Ring(0).Add(usualRecord())
	}
	a.drain()
	if s := a.Stats(); s.Written+s.Skipped != 1000 || s.Skipped < 400 || s.Skipped > 600 {
		t.Errorf("%+v", s)
	}
}

func TestReopenAfterRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	a := manual(t, AccessConfig{Path: path, Fields: []string{"bytes_in"}})
	a.Ring(0).Add(&Record{BytesIn: 1})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	a.Reopen()
	a.Reopen() // does not wait for the writer, which is not running yet
	go a.run()
	for a.reopen.Load() {
		runtime.Gosched()
	}
	a.Ring(0).Add(&Record{BytesIn: 2})
	closeAccess(t, a)
	for file, want := range map[string]string{path + ".1": "{\"bytes_in\":1}\n", path: "{\"bytes_in\":2}\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", filepath.Base(file), got, err, want)
		}
	}
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	a := manual(t, AccessConfig{Path: filepath.Join(dir, "access.log"), Fields: []string{"bytes_in"}, Logger: slog.New(slog.NewTextHandler(&told, nil))})
	moved := dir + ".old"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	a.renew()
	a.Ring(0).Add(&Record{BytesIn: 1})
	go a.run()
	closeAccess(t, a)
	if got, err := os.ReadFile(filepath.Join(moved, "access.log")); err != nil || string(got) != "{\"bytes_in\":1}\n" {
		t.Errorf("old file holds %q (%v)", got, err)
	}
	if !strings.Contains(told.String(), "reopening the access log") {
		t.Errorf("the logger was told %q", told.String())
	}
}

func TestPathThatCannotBeOpened(t *testing.T) {
	if _, err := NewAccess(AccessConfig{Loops: 1, Path: t.TempDir()}); err == nil {
		t.Error("a directory was opened as a log")
	}
}

// A reader of stdout that goes away ends the lines, not the process: run in a process of its own, whose stdout is a pipe
// that nobody reads.
func TestClosedStdoutDoesNotEndTheProcess(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "YUMEN_TEST_CLOSED_STDOUT=1")
	cmd.Stdout = w
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Run(); err != nil {
		t.Errorf("process ended: %v\n%s", err, stderr.Bytes())
	}
	w.Close()
}

func writeToClosedStdout() int {
	a, err := NewAccess(AccessConfig{Loops: 1})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	a.Ring(0).Add(usualRecord())
	err = a.Close(context.Background())
	if s := a.Stats(); err != nil || s != (AccessStats{Lost: 1}) {
		fmt.Fprintln(os.Stderr, err, s)
		return 1
	}
	return 0
}

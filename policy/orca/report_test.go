package orca

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// message writes a message of Protocol Buffers: its own small encoder, so that the samples can be read.
type message []byte

func (m message) double(field uint64, v float64) message {
	m = binary.AppendUvarint(m, field<<3|wireFixed64)
	return binary.LittleEndian.AppendUint64(m, math.Float64bits(v))
}

func (m message) varint(field, v uint64) message {
	return binary.AppendUvarint(binary.AppendUvarint(m, field<<3|wireVarint), v)
}

func (m message) bytes(field uint64, b []byte) message {
	m = binary.AppendUvarint(m, field<<3|wireBytes)
	return append(binary.AppendUvarint(m, uint64(len(b))), b...)
}

func (m message) entry(field uint64, name string, v float64) message {
	return m.bytes(field, message(nil).bytes(1, []byte(name)).double(2, v))
}

func base(m message) string { return base64.StdEncoding.EncodeToString(m) }

// whole has every field of the message.
var whole = message(nil).double(1, 0.25).double(2, 0.5).varint(3, 77).entry(4, "storage", 3487).entry(5, "disk", 0.7).
	double(6, 12.5).double(7, 0.5).entry(8, "queue", 4).entry(8, latencyMetric, 12.5).double(9, 0.75)

var wholeReport = Report{CPU: 0.25, Memory: 0.5, Application: 0.75, LatencyMS: 12.5}

func TestReports(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Report
		err  error
	}{
		{"TEXT cpu_utilization=0.3,mem_utilization=0.8", Report{CPU: 0.3, Memory: 0.8}, nil},
		{"TEXT cpu_utilization=0.3, mem_utilization = 0.8 ,application_utilization=1e-1", Report{CPU: 0.3, Memory: 0.8, Application: 0.1}, nil},
		{"TEXT named_metrics.queue=4,named_metrics.yumen.latency_ms=7.5,rps_fractional=3,utilization.disk=2", Report{LatencyMS: 7.5}, nil},
		{"TEXT cpu_utilization=1.7", Report{CPU: 1.7}, nil},
		{"TEXT cpu_utilization=0.1,cpu_utilization=0.2", Report{}, ErrTwice},
		{"TEXT cpu_utilization=-0.1", Report{}, ErrNumber},
		{"TEXT cpu_utilization=NaN", Report{}, ErrNumber},
		{"TEXT cpu_utilization=1e999", Report{}, ErrNumber},
		{"TEXT cpu_utilization=0x10", Report{}, ErrNumber},
		{"TEXT cpu_utilization=1_0", Report{}, ErrNumber},
		{"TEXT cpu_utilization=", Report{}, ErrNumber},
		{"TEXT cpu_utilization=" + strings.Repeat("1", 33), Report{}, ErrNumber},
		{"TEXT queue=-4", Report{}, ErrNumber},
		{"TEXT cpu_utilization", Report{}, ErrMalformed},
		{"TEXT =3", Report{}, ErrMalformed},
		{"TEXT cpu_utilization=1,", Report{}, ErrMalformed},
		{"TEXT ", Report{}, ErrMalformed},

		{`JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8}`, Report{CPU: 0.3, Memory: 0.8}, nil},
		{`JSON {"cpuUtilization":0.3,"memUtilization":"0.8","applicationUtilization":2,"rpsFractional":1}`, Report{CPU: 0.3, Memory: 0.8, Application: 2}, nil},
		{`JSON {"named_metrics":{"queue":-4,"yumen.latency_ms":7.5},"utilization":{"disk":0.5},"rps":"77","note":"a \"b\" }"}`, Report{LatencyMS: 7.5}, nil},
		{`JSON {"namedMetrics": {} , "x": null, "y": true}`, Report{}, nil},
		{`JSON {}`, Report{}, nil},
		{`JSON {"cpu_utilization":0.1,"cpuUtilization":0.2}`, Report{}, ErrTwice},
		{`JSON {"cpu_utilization":"NaN"}`, Report{}, ErrNumber},
		{`JSON {"cpu_utilization":null}`, Report{}, ErrNumber},
		{`JSON {"cpu_utilization":{}}`, Report{}, ErrMalformed},
		{`JSON {"a":{"b":{"c":1}}}`, Report{}, ErrDeep},
		{`JSON {"a":[1]}`, Report{}, ErrDeep},
		{`JSON {"cpu_utilization":0.1}x`, Report{}, ErrMalformed},
		{"JSON {\"cpu_utilization\":0.1}\x00", Report{}, ErrMalformed},
		{`JSON {"cpu_utilization":0.1,}`, Report{}, ErrMalformed},
		{`JSON {"a":wrong}`, Report{}, ErrNumber},
		{`JSON []`, Report{}, ErrMalformed},
		{`JSON `, Report{}, ErrMalformed},

		{"BIN " + base(whole), wholeReport, nil},
		{"BIN " + strings.TrimRight(base(whole), "="), wholeReport, nil},
		{"BIN ", Report{}, nil}, // the empty message
		{"BIN !!!!", Report{}, ErrMalformed},
		{"BIN " + base(message(nil).double(1, math.NaN())), Report{}, ErrNumber},
		{"BIN " + base(message(nil).double(2, -1)), Report{}, ErrNumber},
		{"BIN " + base(message(nil).double(9, math.Inf(1))), Report{}, ErrNumber},
		{"BIN " + base(message(nil).entry(8, latencyMetric, -1)), Report{}, ErrNumber},
		{"BIN " + base(message(nil).double(1, 0.1).double(1, 0.2)), Report{CPU: 0.2}, nil},
		{"BIN " + base(message(nil).varint(1, 3).varint(99, 1<<63).bytes(9, []byte("x"))), Report{}, nil}, // other types, other fields
		{"BIN " + base(message{1<<3 | 3}), Report{}, ErrMalformed},                                        // a group
		{"BIN " + base(message{0, 1}), Report{}, ErrMalformed},                                            // no field 0
		{"BIN " + base(message(nil).bytes(8, []byte{0x0a, 0x7f})), Report{}, ErrMalformed},

		{"", Report{}, ErrForm},
		{"TEXT", Report{}, ErrForm},
		{"text cpu_utilization=1", Report{}, ErrForm},
		{"XML <a/>", Report{}, ErrForm},
		{"TEXT " + strings.Repeat("a=1,", ValueBytesMax/4), Report{}, ErrLarge},
	} {
		got, err := Parse([]byte(c.in))
		if got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%.80q:\n %+v, %v\nwant\n %+v, %v", c.in, got, err, c.want, c.err)
		}
	}
	if _, err := ParseBinary(make([]byte, ValueBytesMax+1)); err != ErrLarge {
		t.Errorf("%v", err)
	}
}

// What is cut off is never taken for more than it was, and never a panic.
func TestReportsCutAtEachPosition(t *testing.T) {
	for n := range len(whole) {
		r, err := parseMessage(whole[:n])
		if err == nil && (r.CPU > wholeReport.CPU || r.Memory > wholeReport.Memory || r.Application != 0) {
			t.Errorf("cut at %d: %+v", n, r)
		}
	}
	for _, in := range []string{`TEXT cpu_utilization=0.25,named_metrics.yumen.latency_ms=12.5`, `JSON {"cpu_utilization":0.25,"named_metrics":{"a":1}}`} {
		for n := range len(in) {
			r, err := Parse([]byte(in[:n]))
			if err == nil && (r.CPU > 0.25 || r.LatencyMS > 12.5 || strings.HasPrefix(in, "JSON")) {
				t.Errorf("%q: %+v", in[:n], r)
			}
		}
	}
}

func TestWhatAReportMeans(t *testing.T) {
	r := Report{CPU: 0.2, Application: 0.7, LatencyMS: 1.5}
	if r.Busy() != 0.7 || r.Latency() != 1500*time.Microsecond {
		t.Errorf("%v %v", r.Busy(), r.Latency())
	}
	for _, ms := range []float64{0, -1, math.NaN(), 1e300} {
		if r.LatencyMS = ms; r.Latency() != 0 {
			t.Errorf("%v ms is %v", ms, r.Latency())
		}
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	for _, in := range []string{
		"TEXT cpu_utilization=0.3,mem_utilization=0.8,named_metrics.yumen.latency_ms=12.5",
		`JSON {"cpu_utilization":0.3,"mem_utilization":0.8,"named_metrics":{"queue":3,"yumen.latency_ms":12.5}}`,
		"BIN " + base(whole),
		"TEXT cpu_utilization=bad",
		`JSON {"a":[]}`,
	} {
		b := []byte(in)
		if n := testing.AllocsPerRun(100, func() { _, _ = Parse(b) }); n != 0 {
			t.Errorf("%q allocates %v times", in, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"text", "TEXT cpu_utilization=0.3,mem_utilization=0.8"},
		{"json", `JSON {"cpu_utilization":0.3,"mem_utilization":0.8}`},
		{"binary", "BIN " + base(message(nil).double(1, 0.3).double(2, 0.8).entry(8, latencyMetric, 12.5))},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package orca

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"time"
)

// Names of the two fields, in lower case.
const (
	Field       = "endpoint-load-metrics"
	FieldBinary = "endpoint-load-metrics-bin"
)

// latencyMetric is the named metric by which a server says what its answers take, in milliseconds. kit/rpc's Reporter writes it.
const latencyMetric = "yumen.latency_ms"

// Report is what a server says of itself. What it does not say is 0. No number is below 0 or not a number.
type Report struct {
	CPU         float64 // share of the processors in use; above 1 where its owner calls it full before
	Memory      float64 // share of the memory in use
	Application float64 // share of what the application reckons it can do; it is the better word for CPU, where both are said
	LatencyMS   float64 // of its answers lately, by its named metric yumen.latency_ms
}

// Busy is the share in use of what computes: the larger of CPU and Application.
func (r *Report) Busy() float64 { return max(r.CPU, r.Application) }

// Latency is LatencyMS as a duration, 0 if it is not said or means nothing.
func (r *Report) Latency() time.Duration {
	if !(r.LatencyMS > 0) || r.LatencyMS > float64(time.Hour/time.Millisecond) {
		return 0
	}
	return time.Duration(r.LatencyMS * float64(time.Millisecond))
}

// Error is why a value is no report. Its word is that of metrics and pages.
type Error struct{ Reason, Text string }

func (e *Error) Error() string { return "load report: " + e.Text }

// Errors of reading a value.
var (
	// ErrLarge: the value is longer than ValueBytesMax.
	ErrLarge = &Error{"load_report_large", "the value is longer than 4096 bytes"}
	// ErrForm: the value does not begin with TEXT, JSON or BIN.
	ErrForm = &Error{"load_report_form", "the value does not begin with TEXT, JSON or BIN and a space"}
	// ErrMalformed: what follows is not of that form.
	ErrMalformed = &Error{"load_report_malformed", "the value is not of the form that it says"}
	// ErrNumber: a share or a metric is not a number, or below 0.
	ErrNumber = &Error{"load_report_number", "a number is none, or is below 0"}
	// ErrTwice: something that can be said once is said twice. Which of them holds would be a guess.
	ErrTwice = &Error{"load_report_twice", "the report says something twice"}
	// ErrDeep: objects of JSON lie deeper in each other than a report has them.
	ErrDeep = &Error{"load_report_deep", "the report has objects within objects"}
)

const (
	// ValueBytesMax is the longest value that is read. A report with twenty named metrics takes half a kilobyte. More would be paid
	// for with each answer, on the loop.
	ValueBytesMax = 4096
	// numberBytesMax is the longest number: seventeen digits tell any two apart, and it leaves room for zeros.
	numberBytesMax = 32
)

// Parse reads a value of Field. The error is one of this package's.
func Parse(value []byte) (Report, error) {
	if len(value) > ValueBytesMax {
		return Report{}, ErrLarge
	}
	form, rest, ok := bytes.Cut(value, space)
	if !ok {
		return Report{}, ErrForm
	}
	switch string(form) {
	case "TEXT":
		return parseText(rest)
	case "JSON":
		return parseJSON(rest)
	case "BIN":
		return ParseBinary(bytes.TrimSpace(rest))
	}
	return Report{}, ErrForm
}

var space = []byte(" ")

// ParseBinary reads a value of FieldBinary: base64 of the message, with padding or without it.
func ParseBinary(value []byte) (Report, error) {
	if len(value) > ValueBytesMax {
		return Report{}, ErrLarge
	}
	var room [ValueBytesMax / 4 * 3]byte
	for k := 0; k < 2 && len(value) > 0 && value[len(value)-1] == '='; k++ {
		value = value[:len(value)-1]
	}
	n, err := base64.RawStdEncoding.Decode(room[:], value)
	if err != nil {
		return Report{}, ErrMalformed
	}
	return parseMessage(room[:n])
}

// seen are the fields that have been said.
type seen uint8

const (
	seenCPU seen = 1 << iota
	seenMemory
	seenApplication
	seenLatency
)

// say takes in a number, which was checked.
func (r *Report) say(s *seen, what seen, v float64) error {
	if *s&what != 0 {
		return ErrTwice
	}
	*s |= what
	switch what {
	case seenCPU:
		r.CPU = v
	case seenMemory:
		r.Memory = v
	case seenApplication:
		r.Application = v
	case seenLatency:
		r.LatencyMS = v
	}
	return nil
}

// field tells which number goes by a name; 0: none that is kept.
func field(name []byte) seen {
	switch string(name) {
	case "cpu_utilization", "cpuUtilization":
		return seenCPU
	case "mem_utilization", "memUtilization":
		return seenMemory
	case "application_utilization", "applicationUtilization":
		return seenApplication
	}
	return 0
}

// check refuses what no utilisation, rate or cost can be.
func check(v float64) error {
	if !(v >= 0) || math.IsInf(v, 0) {
		return ErrNumber
	}
	return nil
}

// number reads a decimal number.
func number(b []byte) (float64, error) {
	if len(b) == 0 || len(b) > numberBytesMax {
		return 0, ErrNumber
	}
	for _, c := range b { // strconv takes more: hexadecimal digits, underscores, inf
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, ErrNumber
		}
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, ErrNumber
	}
	return v, check(v)
}

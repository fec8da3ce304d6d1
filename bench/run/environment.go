//go:build linux

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fact is one line about the machine and the programs.
type fact struct{ Name, Value string }

func environment(b *bench) []fact {
	facts := []fact{
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"commit", firstLine("git", "describe", "--always", "--dirty")},
		{"kernel", kernel()},
		{"processor", processor()},
		{"cores", strconv.Itoa(runtime.NumCPU())},
		{"Go", runtime.Version()},
		{"C compiler", firstLine("gcc", "--version")},
	}
	for _, p := range b.programs {
		if v := p.Version(); v != "" {
			facts = append(facts, fact{p.Name, v})
		}
	}
	return append(facts,
		fact{"rounds", strconv.Itoa(b.options.rounds)},
		fact{"seconds each", strconv.Itoa(b.options.seconds)})
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown: " + err.Error()
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown: " + err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

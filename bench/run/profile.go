//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/bench/peers"
)

// profile is a CPU profile of yumen under the closed loop, taken from its admin API in a run of its own: measuring
// costs, so no figure of the tables comes from it.
func (b *bench) profile(ctx context.Context) (string, error) {
	i := slices.IndexFunc(b.programs, func(p peers.Program) bool { return p.Name == "yumen" })
	if i < 0 {
		return "", errors.New("yumen was not among the programs of this run")
	}
	running, err := b.programs[i].Start(b.work, b.options.coreTest, peers.Wire{})
	if err != nil {
		return "", err
	}
	defer running.Stop()
	// The load outlasts the profile on both sides, so that no idle second is in it.
	seconds := b.options.seconds
	load := b.loadCommand(ctx, running, test{
		tool: func(t tools) string { return t.load },
		args: []string{"-c", "64", "-w", "0", "-d", fmt.Sprint(seconds + 2)},
	})
	if err := load.Start(); err != nil {
		return "", fmt.Errorf("starting the load: %w", err)
	}
	file := filepath.Join(b.work, "cpu.pprof")
	err = fetch(fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", running.Settings.Admin, seconds), file)
	if err := errors.Join(err, load.Wait()); err != nil {
		return "", fmt.Errorf("taking the profile: %w", err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=30", b.programs[i].Binary, file).Output()
	if err != nil {
		return "", fmt.Errorf("reading the profile: %w", err)
	}
	// The first lines name files and dates of this machine.
	lines := strings.Split(string(out), "\n")
	from := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "Duration:") })
	return strings.TrimSpace(strings.Join(lines[max(from, 0):], "\n")), nil
}

func fetch(url, file string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}

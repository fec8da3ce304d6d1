//go:build linux

// Package peers starts and stops the programs that stand side by side in a benchmark: the floor, nginx, HAProxy and
// yumen in its variants, each as one process tree with a configuration filled in from the templates beside this file.
//
// It owns what it starts and ends nothing else. It measures nothing: that is bench/run with the programs of bench/load.
package peers

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed nginx.conf haproxy.cfg yumen.yaml
var configs embed.FS

// Settings is what a configuration template may say. Ports are on 127.0.0.1.
type Settings struct {
	Dir                   string // for what the program writes: pid, log, temporary files
	Listen, Origin, Admin int
	AccessLog             bool
	Pipeline              int    // requests on one upstream connection; 0 is one at a time
	Guards                string // the algorithm of the tokens that are asked for, before a limit and a breaker; empty: no guards
	Wire
	Identity // filled in when Front is TLS
}

// Wire is what is spoken on the two sides of a program. The zero value is HTTP/1.1 on both.
type Wire struct {
	Front Protocol // "", H2C or TLS
	Back  Protocol // "" or H2C
}

// Protocol is a way to carry HTTP; "" is HTTP/1.1 in cleartext.
type Protocol string

// The protocols beside that.
const (
	H2C Protocol = "h2c" // by prior knowledge
	TLS Protocol = "tls" // HTTP/2 and HTTP/1.1, as ALPN has it
)

// Program is one row of a table.
type Program struct {
	Name   string // unique, short: the word for -only
	Binary string // a path, or a name to look up
	config string // the template, "" if the program takes none
	args   func(s Settings, config string) []string
	tweak  func(*Settings)
	// Only names the one test in which it has a part; empty: all.
	Only string
	// version prints which one it is; nil where the source stands in this repository.
	version []string
}

// List is every program in the order of the tables. relay is the path of the built floor, yumen that of the gateway.
func List(relay, yumen string) []Program {
	run := func(_ Settings, config string) []string { return []string{"run", "-c", config} }
	list := []Program{
		{Name: "relay", Binary: relay, args: func(s Settings, _ string) []string {
			return []string{strconv.Itoa(s.Listen), strconv.Itoa(s.Origin)}
		}},
		{Name: "nginx", Binary: "nginx", config: "nginx.conf", version: []string{"-v"}, args: func(s Settings, config string) []string {
			return []string{"-c", config, "-e", s.Dir + "/nginx.err"}
		}},
		{Name: "haproxy", Binary: "haproxy", config: "haproxy.cfg", version: []string{"-v"}, args: func(_ Settings, config string) []string {
			return []string{"-db", "-f", config}
		}},
		{Name: "yumen", Binary: yumen, version: []string{"version"}},
		{Name: "yumen-log", Binary: yumen, tweak: func(s *Settings) { s.AccessLog = true }},
		{Name: "yumen-pipeline", Binary: yumen, tweak: func(s *Settings) { s.Pipeline = 32 }},
		{Name: "yumen-hs256", Binary: yumen, Only: "guards", tweak: func(s *Settings) { s.Guards = "HS256" }},
		{Name: "yumen-es256", Binary: yumen, Only: "guards", tweak: func(s *Settings) { s.Guards = "ES256" }},
	}
	for i := range list {
		if list[i].Binary == yumen {
			list[i].config, list[i].args = "yumen.yaml", run
		}
	}
	return list
}

// Find resolves the binary and says why it cannot be run.
func (p *Program) Find() error {
	path, err := exec.LookPath(p.Binary)
	if err != nil {
		return fmt.Errorf("finding %s: %w", p.Name, err)
	}
	if p.Binary, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("finding %s: %w", p.Name, err)
	}
	return nil
}

// Version is the program's own first line about itself, "" if it has none.
func (p *Program) Version() string {
	if p.version == nil {
		return ""
	}
	out, err := exec.Command(p.Binary, p.version...).CombinedOutput()
	if err != nil {
		return "unknown: " + err.Error()
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

// Running is a started program. One goroutine uses it.
type Running struct {
	Settings Settings
	cmd      *exec.Cmd
	ended    chan error // gets the result of Wait once
	log      string
}

// readyMax is how long a program may take to listen. The slowest here takes a tenth of a second.
const readyMax = 10 * time.Second

// Start runs the program on one core, in a new folder below dir, and waits until it listens.
func (p *Program) Start(dir string, core int, wire Wire) (*Running, error) {
	dir, err := os.MkdirTemp(dir, p.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	// Workers of programs that give root away must be able to reach their files.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	s := Settings{Dir: dir, Wire: wire}
	if wire.Front == TLS {
		if s.Identity, err = newIdentity(dir); err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.Name, err)
		}
	}
	if s.Listen, s.Origin, s.Admin, err = freePorts(); err != nil {
		return nil, fmt.Errorf("starting %s: finding ports: %w", p.Name, err)
	}
	if p.tweak != nil {
		p.tweak(&s)
	}
	if s.Guards != "" {
		t, err := made()
		if err == nil {
			err = t.write(dir)
		}
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.Name, err)
		}
	}
	config := filepath.Join(dir, p.config)
	if p.config != "" {
		if err := fill(p.config, config, s); err != nil {
			return nil, fmt.Errorf("starting %s: %w", p.Name, err)
		}
	}
	r := &Running{Settings: s, ended: make(chan error, 1), log: filepath.Join(dir, "output")}
	output, err := os.Create(r.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	defer output.Close()
	// taskset becomes the program, so the process started is the one measured.
	r.cmd = exec.Command("taskset", append([]string{"-c", strconv.Itoa(core), p.Binary}, p.args(s, config)...)...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = dir, output, output
	// A group of its own, so that workers end with it; and it ends with us, however we end.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	if err := r.waitReady(); err != nil {
		r.Stop()
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	return r, nil
}

func (r *Running) waitReady() error {
	deadline := time.After(readyMax)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(r.Settings.Listen)))
		if err == nil {
			return c.Close()
		}
		select {
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("it ended before it listened (%v): %s", err, r.LogTail())
		case <-deadline:
			return fmt.Errorf("it did not listen within %s: %s", readyMax, r.LogTail())
		case <-again.C:
		}
	}
}

// PIDs are the program's process and all below it.
func (r *Running) PIDs() []string {
	var all []string
	var add func(pid string)
	add = func(pid string) {
		all = append(all, pid)
		children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		if err != nil {
			return // it has ended
		}
		for _, child := range strings.Fields(string(children)) {
			add(child)
		}
	}
	add(strconv.Itoa(r.cmd.Process.Pid))
	return all
}

// LogTail is the end of what the program printed.
func (r *Running) LogTail() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stopMax is how long a program may take to end by itself. With every client gone there is nothing to drain.
const stopMax = 5 * time.Second

// Stop ends the program and everything it started.
func (r *Running) Stop() {
	group := -r.cmd.Process.Pid
	// ESRCH: it is gone already, which is what we want.
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(stopMax):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-r.ended
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
}

// fill writes a template's configuration to a file.
func fill(name, path string, s Settings) error {
	t, err := template.New(name).Option("missingkey=error").ParseFS(configs, name)
	if err != nil {
		return fmt.Errorf("reading the template %s: %w", name, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, s), f.Close())
}

// freePorts asks the kernel for three ports. They are free again when it returns, and the next program takes them: the
// kernel hands out others meanwhile.
func freePorts() (listen, origin, admin int, err error) {
	var ports [3]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, 0, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1], ports[2], nil
}

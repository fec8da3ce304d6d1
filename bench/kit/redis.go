package kit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Redis is a redis-server on the loopback interface, without persistence.
type Redis struct {
	Address string
	cmd     *exec.Cmd
	life    io.Closer // while it is open the server runs: it ends with this process, however that ends
	dir     string
}

// StartRedis starts one. It answers when StartRedis returns.
func StartRedis() (*Redis, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Redis{Address: l.Addr().String()}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("redis-server is not installed: it is in Debian's package of that name: %w", err)
	}
	if r.dir, err = os.MkdirTemp("", "yumen-bench-"); err != nil {
		return nil, err
	}
	r.cmd = exec.Command("sh", "-c", `redis-server --bind 127.0.0.1 --port "$1" --dir "$2" --save "" --appendonly no >/dev/null & read -r _; kill "$!"; wait`, "sh", port, r.dir)
	if r.life, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for range 2000 {
		if _, err = r.ask("PING"); err == nil {
			return r, nil
		}
		<-ticker.C
	}
	r.Stop()
	return nil, fmt.Errorf("redis-server does not answer: %w", err)
}

// Stop ends it and removes its files.
func (r *Redis) Stop() {
	_ = r.life.Close()
	_ = r.cmd.Wait()
	_ = os.RemoveAll(r.dir)
}

// Clear forgets all keys.
func (r *Redis) Clear() error {
	_, err := r.ask("FLUSHALL")
	return err
}

// Usage is what it has done since it was started.
type Usage struct {
	Commands uint64 // also those that scripts executed, without our own
	CPU      time.Duration
}

// Usage asks it.
func (r *Redis) Usage() (u Usage, err error) {
	stats, err := r.ask("INFO commandstats")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(stats) {
		name, figures, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok || name == "cmdstat_info" || name == "cmdstat_ping" || name == "cmdstat_flushall" {
			continue
		}
		calls, _, _ := strings.Cut(figures, ",")
		n, err := strconv.ParseUint(calls, 10, 64)
		if err != nil {
			return u, err
		}
		u.Commands += n
	}
	used, err := r.ask("INFO cpu")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(used) {
		name, seconds, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			s, err := strconv.ParseFloat(seconds, 64)
			if err != nil {
				return u, err
			}
			u.CPU += time.Duration(s * float64(time.Second))
		}
	}
	return u, nil
}

// ask sends one command over a connection of its own.
func (r *Redis) ask(command string) (string, error) {
	c, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return "", err
	}
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch line[:min(1, len(line))] {
	case "+":
		return line[1:], nil
	case "$":
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", errors.Join(fmt.Errorf("redis-server answers %q", line), err)
		}
		text := make([]byte, n)
		_, err = io.ReadFull(in, text)
		return string(text), err
	}
	return "", fmt.Errorf("redis-server answers %q", line)
}

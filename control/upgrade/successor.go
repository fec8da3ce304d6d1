package upgrade

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor after standard input, output and error.
const firstFD = 3

// readyTimeout is how long a successor may take to say that it serves: names are resolved and endpoints checked in it.
const readyTimeout = 30 * time.Second

// Program is what is started: found once, when the process begins, because the link to the running binary is of no use
// after that binary was replaced.
type Program struct {
	Path string
	Args []string // the first is the program's name
	Dir  string   // working directory; empty: the present one
}

// ThisProgram returns the program that runs. Its path is the one it was called by, if that still leads to it: behind a
// link that names the current release, an upgrade should find the next.
func ThisProgram() (Program, error) { return programOf(os.Args) }

func programOf(args []string) (Program, error) {
	p := Program{Args: args}
	path, err := os.Executable()
	if err != nil {
		return p, fmt.Errorf("find the running program: %w", err)
	}
	p.Path = path
	if called, err := exec.LookPath(args[0]); err == nil {
		if called, err = filepath.Abs(called); err == nil && sameFile(called, path) {
			p.Path = called
		}
	}
	return p, nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// Handover is an upgrade to be made.
type Handover struct {
	Program Program
	Sockets []Socket      // this process's, non-blocking; they must stay open until Run returns
	Env     []string      // nil: this process's
	Timeout time.Duration // until the successor serves; 0 is 30 s
	// State is asked once, when the successor is ready, for what it is to go on with: one line, of StateBytesMax at most. What it
	// says must stay so if Run returns no error. nil: there is none.
	State func() []byte
}

// Run starts the successor and returns once it serves, with its process id; this process may then drain. Any error
// means that the successor has ended and this process carries on. Ending ctx gives the upgrade up.
//
// The successor's standard streams are this process's: its log goes where this one's does. They cannot be pipes that
// this process reads, because they would break when it ends; what the successor has to say about a failure comes
// over the socket pair.
func (h Handover) Run(ctx context.Context) (pid int, err error) {
	if h.Timeout == 0 {
		h.Timeout = readyTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("the new process did not serve within %v", h.Timeout))
	defer cancel()
	pipe, process, err := h.start()
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", h.Program.Path, err)
	}
	defer pipe.Close()
	exited := make(chan struct{})
	var state *os.ProcessState
	go func() { // also later: a process that is not waited for stays as a zombie
		defer close(exited)
		state, _ = process.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { _ = pipe.SetDeadline(time.Unix(1, 0)) }) // ends reads and writes
	defer stop()
	if err = h.agree(pipe); err == nil {
		return process.Pid, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	// It may have been told to go and be accepting; whatever it has would be lost when this process ended too.
	_ = process.Kill()
	<-exited
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = fmt.Errorf("the new process ended: %v", state)
	}
	return 0, err
}

// agree is the conversation of the package doc, the old process's side.
func (h Handover) agree(pipe *os.File) error {
	line, err := json.Marshal(h.manifest())
	if err != nil {
		return err
	}
	if _, err := pipe.Write(append(line, '\n')); err != nil {
		return err
	}
	words := bufio.NewReader(io.LimitReader(pipe, manifestBytesMax))
	word, err := answer(words)
	switch {
	case err != nil:
		return err
	case word == wordAsks && h.State != nil:
		if _, err := pipe.Write(slices.Concat([]byte(wordState), h.State(), []byte{'\n'})); err != nil {
			return err
		}
	case word != wordReady:
		return fmt.Errorf("the new process said %q, not %q", word, wordReady)
	}
	if _, err := pipe.WriteString(wordGo + "\n"); err != nil {
		return err
	}
	return expect(words, wordServing)
}

// answer reads the successor's next word; an error if it gives up.
func answer(words *bufio.Reader) (string, error) {
	word, err := readLine(words)
	if err != nil {
		return "", err
	}
	if why, ok := strings.CutPrefix(word, wordFailed); ok {
		if text, err := strconv.Unquote(why); err == nil {
			why = text
		}
		return "", fmt.Errorf("the new process gave up: %s", why)
	}
	return word, nil
}

func expect(words *bufio.Reader, want string) error {
	word, err := answer(words)
	if err != nil {
		return err
	}
	if word != want {
		return fmt.Errorf("the new process said %q, not %q", word, want)
	}
	return nil
}

// manifest numbers the descriptors as the successor will have them: after its end of the pair, in order.
func (h Handover) manifest() manifest {
	next := firstFD + 1
	m := manifest{Sockets: []Socket{}, State: h.State != nil}
	for _, s := range h.Sockets {
		passed := Socket{Key: s.Key}
		for range s.FDs {
			passed.FDs = append(passed.FDs, next)
			next++
		}
		m.Sockets = append(m.Sockets, passed)
	}
	return m
}

// start starts the process. It goes past os/exec, whose files would each be a further duplicate of a descriptor: forking
// copies those that are there.
func (h Handover) start() (pipe *os.File, process *os.Process, err error) {
	syscall.ForkLock.RLock() // no other process is forked before the two are marked
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	pipe = os.NewFile(uintptr(pair[0]), "upgrade")
	files := []uintptr{0, 1, 2, uintptr(pair[1])}
	for _, s := range h.Sockets {
		for _, fd := range s.FDs {
			files = append(files, uintptr(fd))
		}
	}
	env := h.Env
	if env == nil {
		env = os.Environ()
	}
	env = append(env[:len(env):len(env)], Environment+"="+strconv.Itoa(firstFD))
	pid, err := syscall.ForkExec(h.Program.Path, h.Program.Args, &syscall.ProcAttr{Dir: h.Program.Dir, Env: env, Files: files})
	if err != nil {
		pipe.Close()
		return nil, nil, err
	}
	process, err = os.FindProcess(pid)
	if err != nil {
		pipe.Close()
		return nil, nil, err
	}
	return pipe, process, nil
}

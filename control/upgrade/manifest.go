package upgrade

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Environment names the variable that tells a process that it is a successor, and on which descriptor its predecessor
// talks to it.
const Environment = "YUMEN_UPGRADE"

// Socket is listening descriptors of one address. The descriptors are duplicates of one socket, or several sockets that
// share the address by SO_REUSEPORT.
type Socket struct {
	// Key is by what the successor finds it again.
	Key string `json:"key"`
	// FDs are numbers in the process that has the Socket.
	FDs []int `json:"fds"`
}

// manifest is the first line that a successor reads. The numbers of descriptors are its own.
type manifest struct {
	Sockets []Socket `json:"sockets"`
	State   bool     `json:"state,omitempty"` // there is one, for who asks for it
}

// manifestBytesMax bounds the line: a thousand listeners on a hundred loops.
const manifestBytesMax = 1 << 20

// The words after the manifest.
const (
	wordReady   = "ready"
	wordAsks    = "ready state" // and asks for the state
	wordState   = "state "      // and the state
	wordGo      = "go"
	wordServing = "serving"
	wordFailed  = "failed " // and why
)

// StateBytesMax bounds the state: beyond what weights and canaries of a thousand splits take.
const StateBytesMax = 16 << 20

// readLine reads one line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// Inheritance is what a successor was given. It belongs to one goroutine.
type Inheritance struct {
	pipe    *os.File
	words   *bufio.Reader
	sockets []Socket // not taken yet
	passes  bool     // the predecessor has a state to pass
	state   []byte
}

// Inherit takes what a predecessor passed to this process; nil without an error if there is none. It must be called before
// anything else opens descriptors or starts processes, and once.
func Inherit() (*Inheritance, error) {
	text, ok := os.LookupEnv(Environment)
	if !ok {
		return nil, nil
	}
	// Processes that this one starts are no successors, but for those that it makes one.
	if err := os.Unsetenv(Environment); err != nil {
		return nil, fmt.Errorf("take over from the running process: %w", err)
	}
	in, err := inherit(text)
	if err != nil {
		return nil, fmt.Errorf("take over from the running process: %w", err)
	}
	return in, nil
}

func inherit(text string) (*Inheritance, error) {
	fd, err := strconv.Atoi(text)
	if err != nil || fd < firstFD {
		return nil, fmt.Errorf("%s is %q, want the number of a descriptor", Environment, text)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // so that reading it can be given up
		return nil, os.NewSyscallError("fcntl", err)
	}
	in := &Inheritance{pipe: os.NewFile(uintptr(fd), "upgrade")}
	in.words = bufio.NewReader(in.pipe)
	line, err := readLine(in.words)
	if err != nil {
		in.pipe.Close()
		return nil, fmt.Errorf("read which sockets there are: %w", err)
	}
	var m manifest
	if len(line) > manifestBytesMax {
		return nil, errors.New("the list of sockets is too long")
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		in.pipe.Close()
		return nil, fmt.Errorf("read which sockets there are: %w", err)
	}
	in.sockets, in.passes = m.Sockets, m.State
	for _, s := range m.Sockets {
		for _, fd := range s.FDs {
			unix.CloseOnExec(fd)
		}
	}
	return in, nil
}

// Take returns the descriptors of a key, which are the caller's from then on; none if there are none or they were taken.
func (in *Inheritance) Take(key string) []int {
	for i, s := range in.sockets {
		if s.Key == key {
			in.sockets = slices.Delete(in.sockets, i, i+1)
			return s.FDs
		}
	}
	return nil
}

// Ready says that everything is built, and waits for the word to begin. An error means that the predecessor carries on,
// or is gone, and this process must not begin.
func (in *Inheritance) Ready() error {
	said := wordReady
	if in.passes {
		said = wordAsks
	}
	if _, err := in.pipe.WriteString(said + "\n"); err != nil {
		return fmt.Errorf("tell the running process that its successor is ready: %w", err)
	}
	word, err := readLine(in.words)
	if state, ok := strings.CutPrefix(word, wordState); ok && in.passes && err == nil && len(state) <= StateBytesMax {
		in.state = []byte(state)
		word, err = readLine(in.words)
	}
	if err != nil {
		return fmt.Errorf("wait for the running process to hand over: %w", err)
	}
	if word != wordGo {
		return fmt.Errorf("wait for the running process to hand over: it says %q", word)
	}
	return nil
}

// State returns what the predecessor passed when this process was ready; nil if it had nothing to pass, or knows of no state.
func (in *Inheritance) State() []byte { return in.state }

// Serving says that this process accepts connections, so that its predecessor may drain, and closes what nobody took: the
// sockets of addresses that the configuration has no more.
func (in *Inheritance) Serving() error {
	_, err := in.pipe.WriteString(wordServing + "\n")
	in.close()
	if err != nil {
		return fmt.Errorf("tell the running process that its successor serves: %w", err)
	}
	return nil
}

// Fail tells the predecessor why this process does not take over. The process should end after it.
func (in *Inheritance) Fail(why error) {
	// Best effort: the predecessor also sees that the process ends.
	_, _ = in.pipe.WriteString(wordFailed + strconv.Quote(why.Error()) + "\n")
	in.close()
}

func (in *Inheritance) close() {
	for _, s := range in.sockets {
		for _, fd := range s.FDs {
			unix.Close(fd)
		}
	}
	in.sockets = nil
	in.pipe.Close()
}

package loop

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// MPTCP costs a fallback on every connection and takes options away from the socket.
func TestSocketsArePlainTCP(t *testing.T) {
	lfd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(lfd)
	addr, err := Address(lfd)
	if err != nil {
		t.Fatal(err)
	}
	dfd, err := Dial(addr, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dfd)
	for name, fd := range map[string]int{"listening": lfd, "dialled": dfd} {
		protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if protocol != unix.IPPROTO_TCP || err != nil {
			t.Errorf("%s socket: protocol %d, %v, want %d", name, protocol, err, unix.IPPROTO_TCP)
		}
	}
}

func TestSendvLetsGoOfItsPieces(t *testing.T) {
	l := stepLoop(t)
	ours, theirs := pair(t)
	defer unix.Close(theirs)
	var s Socket
	if err := l.Adopt(&s, ours, handlerFunc(func(Events) {})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sendv([][]byte{[]byte("a"), []byte("b")}); err != nil && err != ErrAgain {
		t.Fatal(err)
	}
	for i, p := range l.vector.pieces {
		if p.Base != nil {
			t.Errorf("the loop holds on to the buffer of piece %d", i)
		}
	}
}

// exhaustedServer is set in the process that TestExhaustedDescriptors starts: an echo server that is out of descriptors.
const exhaustedServer = "LOOP_TEST_EXHAUSTED_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(exhaustedServer) != "" {
		serveExhausted()
		return
	}
	os.Exit(m.Run())
}

// openMax leaves room for what the process holds anyhow and for two or three connections.
const openMax = 14

type exhaustedHandler struct {
	loop     *Loop
	failures int
}

func (h *exhaustedHandler) Accepted(fd int, _ netip.AddrPort) {
	e := &echo{loop: h.loop}
	if err := h.loop.Adopt(&e.socket, fd, e); err != nil {
		panic(err)
	}
}

func (h *exhaustedHandler) AcceptFailed(err error, paused bool) {
	if h.failures++; err != syscall.EMFILE {
		panic(err)
	}
}

// serveExhausted prints its address, serves until its input ends, and prints what it counted.
func serveExhausted() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	l, err := New(Config{})
	must(err)
	fd, err := Listen(loopback, ListenOptions{})
	must(err)
	addr, err := Address(fd)
	must(err)
	h := &exhaustedHandler{loop: l}
	_, err = l.Accept(fd, h, AcceptOptions{})
	must(err)
	must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: openMax, Max: openMax}))
	go l.Run()
	fmt.Println(addr)
	io.Copy(io.Discard, os.Stdin)
	l.Stop()
	<-l.Done()
	s := l.Stats()
	fmt.Println(s.Accepted.Load(), s.Refused.Load(), s.FDExhausted.Load(), s.AcceptErrors.Load(), h.failures, s.Turns.Load())
}

func TestExhaustedDescriptorsAreAnsweredAndCounted(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), exhaustedServer+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(strings.TrimSpace(line))

	const clients = 100
	say := func(c io.ReadWriter) bool {
		c.Write([]byte("x"))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	served, refused := 0, 0
	var open []io.Closer
	for range clients {
		c := dialTCP(t, addr)
		if say(c) {
			served++
			open = append(open, c)
		} else { // told, and not left waiting
			refused++
		}
	}
	if served == 0 || refused == 0 {
		t.Fatalf("%d served and %d refused, want some of both", served, refused)
	}
	// The connections that were served still are; when they end, others get their place.
	for _, c := range open {
		if !say(c.(io.ReadWriter)) {
			t.Error("a connection was lost to the shortage")
		}
		c.(interface{ CloseWrite() error }).CloseWrite()
		io.Copy(io.Discard, c.(io.Reader))
	}
	if !say(dialTCP(t, addr)) {
		t.Error("refused after descriptors were free again")
	}

	stdin.Close()
	var accepted, closed, exhausted, failed, told, turns int
	if _, err := fmt.Fscan(out, &accepted, &closed, &exhausted, &failed, &told, &turns); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if accepted != served+1 || closed != refused || exhausted != refused || failed != refused || told == 0 {
		t.Errorf("counted %d accepted, %d refused, %d exhausted, %d errors, %d told; want %d, %d, %d, %d, some",
			accepted, closed, exhausted, failed, told, served+1, refused, refused, refused)
	}
	if limit := 20 * clients; turns > limit {
		t.Errorf("%d turns for %d clients: it spins", turns, clients)
	}
}

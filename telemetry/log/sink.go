package log

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The paths that name a stream and not a file.
const (
	pathStdout = "stdout"
	pathStderr = "stderr"
)

// sink is where lines go: a stream, a file that can be opened anew, or a writer of the caller's. It belongs to one
// goroutine.
type sink struct {
	out  io.Writer
	file *os.File // out, if we opened it
	path string   // of the file; empty if there is nothing to open anew
}

// openSink opens what path names; other, if not nil, is used instead.
func openSink(path string, other io.Writer) (*sink, error) {
	if other != nil {
		return &sink{out: other}, nil
	}
	switch path {
	case pathStdout:
		return streamSink(path, unix.Stdout)
	case pathStderr:
		return streamSink(path, unix.Stderr)
	}
	f, err := openLog(path)
	if err != nil {
		return nil, err
	}
	return &sink{out: f, file: f, path: path}, nil
}

// streamSink writes to a copy of a standard descriptor: on the originals, Go's runtime turns a write to a closed pipe
// into a SIGPIPE that ends the process, and a log's reader going away must not end a gateway.
func streamSink(name string, fd int) (*sink, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("opening %s for a log: %w", name, err)
	}
	f := os.NewFile(uintptr(copied), name)
	return &sink{out: f, file: f}, nil
}

// openLog opens a log file to append to. Others of the group may read it, the world may not: it names clients.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	return f, nil
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) { return s.out.Write(p) }

// reopen opens the file's path anew, after it was renamed, and says whether lines go to another file now. If the path
// cannot be opened, the old file stays in use. Streams and writers of the caller's have nothing to reopen.
func (s *sink) reopen() (renewed bool, err error) {
	if s.path == "" {
		return false, nil
	}
	f, err := openLog(s.path)
	if err != nil {
		return false, err
	}
	old := s.file
	s.file, s.out = f, f
	if err := old.Close(); err != nil {
		return true, fmt.Errorf("closing the former log: %w", err)
	}
	return true, nil
}

// close closes what openSink opened.
func (s *sink) close() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("closing a log: %w", err)
	}
	return nil
}

package answer

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Recorder is the http.ResponseWriter that passes everything on and remembers the status and how much was written. Middlewares that stand
// directly inside one another share one (Of), so that a chain of them costs one. It is for one goroutine at a time, as
// every http.ResponseWriter, and may be embedded in what a middleware allocates for a request anyhow.
type Recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	begun  func(status int)
}

// Of returns w itself if it is a Recorder, else one around it.
func Of(w http.ResponseWriter) *Recorder {
	if known, ok := w.(*Recorder); ok {
		return known
	}
	return &Recorder{ResponseWriter: w}
}

// Status is that of the answer, which 1xx other than 101 is none of; 0 while there is none.
func (w *Recorder) Status() int { return w.status }

// OnBegin has f called when the answer begins and before anything of it is written, with its status; 101 also of a connection that
// was taken over. It is not called of an answer that a handler leaves to net/http, having written nothing.
func (w *Recorder) OnBegin(f func(status int)) {
	if before := w.begun; before != nil {
		inner := f
		f = func(status int) { inner(status); before(status) }
	}
	w.begun = f
}

// Bytes is how much of a body was written; 0 after Hijack.
func (w *Recorder) Bytes() int64 { return w.bytes }

// WriteHeader is of http.ResponseWriter.
func (w *Recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *Recorder) begin(status int) {
	if w.status == 0 {
		w.status = status
		if w.begun != nil {
			w.begun(status)
		}
	}
}

// Write is of http.ResponseWriter.
func (w *Recorder) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// WriteString keeps the way of net/http that copies a string once only.
func (w *Recorder) WriteString(s string) (int, error) {
	w.begin(http.StatusOK)
	n, err := io.WriteString(w.ResponseWriter, s)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the way by which files are sent without a copy.
func (w *Recorder) ReadFrom(r io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *Recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for handlers that ask for an http.Flusher.
func (w *Recorder) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController asks for first.
func (w *Recorder) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack is for handlers that ask for an http.Hijacker. One that wrote no status before has switched protocols.
func (w *Recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, b, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begin(http.StatusSwitchingProtocols)
	}
	return c, b, err
}

// CloseNotify is for libraries that still take what is below for an http.CloseNotifier. Where it is none, nothing ever comes.
func (w *Recorder) CloseNotify() <-chan bool {
	for below := w.ResponseWriter; ; {
		switch b := below.(type) {
		case interface{ CloseNotify() <-chan bool }:
			return b.CloseNotify()
		case interface{ Unwrap() http.ResponseWriter }:
			below = b.Unwrap()
		default:
			return nil
		}
	}
}

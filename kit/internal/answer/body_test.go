package answer_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// duplex is the body of a 101.
type duplex struct {
	io.ReadCloser
	written *strings.Builder
}

func (d duplex) Write(b []byte) (int, error) { return d.written.Write(b) }

func TestABodyEndsOnce(t *testing.T) {
	for situation, use := range map[string]func(io.ReadCloser){
		"closed":                 func(b io.ReadCloser) { b.Close() },
		"closed twice":           func(b io.ReadCloser) { b.Close(); b.Close() },
		"read to its end":        func(b io.ReadCloser) { io.ReadAll(b) },
		"read, and closed":       func(b io.ReadCloser) { io.ReadAll(b); b.Close() },
		"read by a bufio.Reader": func(b io.ReadCloser) { bufio.NewReader(b).ReadString(0) },
	} {
		resp, ends := &http.Response{Body: io.NopCloser(strings.NewReader("text"))}, 0
		answer.OnEnd(resp, func() { ends++ })
		if ends != 0 {
			t.Errorf("%s: ended before", situation)
		}
		use(resp.Body)
		if ends != 1 {
			t.Errorf("%s: ended %d times", situation, ends)
		}
	}
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		ends := 0
		answer.OnEnd(&http.Response{Body: none}, func() { ends++ })
		if ends != 1 {
			t.Errorf("no body: ended %d times", ends)
		}
	}
	var written strings.Builder
	resp := &http.Response{Body: duplex{io.NopCloser(strings.NewReader("")), &written}}
	answer.OnEnd(resp, func() {})
	io.WriteString(resp.Body.(io.Writer), "frame")
	if written.String() != "frame" {
		t.Errorf("a connection cannot be written: %q", written.String())
	}
}

package answer

import (
	"io"
	"net/http"
	"sync"
)

// OnEnd has end called once, when the body of resp was read to its end, fails or is closed; at once if there is none. Of a
// 101, whose body is the connection, the writing side stays within reach.
func OnEnd(resp *http.Response, end func()) {
	if resp.Body == nil || resp.Body == http.NoBody {
		end()
		return
	}
	b := &body{ReadCloser: resp.Body, end: sync.OnceFunc(end)}
	if w, ok := resp.Body.(io.Writer); ok {
		resp.Body = struct {
			*body
			io.Writer
		}{b, w}
		return
	}
	resp.Body = b
}

type body struct {
	io.ReadCloser
	end func()
}

func (b *body) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		b.end()
	}
	return n, err
}

func (b *body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

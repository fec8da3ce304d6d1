package admin

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestAHeadIsBounded(t *testing.T) {
	_, c := start(t, "", document("one"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Controller: c, Address: ln.Addr().String()})
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	f := func(bytes, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String()+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Filler", strings.Repeat("x", bytes))
		r.Close = true
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a field of %d bytes: status %d, want %d", bytes, resp.StatusCode, want)
		}
	}
	f(headBytesMax/2, 200)
	f(2*headBytesMax, 431)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

package answer_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

func TestWhatIsRemembered(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler func(w http.ResponseWriter)
		want    string
	}{
		{"nothing", func(http.ResponseWriter) {}, "0 0"},
		{"status", func(w http.ResponseWriter) { w.WriteHeader(404) }, "404 0"},
		{"body", func(w http.ResponseWriter) { io.WriteString(w, "abc") }, "200 3"},
		{"status, body", func(w http.ResponseWriter) { w.WriteHeader(201); w.Write([]byte("ab")) }, "201 2"},
		{"hints first", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(202) }, "202 0"},
		{"the first status is it", func(w http.ResponseWriter) { w.Write(nil); w.WriteHeader(500) }, "200 0"},
		{"copied", func(w http.ResponseWriter) { w.(io.ReaderFrom).ReadFrom(strings.NewReader("abcd")) }, "200 4"},
		{"flushed", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, "200 0"},
		{"flushed by a controller", func(w http.ResponseWriter) { http.NewResponseController(w).Flush() }, "200 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			below := httptest.NewRecorder()
			w := answer.Of(below)
			if answer.Of(w) != w {
				t.Error("a second one was made")
			}
			c.handler(w)
			if got := fmt.Sprint(w.Status(), " ", w.Bytes()); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if int64(below.Body.Len()) != w.Bytes() {
				t.Errorf("%d bytes arrived", below.Body.Len())
			}
		})
	}
}

func TestSwitchedProtocols(t *testing.T) {
	status := make(chan int, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := answer.Of(w)
		if at.CloseNotify() == nil {
			t.Error("net/http can tell when clients go")
		}
		c, b, err := at.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		b.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		b.Flush()
		status <- at.Status()
	}))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "101") || <-status != 101 {
		t.Errorf("%q %v", line, err)
	}
}

func TestWhatCannotBeHijacked(t *testing.T) {
	w := answer.Of(httptest.NewRecorder())
	if _, _, err := w.Hijack(); err == nil || w.Status() != 0 || w.CloseNotify() != nil {
		t.Errorf("%v, status %d", err, w.Status())
	}
}

func TestThoseWhoWaitForTheBeginningAreToldOnce(t *testing.T) {
	w := answer.Of(httptest.NewRecorder())
	var told []string
	for _, who := range []string{"outer", "inner"} {
		w.OnBegin(func(status int) { told = append(told, fmt.Sprint(who, " ", status)) })
	}
	w.WriteHeader(103)
	if told != nil {
		t.Errorf("told of hints: %v", told)
	}
	w.WriteHeader(404)
	io.WriteString(w, "x")
	w.Flush()
	if got := strings.Join(told, ", "); got != "inner 404, outer 404" {
		t.Errorf("told %s", got)
	}
}

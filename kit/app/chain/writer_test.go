package chain_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/net/websocket"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/observe"
)

// full is a chain with all its parts, as far as writers go.
func full(t testing.TB, cfg chain.Config) (*chain.Chain, *lines) {
	t.Helper()
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracing.Shutdown(t.Context()) })
	middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing})
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	cfg.Observe, cfg.Logger = middleware, slog.New(slog.NewJSONHandler(log, nil))
	return must(t, cfg), log
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Start()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	return s.URL
}

// What net/http's writer can do, the writer inside of the chain can: on the way out of a real server.
func TestWritersKeepWhatTheyCan(t *testing.T) {
	c, _ := full(t, chain.Config{})
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/flush", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "second\n")
	})
	mux.HandleFunc("/controller", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		for name, err := range map[string]error{
			"read deadline": rc.SetReadDeadline(time.Now().Add(time.Minute)), "write deadline": rc.SetWriteDeadline(time.Now().Add(time.Minute)),
			"full duplex": rc.EnableFullDuplex(), "flush": rc.Flush(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("no io.ReaderFrom")
		}
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("content"))
	})
	mux.Handle("/ws", websocket.Server{Handler: func(ws *websocket.Conn) { io.Copy(ws, ws) }})
	url := serve(t, c.Handler(mux))

	resp, err := http.Get(url + "/flush")
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	if line, _ := body.ReadString('\n'); line != "first\n" {
		t.Errorf("%q", line)
	}
	close(release)
	if line, _ := body.ReadString('\n'); line != "second\n" {
		t.Errorf("%q", line)
	}
	resp.Body.Close()
	for _, path := range []string{"/controller", "/file"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	speak(t, url+"/ws")
}

// speak sends a message through a WebSocket and wants it back.
func speak(t *testing.T, url string) {
	t.Helper()
	ws, err := websocket.Dial("ws"+strings.TrimPrefix(url, "http"), "", "http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := websocket.Message.Send(ws, "hello"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := websocket.Message.Receive(ws, &got); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAHijackedConnectionIsNotAnswered(t *testing.T) {
	c, _ := full(t, chain.Config{})
	done := make(chan struct{})
	url := serve(t, c.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(done)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		conn.Close()
	})))
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	text, _ := io.ReadAll(conn)
	if string(text) != "HTTP/1.1 204 No Content\r\n\r\n" {
		t.Errorf("%q", text)
	}
	<-done
}

// chiName is the hook for chi, as the documentation has it.
func chiName(r *http.Request) string {
	ctx := chi.RouteContext(r.Context())
	if ctx == nil {
		return ""
	}
	method, path := r.Method, r.URL.RawPath
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if path == "" {
		path = r.URL.Path
	}
	pattern := ctx.Routes.Find(chi.NewRouteContext(), method, path)
	if pattern == "" {
		return ""
	}
	return method + " " + pattern
}

func TestAChiApplication(t *testing.T) {
	c, log := full(t, chain.Config{
		Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}, Limits: []chain.Limit{{Guard: once(t, false).Guard, Key: chain.ByMethod}},
		Route: chiName,
		Methods: map[string]chain.Method{
			"GET /public/{id}": {Public: true}, "GET /api/admin/{id}": {Scopes: []string{"admin"}}, "GET /ws": {Public: true, Timeout: chain.Never},
		},
	})
	type order struct {
		ID  int    `uri:"id" binding:"min=1"`
		Who string `json:"who" binding:"required"`
	}
	r := chi.NewRouter()
	r.Use(c.Handler)
	r.Get("/public/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, chi.URLParam(r, "id")) })
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("oh") })
	r.Handle("/ws", websocket.Server{Handler: func(ws *websocket.Conn) { io.Copy(ws, ws) }})
	r.Route("/api", func(r chi.Router) {
		r.Get("/admin/{id}", func(http.ResponseWriter, *http.Request) {})
		r.Post("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			in, err := chain.Bind[order](r)
			if err != nil {
				chain.Refuse(w, r, err)
				return
			}
			fmt.Fprint(w, in.ID, in.Who, chain.PrincipalOf(r.Context()).ID)
		})
	})
	url := serve(t, r)
	do := func(method, path, key, body string) string {
		t.Helper()
		req, err := http.NewRequest(method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("X-Api-Key", key)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if reason := reasonIn(string(text)); reason != "" {
			return fmt.Sprint(resp.StatusCode, " ", reason)
		}
		return fmt.Sprint(resp.StatusCode, " ", string(text))
	}
	for _, step := range []struct{ method, path, key, body, want, route string }{
		{"GET", "/public/7", "", "", "200 7", "GET /public/{id}"},
		{"GET", "/public/8", "", "", "429 rate_limited", "GET /public/{id}"}, // of one method, whatever its path
		{"POST", "/api/orders/7", "", `{"who":"a"}`, "401 credentials_missing", "POST /api/orders/{id}"},
		{"POST", "/api/orders/7", key, `{"who":"a"}`, "200 7aacme", "POST /api/orders/{id}"},
		{"GET", "/api/admin/1", key, "", "403 scope_missing", "GET /api/admin/{id}"},
		{"HEAD", "/api/admin/1", key, "", "403 ", "GET /api/admin/{id}"},
		{"GET", "/panic", key, "", "500 panic", "GET /panic"},
		{"GET", "/none", key, "", "404 404 page not found\n", ""},
	} {
		if got := do(step.method, step.path, step.key, step.body); got != step.want {
			t.Errorf("%s %s: got %s, want %s", step.method, step.path, got, step.want)
		}
		list := log.take("call")
		if len(list) != 1 || list[0]["route"] != step.route {
			t.Errorf("%s %s: the log has %v", step.method, step.path, list)
		}
	}
	speak(t, url+"/ws")
}

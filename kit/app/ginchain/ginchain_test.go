package ginchain_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"go.uber.org/goleak"
	"golang.org/x/net/websocket"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/app/ginchain"
	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/observe"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

const key = "0123456789abcdef"

type order struct {
	ID    int    `json:"-" uri:"id" binding:"min=1"`
	Email string `json:"email" binding:"required,email"`
	Qty   int    `json:"qty" binding:"min=1"`
}

type lines struct {
	mu   sync.Mutex
	list []map[string]any
}

func (l *lines) Write(b []byte) (int, error) {
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m["msg"] == "call" {
		l.list = append(l.list, m)
	}
	return len(b), nil
}

// last forgets all lines, and returns the route, the status and who refused.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) != 1 {
		return fmt.Sprint(len(l.list), " lines")
	}
	m := l.list[0]
	l.list = nil
	by, _ := m["refused_by"].(string)
	return strings.TrimSpace(fmt.Sprint(m["route"], " ", m["status"], " ", by))
}

var reasonLine = regexp.MustCompile(`(?m)^reason: (\w+)$|"reason":"(\w+)"`)

type world struct {
	t     *testing.T
	url   string
	chain *chain.Chain
	log   *lines
	after []string // what ran behind handlers that should not have
}

// start is an application of gin behind all parts of a chain.
func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, log: &lines{}}
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracing.Shutdown(context.Background()) })
	middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := chain.APIKeys(chain.APIKeysConfig{Keys: []chain.APIKey{{SHA256: chain.HashAPIKey(key), Principal: chain.Principal{ID: "acme"}}}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := limit.New(limit.Config{Count: 2, Per: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(two.Close)
	b, err := breaker.New(breaker.Config{Consecutive: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.chain, err = chain.New(chain.Config{
		Observe: middleware, Auth: chain.Auth{Authenticators: []chain.Authenticator{keys}}, Breaker: chain.Breaker{Breaker: b},
		Limits: []chain.Limit{{Guard: two, Key: func(c *chain.Call) string {
			if c.Method() != "GET /limited" {
				return fmt.Sprintf("%p", c)
			}
			return c.Method()
		}}},
		Methods: map[string]chain.Method{
			"GET /admin/:id": {Scopes: []string{"admin"}}, "GET /public/*": {Public: true}, "GET /late": {Timeout: time.Millisecond},
		},
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(ginchain.Use(w.chain))
	r.Use(func(g *gin.Context) {
		g.Next()
		w.after = append(w.after, g.FullPath())
	})
	public := r.Group("/public")
	public.GET("/text", func(g *gin.Context) { g.String(http.StatusAccepted, "text") })
	public.GET("/status", func(g *gin.Context) { g.Status(http.StatusNoContent) })
	public.GET("/changed", func(g *gin.Context) { g.Status(200); g.Status(418) })
	public.GET("/nothing", func(*gin.Context) {})
	public.GET("/abort", func(g *gin.Context) { g.AbortWithStatusJSON(409, gin.H{"a": 1}) }, func(*gin.Context) { t.Error("aborted, and goes on") })
	public.GET("/panic", func(*gin.Context) { panic("oh") }, func(*gin.Context) { t.Error("panicked, and goes on") })
	public.GET("/cut", func(g *gin.Context) { g.Writer.WriteString("half"); g.Writer.Flush(); panic(http.ErrAbortHandler) })
	public.GET("/stream", func(g *gin.Context) {
		n := 0
		g.Stream(func(w io.Writer) bool { n++; fmt.Fprintf(w, "%d\n", n); return n < 3 })
	})
	public.GET("/sse", func(g *gin.Context) { g.SSEvent("a", "b"); g.Writer.Flush() })
	public.GET("/ws", gin.WrapH(websocket.Server{Handler: func(ws *websocket.Conn) { io.Copy(ws, ws) }}))
	public.GET("/controller", func(g *gin.Context) {
		rc := http.NewResponseController(g.Writer)
		if err := errors.Join(rc.SetWriteDeadline(time.Now().Add(time.Minute)), rc.SetReadDeadline(time.Now().Add(time.Minute)), rc.EnableFullDuplex(), rc.Flush()); err != nil {
			t.Error(err)
		}
	})
	r.GET("/who", func(g *gin.Context) { g.String(200, chain.PrincipalOf(g.Request.Context()).ID) })
	r.GET("/admin/:id", func(*gin.Context) { t.Error("it is not for acme") })
	r.GET("/limited", func(*gin.Context) {})
	r.GET("/fails", func(g *gin.Context) { g.Status(503) })
	r.GET("/late", func(g *gin.Context) { <-g.Request.Context().Done() })
	r.POST("/orders/:id", func(g *gin.Context) {
		in, err := ginchain.Bind[order](g)
		if err != nil {
			ginchain.Refuse(g, err)
			return
		}
		g.String(200, "%d %s", in.ID, in.Email)
	})
	r.POST("/gins", func(g *gin.Context) {
		var in order
		if err := g.ShouldBindJSON(&in); err != nil {
			ginchain.Refuse(g, err)
		}
	})
	r.POST("/left", func(g *gin.Context) {
		var in order
		if err := g.ShouldBindJSON(&in); err != nil {
			g.Error(err).SetType(gin.ErrorTypeBind)
		}
	})
	s := httptest.NewUnstartedServer(r)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Start()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	w.url = s.URL
	return w
}

func (w *world) do(method, path, with, body string) string {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if with != "" {
		r.Header.Set("X-Api-Key", with)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	out := fmt.Sprint(resp.StatusCode)
	switch m := reasonLine.FindStringSubmatch(string(text)); {
	case err != nil:
		out += " cut"
	case m != nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json"):
		var problem struct{ Errors []chain.Violation }
		if err := json.Unmarshal(text, &problem); err != nil {
			w.t.Error(err)
		}
		out += " problem"
		for _, v := range problem.Errors {
			out += fmt.Sprintf("; %s %s", v.Field, v.Message)
		}
	case m != nil:
		out += " " + m[1] + m[2]
	case len(text) > 0:
		out += " " + string(text)
	}
	return out
}

func TestAGinApplication(t *testing.T) {
	w := start(t)
	for _, c := range []struct{ method, path, with, body, want, log string }{
		{"GET", "/public/text", "", "", "202 text", "GET /public/text 202"},
		{"GET", "/public/status", "", "", "204", "GET /public/status 204"},
		{"GET", "/public/changed", "", "", "418", "GET /public/changed 418"},
		{"GET", "/public/nothing", "", "", "200", "GET /public/nothing 200"},
		{"GET", "/public/abort", "", "", `409 {"a":1}`, "GET /public/abort 409"},
		{"GET", "/public/panic", "", "", "500 panic", "GET /public/panic 500"},
		{"GET", "/public/cut", "", "", "200 cut", "GET /public/cut 200"},
		{"GET", "/public/stream", "", "", "200 1\n2\n3\n", "GET /public/stream 200"},
		{"GET", "/public/sse", "", "", "200 event:a\ndata:b\n\n", "GET /public/sse 200"},
		{"GET", "/public/controller", "", "", "200", "GET /public/controller 200"},
		{"GET", "/who", "", "", "401 credentials_missing", "GET /who 401 auth"},
		{"GET", "/who", key, "", "200 acme", "GET /who 200"},
		{"GET", "/admin/7", key, "", "403 scope_missing", "GET /admin/:id 403 auth"},
		{"GET", "/limited", key, "", "200", "GET /limited 200"},
		{"GET", "/limited", key, "", "200", "GET /limited 200"},
		{"GET", "/limited", key, "", "429 rate_limited", "GET /limited 429 limit"},
		{"GET", "/fails", key, "", "503", "GET /fails 503"},
		{"GET", "/fails", key, "", "503", "GET /fails 503"},
		{"GET", "/fails", key, "", "503 breaker_open", "GET /fails 503 breaker"},
		{"GET", "/late", key, "", "504 request_timeout", "GET /late 504 deadline"},
		{"GET", "/none", key, "", "404 404 page not found", "404"},
		{"GET", "/none", "", "", "401 credentials_missing", "401 auth"},
		{"POST", "/orders/7", key, `{"email":"a@b.example","qty":1}`, "200 7 a@b.example", "POST /orders/:id 200"},
		{"POST", "/orders/7", key, `{"email":"nobody"}`, "400 problem; email must be an e-mail address; qty must be 1 or more", "POST /orders/:id 400 validation"},
		{"POST", "/gins", key, `{"email":1}`, "400 problem; email must be a text, and is a number", "POST /gins 400 validation"},
		{"POST", "/gins", key, `{`, "400 problem;  ends too soon", "POST /gins 400 validation"},
		{"POST", "/left", key, `{"email":1}`, "400 problem; email must be a text, and is a number", "POST /left 400 validation"},
	} {
		if got := w.do(c.method, c.path, c.with, c.body); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.method, c.path, got, c.want)
		}
		if got := w.log.last(); got != c.log {
			t.Errorf("%s %s: the log has %q, want %q", c.method, c.path, got, c.log)
		}
	}
	if n := strings.Count(fmt.Sprint(w.after), "/admin"); n > 0 {
		t.Error("what stands behind a refusal ran")
	}
}

func TestAWebSocketThroughGin(t *testing.T) {
	w := start(t)
	ws, err := websocket.Dial("ws"+strings.TrimPrefix(w.url, "http")+"/public/ws", "", "http://localhost/")
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

// A chain around the whole application is the same chain: it does not count twice, and gin's streams still work.
func TestAChainAroundGinToo(t *testing.T) {
	one, err := limit.New(limit.Config{Count: 1, Per: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	c, err := chain.New(chain.Config{Limits: []chain.Limit{{Guard: one}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(ginchain.Use(c))
	r.GET("/", func(g *gin.Context) { g.Stream(func(w io.Writer) bool { io.WriteString(w, "a\n"); return false }) })
	s := httptest.NewServer(c.Handler(r))
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); resp.StatusCode != 200 || line != "a\n" {
		t.Errorf("%d %q", resp.StatusCode, line)
	}
}

// With the chain's validator, gin's own binding tells fields by the names that clients know.
func TestGinsBindingWithTheChainsRules(t *testing.T) {
	w := start(t)
	before := binding.Validator
	defer func() { binding.Validator = before }()
	binding.Validator = ginchain.Validator(w.chain)
	if got, want := w.do("POST", "/gins", key, `{"email":"nobody","qty":1}`), "400 problem; id must be 1 or more; email must be an e-mail address"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkGin(b *testing.B) {
	c, err := chain.New(chain.Config{Access: chain.Access{Off: true}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	for _, with := range []bool{false, true} {
		name := "bare"
		r := gin.New()
		if with {
			name = "chain"
			r.Use(ginchain.Use(c))
		}
		r.GET("/orders/:id", func(*gin.Context) {})
		b.Run(name, func(b *testing.B) {
			req := httptest.NewRequest("GET", "/orders/7", nil)
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				r.ServeHTTP(w, req)
			}
		})
	}
}

//go:build linux

package guards

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kind "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/yumen-io/yumen/conformance/gateway"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// authService answers by the path it is asked about, and notes what it was told.
type authService struct {
	*httptest.Server
	asked atomic.Int32
	told  atomic.Pointer[http.Header]
	held  chan struct{} // until it is closed
}

func newAuthService(t *testing.T, addr string) *authService {
	s := &authService{held: make(chan struct{})}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.told.Store(&r.Header)
		_, last, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("X-Forwarded-Uri"), "/"), "/")
		switch h := w.Header(); last {
		case "yes":
			h.Set("X-User", "alice")
			h.Add("X-Groups", "a")
			h.Add("X-Groups", "b")
			h.Set("X-Secret", "s")
			h.Set("Set-Cookie", "session=2")
		case "known":
			h.Set("X-User", "alice "+r.Header.Get("Authorization"))
		case "anonymous":
			w.WriteHeader(204)
		case "no":
			h.Set("WWW-Authenticate", `Bearer realm="x"`)
			h.Set("X-Secret", "s")
			h.Set("Content-Type", "application/json")
			w.WriteHeader(401)
			fmt.Fprint(w, `{"error":"who are you"}`)
		case "forbidden":
			w.WriteHeader(403)
		case "large":
			w.WriteHeader(403)
			fmt.Fprint(w, strings.Repeat("x", 10_000))
		case "login":
			h.Set("Location", "https://login.test/?to=/")
			h.Set("Set-Cookie", "state=1")
			w.WriteHeader(302)
		case "broken":
			w.WriteHeader(500)
		case "cut":
			h.Set("Content-Length", "100")
			w.WriteHeader(403)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
		case "held":
			select {
			case <-s.held:
			case <-r.Context().Done():
			}
		case "endless":
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("x", 1000))
			}
		}
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// heldFields is an upstream that answers with the fields that a service may tell it.
func heldFields(t *testing.T) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, "upstream")
		for _, name := range []string{"X-User", "X_User", "X-Groups", "X-Secret", "X-Claim"} {
			for _, v := range r.Header[http.CanonicalHeaderKey(name)] {
				fmt.Fprintf(w, " %s=%s", name, v)
			}
		}
		fmt.Fprintf(w, " %s", body)
	})
}

// firstLine shows an answer: status, the fields that a service may tell the client, and the body's first line.
func firstLine(t *testing.T, resp *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(resp.StatusCode)
	for _, name := range []string{"X-Yumen-Reason", "WWW-Authenticate", "Location", "Set-Cookie", "X-Secret", "Retry-After"} {
		for _, v := range resp.Header.Values(name) {
			got += " " + name + ": " + v
		}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return fmt.Sprintf("%s %.60s", got, strings.TrimSpace(line))
}

const extAuthDocument = `listen: %q
clusters:
  app: {endpoints: [%q]}
  auth: {endpoints: [%q]}
  dead: {endpoints: [%q]}
  garbage: {endpoints: [%q]}
  broken: {endpoints: [%q]}
filters:
  plain: {ext_auth: {cluster: auth, to_upstream: [x-user, x-groups], to_client: set-cookie, timeout: 300ms}}
  cached: {ext_auth: {cluster: auth, to_upstream: x-user, claims: {sub: x-user}, cache: 1m}}
  redirects: {ext_auth: {cluster: auth, redirects: on, refusal_body_max: off}}
  dead: {ext_auth: {cluster: dead, to_upstream: x-user}}
  dead-open: {ext_auth: {cluster: dead, to_upstream: x-user, when_unreachable: open}}
  garbage: {ext_auth: garbage}
  resetting: {ext_auth: {cluster: broken}}
  shadow: {ext_auth: {cluster: auth, to_upstream: x-user, timeout: 200ms, mode: shadow}}
routes:
  - {path: /plain/*, filters: [plain], cluster: app}
  - {path: /cached/*, filters: [cached, limit: {rate: 3/h, key: {claim: sub}}], cluster: app}
  - {path: /redirects/*, filters: [redirects], cluster: app}
  - {path: /dead/*, filters: [dead], cluster: app}
  - {path: /dead-open/*, filters: [dead-open], cluster: app}
  - {path: /garbage/*, filters: [garbage], cluster: app}
  - {path: /resetting/*, filters: [resetting], cluster: app}
  - {path: /shadow/*, filters: [shadow], cluster: app}
`

func TestAServiceDecidesAboutRequests(t *testing.T) {
	authAddr := gateway.FreeAddr(t)
	service := newAuthService(t, authAddr)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(extAuthDocument, addr, heldFields(t), authAddr, gateway.FreeAddr(t), unwell(t, "garbage"), unwell(t, "torn")), gateway.Options{})
	c := plainClient(t)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f := func(request, fields, want string) {
		t.Helper()
		if got := firstLine(t, ask(t, c, addr, request, fields, nil)); got != want {
			t.Errorf("%s:\n%s\n%s, want", request, got, want)
		}
	}
	const unreachable = "503 X-Yumen-Reason: auth_unreachable Retry-After: 1 The service that decides about requests cannot be asked."
	const undecided = "503 X-Yumen-Reason: auth_bad_answer Retry-After: 1 The service that decides about requests has not decided."
	f("GET /plain/yes", "", "200 Set-Cookie: session=2 upstream X-User=alice X-Groups=a, b")
	f("GET /plain/yes", "X-User: root; X_User: root; x-groups: admin", "200 Set-Cookie: session=2 upstream X-User=alice X-Groups=a, b")
	f("GET /plain/anonymous", "X-User: root; X_User: root; x-groups: admin", "200 upstream")
	f("GET /plain/no", "", `401 X-Yumen-Reason: auth_denied WWW-Authenticate: Bearer realm="x" {"error":"who are you"}`)
	f("HEAD /plain/no", "", `401 X-Yumen-Reason: auth_denied WWW-Authenticate: Bearer realm="x"`+" ")
	f("GET /plain/forbidden", "", "403 X-Yumen-Reason: auth_denied The request is not allowed.")
	f("GET /plain/large", "", "403 X-Yumen-Reason: auth_denied The request is not allowed.")
	f("GET /plain/cut", "", "403 X-Yumen-Reason: auth_denied The request is not allowed.")
	f("GET /plain/login", "", undecided)
	f("GET /plain/broken", "", undecided)
	f("GET /plain/endless", "", "200 upstream")
	f("GET /redirects/login", "", "302 X-Yumen-Reason: auth_redirected Location: https://login.test/?to=/ Set-Cookie: state=1 The request needs a login first.")
	f("GET /redirects/no", "", `401 X-Yumen-Reason: auth_denied WWW-Authenticate: Bearer realm="x" The request is not allowed.`)
	f("GET /dead/yes", "X-User: root", unreachable)
	f("GET /dead-open/yes", "X-User: root", "200 upstream")
	f("GET /garbage/yes", "", undecided)
	f("GET /resetting/yes", "", unreachable)
	f("GET /plain/hang", "", unreachable)

	t.Run("a body waits for the verdict", func(t *testing.T) {
		large := strings.Repeat("b", 300_000)
		resp := ask(t, c, addr, "POST /plain/yes", "", strings.NewReader(large))
		if text, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(text), large) {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	})
	t.Run("what the service is told", func(t *testing.T) {
		ask(t, c, addr, "PUT /plain/yes", "Authorization: Bearer t; Cookie: a=b; X-Other: x; X-Forwarded-Uri: /admin; X-Forwarded-Method: GET; X-Forwarded-For: 10.1.1.1", nil)
		h := *service.told.Load()
		got := fmt.Sprintln(h["Authorization"], h["Cookie"], h["X-Other"], h["X-Forwarded-Uri"], h["X-Forwarded-Method"], h["X-Forwarded-For"], h["X-Forwarded-Proto"],
			h["X-Forwarded-Host"], len(h["X-Request-Id"]), h["Content-Length"])
		if want := fmt.Sprintln("[Bearer t] [a=b] [] [/plain/yes] [PUT] [127.0.0.1] [http]", []string{addr}, 1, "[]"); got != want {
			t.Errorf("\n%s%s, want", got, want)
		}
	})
	t.Run("verdicts are kept by what they depend on", func(t *testing.T) {
		service.asked.Store(0)
		for range 3 {
			f("GET /cached/known", "Authorization: A", "200 upstream X-User=alice A")
		}
		f("GET /cached/known", "Authorization: B", "200 upstream X-User=alice B")
		// One key for each claim: A's limit is spent, B's is not.
		f("GET /cached/known", "Authorization: A", "429 X-Yumen-Reason: rate_limited Retry-After: 1200 Too many requests: at most 3/h, 3 at a time for each claim s")
		for range 3 {
			f("GET /cached/forbidden", "Authorization: A", "403 X-Yumen-Reason: auth_denied The request is not allowed.")
		}
		// Each loop keeps its own.
		if n := service.asked.Load(); n > 3*4 {
			t.Errorf("the service was asked %d times", n)
		}
	})
	t.Run("shadow mode", func(t *testing.T) {
		before := service.asked.Load()
		f("GET /shadow/forbidden", "X-User: root", "200 upstream X-User=root")
		f("GET /shadow/hang", "", "200 upstream")
		f("GET /shadow/yes", "", "200 upstream")
		gateway.Eventually(t, patience, "all were asked for, and are counted", func() error {
			if n := service.asked.Load() - before; n < 3 {
				return fmt.Errorf("%d asked", n)
			}
			judged, err := p.Metric("yumen_guard_decisions_total", `guard="shadow"`, `mode="shadow"`)
			if err != nil {
				return err
			}
			late, err := p.Metric("yumen_guard_number", `guard="shadow"`, `number="shadow_late_refused"`)
			if err != nil {
				return err
			}
			passed, err := p.Metric("yumen_guard_number", `guard="shadow"`, `number="shadow_late_passed"`)
			if err != nil || judged+late+passed != 3 {
				return fmt.Errorf("%v judged, %v and %v late, %v", judged, late, passed, err)
			}
			return nil
		})
	})
	t.Run("refusals can be asked for", func(t *testing.T) {
		status, text, err := p.AdminGet("/api/decisions?kind=ext_auth")
		if err != nil || status != 200 || !strings.Contains(string(text), "auth_denied") || !strings.Contains(string(text), `"took"`) {
			t.Errorf("%d, %v: %.400s", status, err, text)
		}
	})
	t.Run("the service restarts", func(t *testing.T) {
		service.CloseClientConnections()
		service.Close()
		f("GET /plain/anonymous", "", unreachable)
		newAuthService(t, authAddr)
		gateway.Eventually(t, patience, "requests pass again", func() error {
			resp := ask(t, c, addr, "GET /plain/anonymous", "", nil)
			if resp.StatusCode != 200 {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		})
	})
}

// While questions are under way a document changes what becomes of their answers: whoever waited gets one, whoever does not is not held.
func TestAGuardGoesIntoTheShadowWhileItAsks(t *testing.T) {
	authAddr := gateway.FreeAddr(t)
	service := newAuthService(t, authAddr)
	addr := gateway.FreeAddr(t)
	document := fmt.Sprintf(`listen: %q
clusters:
  app: {endpoints: [%q]}
  auth: {endpoints: [%q]}
routes:
  - {path: /*, cluster: app, filters: [ext_auth: {cluster: auth, timeout: 20s, cache: {for: 1ms, key: path}, mode: enforce}]}
`, addr, heldFields(t), authAddr)
	p := gateway.Start(t, document, gateway.Options{})
	const clients = 8 // each on a connection of its own, and so on all loops
	var wait sync.WaitGroup
	answers := make(chan int, clients)
	for range clients {
		wait.Go(func() {
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://" + addr + "/x/held")
			if err != nil {
				answers <- 0
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		})
	}
	gateway.Eventually(t, patience, "all have asked, or wait with those who have", func() error {
		if n := authNumber(p, "questions") + authNumber(p, "questions_joined"); n != clients {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	p.WriteConfig(strings.Replace(document, "enforce", "shadow", 1))
	gateway.Eventually(t, patience, "the new document is in force", func() error {
		if n, err := p.Metric("yumen_config_revision"); err != nil || n != 2 {
			return fmt.Errorf("revision %v, %v", n, err)
		}
		return nil
	})
	c := plainClient(t)
	for range 3 {
		if resp := ask(t, c, addr, "GET /x/held", "", nil); resp.StatusCode != 200 {
			t.Errorf("in shadow mode: %d", resp.StatusCode)
		}
	}
	p.WriteConfig(document)
	gateway.Eventually(t, patience, "the old document is in force again", func() error {
		if n, err := p.Metric("yumen_config_revision"); err != nil || n != 3 {
			return fmt.Errorf("revision %v, %v", n, err)
		}
		return nil
	})
	wait.Go(func() {
		if resp, err := c.Get("http://" + addr + "/x/held"); err != nil || resp.StatusCode != 200 {
			t.Errorf("with a question of shadow mode: %v, %v", resp, err)
		}
	})
	gateway.Eventually(t, patience, "it waits, too", func() error {
		if n := authNumber(p, "questions") + authNumber(p, "questions_joined"); n != clients+4 {
			return fmt.Errorf("%v", n)
		}
		return nil
	})
	close(service.held)
	wait.Wait()
	for range clients {
		if status := <-answers; status != 200 {
			t.Errorf("status %d", status)
		}
	}
}

func authNumber(p *gateway.Process, number string) float64 {
	n, err := p.Metric("yumen_guard_number", `kind="ext_auth"`, fmt.Sprintf("number=%q", number))
	if err != nil {
		return -1
	}
	return n
}

// authCalls is a service of Envoy's protocol, with Envoy's types.
type authCalls struct {
	auth.UnimplementedAuthorizationServer
	asked atomic.Pointer[auth.CheckRequest]
}

func (s *authCalls) Check(ctx context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	s.asked.Store(r)
	say := func(list ...string) (out []*core.HeaderValueOption) {
		for _, f := range list {
			name, text, _ := strings.Cut(f, ": ")
			out = append(out, &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, Value: text}})
		}
		return out
	}
	path := r.GetAttributes().GetRequest().GetHttp().GetPath()
	switch path[strings.LastIndex(path, "/")+1:] {
	case "yes":
		return &auth.CheckResponse{Status: &status.Status{}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: say("X-User: alice"), HeadersToRemove: []string{"x-secret"}, ResponseHeadersToAdd: say("Set-Cookie: session=2"),
		}}}, nil
	case "anonymous":
		return &auth.CheckResponse{Status: &status.Status{}}, nil
	case "no":
		return &auth.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &kind.HttpStatus{Code: 401}, Headers: say("WWW-Authenticate: Basic"), Body: "who are you",
		}}}, nil
	case "smuggle":
		return &auth.CheckResponse{Status: &status.Status{}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{Headers: say("Content-Length: 3")}}}, nil
	case "hang":
		<-ctx.Done()
	case "unavailable":
		return nil, grpcstatus.Error(codes.Unavailable, "restarting")
	}
	return nil, grpcstatus.Error(codes.Internal, "broken")
}

func TestAServiceDecidesByCall(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service, server := &authCalls{}, grpc.NewServer()
	auth.RegisterAuthorizationServer(server, service)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters:
  app: {endpoints: [%q]}
  auth: {endpoints: [%q], protocol: h2c}
routes:
  - path: /app/*
    cluster: app
    filters: [ext_auth: {cluster: auth, protocol: grpc, to_upstream: x-user, timeout: 300ms, claims: {sub: x-user}}]
`, addr, heldFields(t), l.Addr()), gateway.Options{})
	c := plainClient(t)
	f := func(request, fields, want string) {
		t.Helper()
		if got := firstLine(t, ask(t, c, addr, request, fields, nil)); got != want {
			t.Errorf("%s:\n%s\n%s, want", request, got, want)
		}
	}
	const unreachable = "503 X-Yumen-Reason: auth_unreachable Retry-After: 1 The service that decides about requests cannot be asked."
	const undecided = "503 X-Yumen-Reason: auth_bad_answer Retry-After: 1 The service that decides about requests has not decided."
	f("GET /app/yes", "X-User: root; X-Secret: s", "200 Set-Cookie: session=2 upstream X-User=alice")
	f("GET /app/anonymous", "X-User: root; X_User: root; X-Secret: s", "200 upstream X-Secret=s")
	f("GET /app/no", "", "401 X-Yumen-Reason: auth_denied WWW-Authenticate: Basic who are you")
	f("GET /app/smuggle", "", undecided)
	f("GET /app/broken", "", undecided)
	f("GET /app/unavailable", "", unreachable)
	f("GET /app/hang", "", unreachable)
	f("PUT /app/anonymous?a=b/anonymous", "Authorization: t; X-Other: x", "200 upstream")
	a := service.asked.Load().GetAttributes()
	h := a.GetRequest().GetHttp()
	got := fmt.Sprint(a.GetSource().GetAddress().GetSocketAddress().GetAddress(), h.GetMethod(), h.GetPath(), h.GetHost(), h.GetScheme(), h.GetProtocol(), h.GetHeaders()["authorization"], h.GetHeaders()["x-other"])
	if want := fmt.Sprint("127.0.0.1", "PUT", "/app/anonymous?a=b/anonymous", addr, "http", "HTTP/1.1", "t", ""); got != want {
		t.Errorf("\n%s\n%s, want", got, want)
	}
	status, text, err := p.AdminGet("/api/decisions?kind=ext_auth")
	if err != nil || status != 200 || !strings.Contains(string(text), "auth_denied") {
		t.Errorf("%d, %v: %.400s", status, err, text)
	}
}

package chain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/app/chain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handler is what a service does, over both protocols.
type handler func(ctx context.Context, in string) (string, error)

// world is a service with one chain: POST /orders, GET /public and /admin, and /shop.Orders/Create, Public, Admin and Follow.
type world struct {
	chain *chain.Chain
	url   string
	conn  *grpc.ClientConn
	log   *lines
}

func must(t testing.TB, cfg chain.Config) *chain.Chain {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := chain.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t testing.TB, cfg chain.Config, do handler) *world {
	t.Helper()
	w := &world{log: &lines{}}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewJSONHandler(w.log, nil))
	}
	mux := http.NewServeMux()
	cfg.Route = chain.RouteOf(mux)
	w.chain = must(t, cfg)
	serve := func(rw http.ResponseWriter, r *http.Request) {
		in, err := io.ReadAll(r.Body)
		if err != nil {
			chain.Refuse(rw, r, err)
			return
		}
		out, err := do(r.Context(), string(in))
		if err != nil {
			chain.Refuse(rw, r, err)
			return
		}
		io.WriteString(rw, out)
	}
	mux.HandleFunc("POST /orders", serve)
	mux.HandleFunc("POST /public", serve)
	mux.HandleFunc("POST /admin", serve)
	s := httptest.NewUnstartedServer(w.chain.Handler(mux))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Start()
	w.url = s.URL

	g := grpc.NewServer(grpc.UnaryInterceptor(w.chain.Unary()), grpc.StreamInterceptor(w.chain.Stream()))
	g.RegisterService(service(do), nil)
	healthpb.RegisterHealthServer(g, health.NewServer())
	l := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	w.conn = conn
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		conn.Close()
		g.Stop()
		<-done
		s.Close()
	})
	return w
}

// service is what generated code would be.
func service(do handler) *grpc.ServiceDesc {
	unary := func(name string) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.StringValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			run := func(ctx context.Context, in any) (any, error) {
				out, err := do(ctx, in.(*wrapperspb.StringValue).Value)
				if err != nil {
					return nil, err
				}
				return wrapperspb.String(out), nil
			}
			return through(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/" + name}, run)
		}}
	}
	return &grpc.ServiceDesc{
		ServiceName: "shop.Orders", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("Create"), unary("Public"), unary("Admin")},
		Streams: []grpc.StreamDesc{{StreamName: "Follow", ServerStreams: true, ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			for {
				in := &wrapperspb.StringValue{}
				if err := ss.RecvMsg(in); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				out, err := do(ss.Context(), in.Value)
				if err != nil {
					return err
				}
				if err := ss.SendMsg(wrapperspb.String(out)); err != nil {
					return err
				}
			}
		}}},
	}
}

var reasonLine = regexp.MustCompile(`(?m)^reason: (\w+)$|\((\w+)(?:, trace \w+)?\)$|"reason":"(\w+)"`)

func reasonIn(text string) string {
	m := reasonLine.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}

// post returns the status, the reason, and the whole answer.
func (w *world) post(t testing.TB, path string, fields map[string]string, body string) (int, string, *http.Response) {
	t.Helper()
	r, err := http.NewRequest("POST", w.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp.StatusCode, reasonIn(string(text)), resp
}

// call returns the code's name, the reason, and the error.
func (w *world) call(ctx context.Context, method string, fields map[string]string, in string) (string, string, error) {
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(fields))
	out := &wrapperspb.StringValue{}
	err := w.conn.Invoke(ctx, "/shop.Orders/"+method, wrapperspb.String(in), out)
	return status.Code(err).String(), reasonIn(status.Convert(err).Message()), err
}

// follow sends one message on a stream of its own.
func (w *world) follow(ctx context.Context, fields map[string]string, in string) (string, string, error) {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, metadata.New(fields)))
	defer cancel()
	s, err := w.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/shop.Orders/Follow")
	if err == nil {
		if err = s.SendMsg(wrapperspb.String(in)); err == nil || err == io.EOF {
			if err = s.CloseSend(); err == nil {
				err = s.RecvMsg(&wrapperspb.StringValue{})
				if err == nil {
					if err = s.RecvMsg(&wrapperspb.StringValue{}); err == io.EOF {
						err = nil
					}
				}
			}
		}
	}
	return status.Code(err).String(), reasonIn(status.Convert(err).Message()), err
}

// lines keeps what was logged.
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
	l.list = append(l.list, m)
	return len(b), nil
}

// take returns the lines of a message and forgets all.
func (l *lines) take(message string) (of []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.list {
		if m["msg"] == message {
			of = append(of, m)
		}
	}
	l.list = nil
	return of
}

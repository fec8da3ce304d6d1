package filters_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/telemetry/metrics"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// pathPolicy is the usual one.
var pathPolicy message.PathPolicy

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// running is a gateway with one loop, one route and one cluster.
type running struct {
	addr    string
	gateway *gateway.Gateway
	group   *upstream.Group
	metrics *metrics.Registry
	clients []*http.Transport
}

// start runs a gateway whose route has these filters, until the test ends. Clients may speak HTTP/1 and h2c; the endpoints are
// spoken to by h2c.
func start(tb testing.TB, specs []filters.Spec, retries retry.Config, endpoints ...string) *running {
	tb.Helper()
	var hooks []gateway.Hooks
	for _, s := range specs {
		f, problems := filters.Compile(s, filters.Context{Path: pathPolicy})
		if f == nil {
			tb.Fatal(problems)
		}
		hooks = append(hooks, f.Hooks)
	}
	l, err := loop.New(loop.Config{})
	check(tb, err)
	workers := []*engine.Worker{engine.NewWorker(l, 0)}
	go l.Run()
	reg, err := metrics.New(gateway.Vocabulary(metrics.Config{Loops: 1}))
	check(tb, err)
	g := gateway.New(gateway.Config{Engines: workers, Metrics: reg, Wall: time.Now})
	limits1, limits2 := h1.NewLimits(h1.Limits{}), h2.NewLimits(h2.Limits{})
	group := upstream.NewGroup("app", workers)
	view := reg.View([]string{"all"}, []string{"app"})
	var targets []upstream.Target
	for _, e := range endpoints {
		targets = append(targets, upstream.Target{Addr: netip.MustParseAddrPort(e)})
	}
	prepared, err := group.Prepare(&upstream.Spec{Name: "app",
		Dial: engine.DialConfig{H1: limits1, H2: limits2, Protocols: engine.HTTP2},
		Pool: upstream.PoolConfig{IdleMax: 100, IdleTimeout: time.Minute, QueueMax: 100, ConnectTimeout: 5 * time.Second, QueueTimeout: 5 * time.Second},
	}, targets, []*metrics.Cluster{view.Cluster(0, 0)})
	check(tb, err)
	prepared.Commit()
	table, problems := route.Compile([]route.Spec{{Name: "all", Path: "/*"}})
	if table == nil {
		tb.Fatal(problems)
	}
	g.Swap(&gateway.Snapshot{Revision: 1, Table: table, View: view, Clusters: []*upstream.Group{group}, Changes: []*upstream.Prepared{prepared},
		Routes: []*gateway.Route{{Name: "all", Filters: hooks, Cluster: group, Retry: retry.New(retries), FirstByte: time.Minute, BetweenBytes: time.Minute}}})
	sockets, err := engine.Bind("127.0.0.1:0", 1)
	check(tb, err)
	listener, err := engine.Listen(workers, sockets, engine.ListenerConfig{
		Name: "web", Server: &engine.ServerConfig{H1: limits1, H2: limits2, Protocols: engine.HTTP1 | engine.HTTP2, HeadTimeout: 10 * time.Second,
			IdleTimeout: time.Minute, SendTimeout: time.Minute, BodyRateMin: 1, BodyWindow: time.Minute},
		Handlers: []engine.Handler{gateway.NewFront(g.Workers[0], &gateway.Listener{Name: "web", Scheme: "http"})},
	})
	check(tb, err)
	tb.Cleanup(func() {
		listener.Close()
		group.Close()
		l.Stop()
		<-l.Done()
	})
	return &running{addr: sockets.Bound().String(), gateway: g, group: group, metrics: reg}
}

// left says what a gateway without clients still holds; it is empty if that is nothing.
func (r *running) left() string {
	var open, held int
	r.gateway.OnEach(func(w *gateway.Worker) { open, held = open+w.Engine().Open(), held+w.Engine().Bufs.InUse() })
	if open != 0 || held != 0 {
		return fmt.Sprintf("%d connections are open and %d bytes of buffers held", open, held)
	}
	for addr, l := range r.group.Loads() {
		if l.InFlight != 0 || l.Waiting != 0 {
			return fmt.Sprintf("endpoint %s has %+v", addr, l)
		}
	}
	return ""
}

// nothingHeld fails the test unless all is given back once every client has left.
func (r *running) nothingHeld(tb testing.TB) {
	tb.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		for _, c := range r.clients { // again and again: with an answer in hand they may be busy with its request yet
			c.CloseIdleConnections()
		}
		left := r.left()
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatal(left)
		}
	}
}

// metric returns the lines of the page of metrics that have this text in them and are not zero.
func (r *running) metric(text string) string {
	page := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(page.Body.String()) {
		if line = strings.TrimSpace(line); strings.Contains(line, text) && !strings.HasSuffix(line, " 0") && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// fronts are the ways that clients speak in these tests.
var fronts = []string{"http1", "h2c"}

// client returns a client that speaks so to the gateway.
func (r *running) client(tb testing.TB, front string) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(front == "http1")
	tr.Protocols.SetUnencryptedHTTP2(front == "h2c")
	tb.Cleanup(tr.CloseIdleConnections)
	r.clients = append(r.clients, tr)
	return &http.Client{Transport: tr, Timeout: patience}
}

// do sends a request, "POST /v1/x", with fields "name: value", and returns status, type and body of what came back.
func (r *running) do(tb testing.TB, c *http.Client, request, body string, fields ...string) (*http.Response, string) {
	tb.Helper()
	resp := r.open(tb, c, request, strings.NewReader(body), fields...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s: %v behind %q", request, err, text)
	}
	return resp, string(text)
}

func (r *running) open(tb testing.TB, c *http.Client, request string, body io.Reader, fields ...string) *http.Response {
	tb.Helper()
	method, target, _ := strings.Cut(request, " ")
	req, err := http.NewRequest(method, "http://"+r.addr+target, body)
	check(tb, err)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		tb.Fatalf("%s: %v", request, err)
	}
	return resp
}

// The library is the service of these tests.
const libraryText = `
file {
  name: "library.proto" package: "library" syntax: "proto3"
  dependency: "google/api/annotations.proto" dependency: "google/api/httpbody.proto"
  message_type { name: "Item"
    field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING json_name: "name" }
    field { name: "price" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 json_name: "price" } }
  message_type { name: "Shelf"
    field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING json_name: "name" }
    field { name: "items" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".library.Item" json_name: "items" }
    field { name: "shelf_id" number: 3 label: LABEL_OPTIONAL type: TYPE_INT64 json_name: "shelfId" }
    field { name: "blob" number: 4 label: LABEL_OPTIONAL type: TYPE_BYTES json_name: "blob" } }
  message_type { name: "Upload"
    field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING json_name: "name" }
    field { name: "file" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.api.HttpBody" json_name: "file" } }
  service { name: "Library"
    method { name: "Get" input_type: ".library.Shelf" output_type: ".library.Shelf" options {
      [google.api.http] { get: "/v1/{name=shelves/*}" } } }
    method { name: "Put" input_type: ".library.Shelf" output_type: ".library.Shelf" options {
      [google.api.http] { post: "/v1/shelves" body: "*" additional_bindings { put: "/v1/{name=shelves/*}" body: "*" } } } }
    method { name: "Delete" input_type: ".library.Shelf" output_type: ".library.Shelf" options {
      [google.api.http] { delete: "/v1/{name=shelves/*}" additional_bindings { post: "/v1/{name=shelves/*}:clear" body: "*" } } } }
    method { name: "Watch" input_type: ".library.Shelf" output_type: ".library.Item" server_streaming: true options {
      [google.api.http] { get: "/v1/{name=shelves/*}:watch" } } }
    method { name: "Chat" input_type: ".library.Item" output_type: ".library.Item" client_streaming: true server_streaming: true options {
      [google.api.http] { post: "/v1/chat" body: "*" } } }
    method { name: "Store" input_type: ".library.Upload" output_type: ".google.api.HttpBody" options {
      [google.api.http] { post: "/v1/files/{name}" body: "file" } } }
    method { name: "Tail" input_type: ".library.Upload" output_type: ".google.api.HttpBody" server_streaming: true options {
      [google.api.http] { get: "/v1/files/{name}:tail" } } }
  }
}`

// library is the descriptor set, as protoc would write it.
func librarySet(tb testing.TB) *descriptorpb.FileDescriptorSet {
	tb.Helper()
	set := new(descriptorpb.FileDescriptorSet)
	check(tb, prototext.Unmarshal([]byte(libraryText), set))
	body, err := protoregistry.GlobalFiles.FindFileByPath("google/api/httpbody.proto")
	check(tb, err)
	have := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if have[f.Path()] {
			return
		}
		have[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(annotations.File_google_api_annotations_proto)
	add(body)
	return set
}

func libraryDescriptors(tb testing.TB) []byte {
	b, err := proto.Marshal(librarySet(tb))
	check(tb, err)
	return b
}

// message makes an empty message of the library's.
type newMessage func(name protoreflect.FullName) *dynamicpb.Message

func messages(tb testing.TB) newMessage {
	files, err := protodesc.NewFiles(librarySet(tb))
	check(tb, err)
	return func(name protoreflect.FullName) *dynamicpb.Message {
		d, err := files.FindDescriptorByName(name)
		check(tb, err)
		return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	}
}

func set(m *dynamicpb.Message, field protoreflect.Name, value any) *dynamicpb.Message {
	m.Set(m.Descriptor().Fields().ByName(field), protoreflect.ValueOf(value))
	return m
}

func get(m *dynamicpb.Message, field protoreflect.Name) any {
	return m.Get(m.Descriptor().Fields().ByName(field)).Interface()
}

// handler is what a test's server does with every call.
type handler func(method string, stream grpc.ServerStream) error

// serveCalls runs a real server, and returns its address. Every method is do's, which gets messages that are dynamic.
func serveCalls(tb testing.TB, do handler) (addr string, server *grpc.Server) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	server = grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		return do(strings.TrimPrefix(method, "/library.Library/"), stream)
	}))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	tb.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String(), server
}

// serveRaw runs a server that may answer anything, over h2c.
func serveRaw(tb testing.TB, h http.HandlerFunc) (addr string) {
	u := httptest.NewUnstartedServer(h)
	u.Config.Protocols = new(http.Protocols)
	u.Config.Protocols.SetUnencryptedHTTP2(true)
	u.Start()
	tb.Cleanup(u.Close)
	return u.Listener.Addr().String()
}

package transcode

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

// library is a service of the test's own: it answers with what it was asked, counts, or fails with details.
func library() []any {
	return append(everything(), service("Library",
		method("Echo", "test.All", "test.All", rule("POST /v1/{a_string=shelves/*}:echo body=*")),
		method("Count", "test.Item", "stream test.Item", rule("GET /v1/count")),
		method("Fail", "test.Item", "test.Item", rule("DELETE /v1/fail"))))
}

// serve runs a real server in memory and returns a connection to it.
func serve(t *testing.T, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	register(server)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// libraryFiles are the descriptors that the server has.
func libraryFiles(t *testing.T) *protoregistry.Files {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile(library()...)}}
	for _, f := range commonFiles() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// registerLibrary serves with dynamic messages, which parse and print everything: bytes that are no message are refused.
func registerLibrary(t *testing.T, server *grpc.Server) {
	t.Helper()
	files := libraryFiles(t)
	newMessage := func(name protoreflect.FullName) *dynamicpb.Message {
		d, err := files.FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Library", HandlerType: (*any)(nil), Metadata: "test.proto",
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				m := newMessage("test.All")
				return m, decode(m)
			}},
			{MethodName: "Fail", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
				s, err := status.New(codes.NotFound, "no such thing: 100% é\n").WithDetails(&errdetails.ErrorInfo{Reason: "GONE"})
				if err != nil {
					return nil, err
				}
				return nil, s.Err()
			}},
		},
		Streams: []grpc.StreamDesc{{StreamName: "Count", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			m := newMessage("test.Item")
			if err := stream.RecvMsg(m); err != nil {
				return err
			}
			price := m.Descriptor().Fields().ByName("price")
			last := m.Get(price).Int()
			for i := range last {
				m.Set(price, protoreflect.ValueOfInt32(int32(i+1)))
				if err := stream.SendMsg(m); err != nil {
					return err
				}
			}
			return nil
		}}},
	}, nil)
}

func TestARealServerUnderstands(t *testing.T) {
	conn := serve(t, func(server *grpc.Server) { registerLibrary(t, server) })
	s := compileTest(t, Options{}, library()...)
	var c Converter

	b, wire, fault := call(t, s, "POST /v1/shelves/a%20b:echo", unaryBody)
	if fault != nil {
		t.Fatal(fault)
	}
	var answer []byte
	if err := conn.Invoke(t.Context(), b.RPC, &wire, &answer, grpc.ForceCodecV2(raw{})); err != nil {
		t.Fatal(err)
	}
	out, fault := c.Response(nil, b, answer)
	if fault != nil {
		t.Fatal(fault)
	}
	sameJSON(t, out, []byte(strings.Replace(unaryBody, "The quick brown fox", "shelves/a b", 1)))

	b, wire, fault = call(t, s, "GET /v1/count?price=3&name=x", "")
	if fault != nil || !b.ServerStreaming {
		t.Fatal(fault, b.ServerStreaming)
	}
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, b.RPC, grpc.ForceCodecV2(raw{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&wire), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	out = nil
	for {
		err := stream.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, fault = c.Event(out, b, Lines, answer); fault != nil {
			t.Fatal(fault)
		}
	}
	if want := `{"name":"x","price":1}` + "\n" + `{"name":"x","price":2}` + "\n" + `{"name":"x","price":3}` + "\n"; string(out) != want {
		t.Errorf("got %s", out)
	}

	b, wire, fault = call(t, s, "DELETE /v1/fail", "")
	if fault != nil {
		t.Fatal(fault)
	}
	var trailer metadata.MD
	err = conn.Invoke(t.Context(), b.RPC, &wire, &answer, grpc.ForceCodecV2(raw{}), grpc.Trailer(&trailer))
	grpcStatus := status.Convert(err)
	// The client keeps grpc-status and grpc-message to itself; the details it leaves in the trailers.
	details, err := proto.Marshal(grpcStatus.Proto())
	if err != nil {
		t.Fatal(err)
	}
	if len(trailer["grpc-status-details-bin"]) == 1 {
		details = []byte(trailer["grpc-status-details-bin"][0])
	}
	out = c.Error(nil, s, Status{Code: grpcStatus.Code(), Message: grpcStatus.Message(), Details: details})
	if want := `{"code":5,"message":"no such thing: 100% é\n","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE"}]}`; string(out) != want {
		t.Errorf("got %s", out)
	}
}

func TestDescriptorsAreFetched(t *testing.T) {
	options := func(t *testing.T, server *grpc.Server) reflection.ServerOptions {
		return reflection.ServerOptions{Services: server, DescriptorResolver: libraryFiles(t)}
	}
	versions := map[string]func(*grpc.Server){
		"v1": func(server *grpc.Server) {
			reflectionv1.RegisterServerReflectionServer(server, reflection.NewServerV1(options(t, server)))
		},
		"v1alpha": func(server *grpc.Server) {
			reflectionv1alpha.RegisterServerReflectionServer(server, reflection.NewServer(options(t, server)))
		},
	}
	for version, register := range versions {
		conn := serve(t, func(server *grpc.Server) {
			registerLibrary(t, server)
			register(server)
		})
		set, err := Fetch(t.Context(), conn, FetchLimits{})
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		s, problems := Compile(set, Options{})
		if problems != nil {
			t.Fatalf("%s: %v", version, problems)
		}
		var c Captures
		if b, _ := s.Match([]byte("GET"), []byte("/v1/count"), &c); b == nil || b.RPC != "/test.Library/Count" {
			t.Errorf("%s: %v", version, b)
		}
		again, err := Fetch(t.Context(), conn, FetchLimits{})
		if err != nil || !slices.Equal(set, again) {
			t.Errorf("%s: a second time is another set: %v", version, err)
		}
		f := func(limits FetchLimits, want string) {
			t.Helper()
			if _, err := Fetch(t.Context(), conn, limits); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", version, err)
			}
		}
		f(FetchLimits{FilesMax: 3}, "more than 3 files")
		f(FetchLimits{BytesMax: 100}, "larger than max")
	}
}

func TestAServerWithoutReflection(t *testing.T) {
	conn := serve(t, func(server *grpc.Server) { registerLibrary(t, server) })
	_, err := Fetch(t.Context(), conn, FetchLimits{})
	if status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Fetch(ctx, conn, FetchLimits{}); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}

// liar is a reflection server that sends what it wants.
type liar struct {
	reflectionv1.UnimplementedServerReflectionServer
	answer func(*reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse
}

func (l liar) ServerReflectionInfo(stream reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		q, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(l.answer(q)); err != nil {
			return err
		}
	}
}

func TestAServerThatLies(t *testing.T) {
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("a.proto"), Dependency: []string{"b.proto"}}
	good, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	f := func(describe func(n int) *reflectionv1.ServerReflectionResponse, services int, want string) {
		t.Helper()
		asked := 0
		conn := serve(t, func(server *grpc.Server) {
			reflectionv1.RegisterServerReflectionServer(server, liar{answer: func(q *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
				if _, ok := q.GetMessageRequest().(*reflectionv1.ServerReflectionRequest_ListServices); ok {
					list := &reflectionv1.ListServiceResponse{}
					for range services {
						list.Service = append(list.Service, &reflectionv1.ServiceResponse{Name: "a.A"})
					}
					return &reflectionv1.ServerReflectionResponse{
						MessageResponse: &reflectionv1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list},
					}
				}
				asked++
				return describe(asked)
			}})
		})
		if _, err := Fetch(t.Context(), conn, FetchLimits{FilesMax: 10, BytesMax: 4000}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	files := func(b ...[]byte) func(int) *reflectionv1.ServerReflectionResponse {
		return func(int) *reflectionv1.ServerReflectionResponse { return filesAnswer(b...) }
	}
	f(files(good), 1, "fetch b.proto: the server sent other files instead")
	f(files([]byte("\xff")), 1, "read a file that the server sent")
	f(files(), 11, "more than 10 services")
	f(func(n int) *reflectionv1.ServerReflectionResponse {
		file := &descriptorpb.FileDescriptorProto{Name: proto.String(strings.Repeat("x", 1500+n))}
		b, _ := proto.Marshal(file)
		return filesAnswer(b)
	}, 5, "longer than 4000 bytes")
	f(func(int) *reflectionv1.ServerReflectionResponse {
		return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_ErrorResponse{
			ErrorResponse: &reflectionv1.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "gone\n"},
		}}
	}, 1, `describe a.A: the server says NotFound: "gone\n"`)
}

func filesAnswer(b ...[]byte) *reflectionv1.ServerReflectionResponse {
	return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &reflectionv1.FileDescriptorResponse{FileDescriptorProto: b},
	}}
}

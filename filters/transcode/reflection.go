package transcode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// FetchLimits bound what a server may answer to Fetch.
type FetchLimits struct {
	FilesMax int // files, and services. 0: 4096, which is half of all that Google publishes
	BytesMax int // of all files, and of one answer; 0: 64 MiB, as for a descriptor set
}

const filesMaxDefault = 4096

// Versions of the reflection protocol, newest first. Their messages are the same on the wire.
var reflectionMethods = []string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// Fetch asks a server by gRPC reflection for its services, and returns them with all that they import as a serialised
// FileDescriptorSet, in the order of the files' names. Reflection's own service is left out. It waits for the server as
// long as ctx allows, so it belongs to the control plane and not to a loop. An error says at which question it came up;
// for a server without reflection it wraps a status of the code Unimplemented.
func Fetch(ctx context.Context, conn grpc.ClientConnInterface, limits FetchLimits) ([]byte, error) {
	if limits.FilesMax <= 0 {
		limits.FilesMax = filesMaxDefault
	}
	if limits.BytesMax <= 0 {
		limits.BytesMax = descriptorBytesMax
	}
	var err error
	for _, method := range reflectionMethods {
		var set []byte
		if set, err = fetchBy(ctx, conn, method, limits); err == nil {
			return set, nil
		}
		if status.Code(err) != codes.Unimplemented {
			break
		}
	}
	return nil, fmt.Errorf("ask the server for its services: %w", err)
}

// fetcher is one conversation with a server.
type fetcher struct {
	stream grpc.ClientStream
	limits FetchLimits
	files  map[string]*descriptorpb.FileDescriptorProto
	bytes  int
}

func fetchBy(ctx context.Context, conn grpc.ClientConnInterface, method string, limits FetchLimits) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream, whatever state it is in
	desc := &grpc.StreamDesc{StreamName: "ServerReflectionInfo", ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, desc, method, grpc.MaxCallRecvMsgSize(limits.BytesMax))
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", method, err)
	}
	f := &fetcher{stream: stream, limits: limits, files: map[string]*descriptorpb.FileDescriptorProto{}}
	answer, err := f.ask("list the services", &reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return nil, err
	}
	services := answer.GetListServicesResponse().GetService()
	if len(services) > limits.FilesMax {
		return nil, fmt.Errorf("the server has more than %d services", limits.FilesMax)
	}
	for _, s := range services {
		if strings.HasPrefix(s.GetName(), "grpc.reflection.") {
			continue
		}
		answer, err := f.ask("describe "+s.GetName(), &reflection.ServerReflectionRequest{
			MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: s.GetName()},
		})
		if err != nil {
			return nil, err
		}
		if err := f.take(answer); err != nil {
			return nil, err
		}
	}
	if err := f.imports(); err != nil {
		return nil, err
	}
	return f.set()
}

// ask sends one question and waits for its answer.
func (f *fetcher) ask(what string, q *reflection.ServerReflectionRequest) (*reflection.ServerReflectionResponse, error) {
	// A server that refuses ends the stream: then the reason comes from receiving, and sending only says EOF.
	if err := f.stream.SendMsg(q); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	answer := &reflection.ServerReflectionResponse{}
	if err := f.stream.RecvMsg(answer); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("%s: the server says %v: %s", what, codes.Code(e.GetErrorCode()), shown(e.GetErrorMessage()))
	}
	return answer, nil
}

// take keeps the files of an answer. Servers may send a file again, or with each answer all that it imports.
func (f *fetcher) take(answer *reflection.ServerReflectionResponse) error {
	for _, b := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(b, file); err != nil {
			return fmt.Errorf("read a file that the server sent: %w", err)
		}
		if f.files[file.GetName()] != nil {
			continue
		}
		f.files[file.GetName()] = file
		f.bytes += len(b)
		if f.bytes > f.limits.BytesMax {
			return fmt.Errorf("the server's files are longer than %d bytes", f.limits.BytesMax)
		}
		if len(f.files) > f.limits.FilesMax {
			return fmt.Errorf("the server has more than %d files", f.limits.FilesMax)
		}
	}
	return nil
}

// imports asks for all that the files import and the server did not send with them. What Compile has itself it need not have.
func (f *fetcher) imports() error {
	common := map[string]bool{}
	for _, fd := range commonFiles() {
		common[fd.Path()] = true
	}
	for {
		missing := map[string]bool{}
		for _, file := range f.files {
			for _, dep := range file.GetDependency() {
				if f.files[dep] == nil && !common[dep] {
					missing[dep] = true
				}
			}
		}
		if len(missing) == 0 {
			return nil
		}
		for dep := range missing {
			answer, err := f.ask("fetch "+dep, &reflection.ServerReflectionRequest{
				MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: dep},
			})
			if err != nil {
				return err
			}
			if err := f.take(answer); err != nil {
				return err
			}
			if f.files[dep] == nil {
				return fmt.Errorf("fetch %s: the server sent other files instead", dep)
			}
		}
	}
}

func (f *fetcher) set() ([]byte, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range f.files {
		set.File = append(set.File, file)
	}
	slices.SortFunc(set.File, func(a, b *descriptorpb.FileDescriptorProto) int { return strings.Compare(a.GetName(), b.GetName()) })
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("write the descriptor set: %w", err)
	}
	return b, nil
}

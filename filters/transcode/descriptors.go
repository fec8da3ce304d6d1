package transcode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// descriptorBytesMax bounds a descriptor set. All of googleapis is 30 MB.
const descriptorBytesMax = 64 << 20

// commonFiles are those that nearly every set imports, and that people leave out because every compiler has them.
func commonFiles() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		anypb.File_google_protobuf_any_proto,
		descriptorpb.File_google_protobuf_descriptor_proto,
		durationpb.File_google_protobuf_duration_proto,
		emptypb.File_google_protobuf_empty_proto,
		fieldmaskpb.File_google_protobuf_field_mask_proto,
		structpb.File_google_protobuf_struct_proto,
		timestamppb.File_google_protobuf_timestamp_proto,
		wrapperspb.File_google_protobuf_wrappers_proto,
		annotations.File_google_api_http_proto,
		annotations.File_google_api_annotations_proto,
		httpbody.File_google_api_httpbody_proto,
	}
}

// readSet reads a serialised FileDescriptorSet and gives its files, those that are imported first.
func readSet(set []byte) ([]protoreflect.FileDescriptor, []Problem) {
	const hint = "write one with protoc --include_imports --descriptor_set_out, or buf build -o"
	if len(set) > descriptorBytesMax {
		return nil, []Problem{{Cause: fmt.Sprintf("the descriptor set is longer than %d bytes", descriptorBytesMax)}}
	}
	s := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(set, s); err != nil {
		return nil, []Problem{{Cause: fmt.Sprintf("this is no descriptor set: %v", err), Fix: hint}}
	}
	if len(s.GetFile()) == 0 {
		return nil, []Problem{{Cause: "the descriptor set is empty", Fix: hint}}
	}
	byName := map[string]*descriptorpb.FileDescriptorProto{}
	var problems []Problem
	var names []string
	for _, f := range s.GetFile() {
		if other := byName[f.GetName()]; other != nil {
			if !sameFile(f, other) {
				problems = append(problems, Problem{Binding: f.GetName(), Cause: "the file is in the descriptor set twice, with different contents"})
			}
			continue
		}
		byName[f.GetName()] = f
		names = append(names, f.GetName())
	}
	common := map[string]protoreflect.FileDescriptor{}
	for _, f := range commonFiles() {
		common[f.Path()] = f
	}
	missing := map[string][]string{}
	for i := 0; i < len(names); i++ { // names grows
		f := byName[names[i]]
		for _, dep := range f.GetDependency() {
			switch {
			case byName[dep] != nil:
			case common[dep] != nil:
				byName[dep] = protodesc.ToFileDescriptorProto(common[dep])
				names = append(names, dep)
			default:
				missing[dep] = append(missing[dep], names[i])
			}
		}
	}
	for dep, by := range missing {
		problems = append(problems, Problem{Binding: dep, Cause: "the file is missing; it is imported by " + listed(by), Fix: hint})
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Binding, b.Binding) })
		return nil, problems
	}
	return linkFiles(byName, names)
}

func sameFile(a, b *descriptorpb.FileDescriptorProto) bool {
	x, errA := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	y, errB := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// linkFiles makes descriptors of files whose imports are all there.
func linkFiles(byName map[string]*descriptorpb.FileDescriptorProto, names []string) ([]protoreflect.FileDescriptor, []Problem) {
	var files protoregistry.Files
	var linked []protoreflect.FileDescriptor
	var problems []Problem
	const open, done = 1, 2
	state := map[string]int{}
	var link func(name string) bool
	link = func(name string) bool {
		switch state[name] {
		case open:
			problems = append(problems, Problem{Binding: name, Cause: "the file imports itself, over others perhaps"})
			return false
		case done:
			_, err := files.FindFileByPath(name)
			return err == nil
		}
		state[name] = open
		defer func() { state[name] = done }()
		f := byName[name]
		for _, dep := range f.GetDependency() {
			if !link(dep) {
				return false // said already
			}
		}
		fd, err := protodesc.NewFile(f, &files)
		if err == nil {
			err = files.RegisterFile(fd)
		}
		if err != nil {
			problems = append(problems, Problem{Binding: name, Cause: strings.TrimPrefix(err.Error(), "proto:\u00a0")})
			return false
		}
		linked = append(linked, fd)
		return true
	}
	for _, name := range names {
		link(name)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return linked, nil
}

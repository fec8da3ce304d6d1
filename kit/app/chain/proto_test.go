package chain_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/yumen-io/yumen/kit/app/chain"
)

// orderType is what a file of protobuf with rules would make:
//
//	message Order {
//	  string email = 1 [(buf.validate.field).string.email = true];
//	  int32 quantity = 2 [(buf.validate.field).int32.gte = 1];
//	}
func orderType(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, rules *validate.FieldRules) *descriptorpb.FieldDescriptorProto {
		options := &descriptorpb.FieldOptions{}
		proto.SetExtension(options, validate.E_Field, rules)
		return &descriptorpb.FieldDescriptorProto{Name: proto.String(name), JsonName: proto.String(name), Number: proto.Int32(n), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Options: options}
	}
	email := &validate.FieldRules{}
	email.SetString(stringRules())
	quantity := &validate.FieldRules{}
	quantity.SetInt32(int32Rules())
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("order.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Order"), Field: []*descriptorpb.FieldDescriptorProto{
			field("email", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, email),
			field("quantity", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32, quantity),
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().Get(0)
}

func stringRules() *validate.StringRules {
	r := &validate.StringRules{}
	r.SetEmail(true)
	return r
}

func int32Rules() *validate.Int32Rules {
	r := &validate.Int32Rules{}
	r.SetGte(1)
	return r
}

func message(of protoreflect.MessageDescriptor, email string, quantity int32) *dynamicpb.Message {
	m := dynamicpb.NewMessage(of)
	m.Set(of.Fields().ByName("email"), protoreflect.ValueOfString(email))
	m.Set(of.Fields().ByName("quantity"), protoreflect.ValueOfInt32(quantity))
	return m
}

func TestMessagesOfProtobuf(t *testing.T) {
	of := orderType(t)
	c := must(t, chain.Config{Validation: chain.Validation{Types: []any{dynamicpb.NewMessage(of)}}})
	ran := 0
	err := func(m any) error {
		_, err := c.Unary()(t.Context(), m, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Create"}, func(context.Context, any) (any, error) { ran++; return nil, nil })
		return err
	}
	if e := err(message(of, "a@b.example", 1)); e != nil || ran != 1 {
		t.Error(e)
	}
	st := status.Convert(err(message(of, "nobody", 0)))
	if ran != 1 || st.Code().String() != "InvalidArgument" || reasonIn(st.Message()) != "invalid_request" || len(st.Details()) != 1 {
		t.Fatal(st, ran)
	}
	var got []string
	for _, v := range st.Details()[0].(*errdetails.BadRequest).FieldViolations {
		got = append(got, fmt.Sprint(v.Field, ": ", v.Reason, ": ", v.Description))
	}
	if want := "[email: STRING_EMAIL: must be a valid email address quantity: INT32_GTE: must be greater than or equal to 1]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}

	// Of a stream, each message.
	ss := &feed{stream: stream{ctx: t.Context()}, list: []*dynamicpb.Message{message(of, "a@b.example", 1), message(of, "", 0)}}
	var errs []error
	c.Stream()(nil, ss, &grpc.StreamServerInfo{FullMethod: "/shop.Orders/Follow"}, func(_ any, ss grpc.ServerStream) error {
		for {
			err := ss.RecvMsg(dynamicpb.NewMessage(of))
			if err == io.EOF {
				return nil
			}
			errs = append(errs, err)
		}
	})
	if len(errs) != 2 || errs[0] != nil || status.Code(errs[1]).String() != "InvalidArgument" {
		t.Error(errs)
	}
	if n := c.Stats().Invalid; n != 2 {
		t.Errorf("%d counted", n)
	}
}

// feed is a stream of what is in list.
type feed struct {
	stream
	list []*dynamicpb.Message
}

func (f *feed) RecvMsg(m any) error {
	if len(f.list) == 0 {
		return io.EOF
	}
	proto.Merge(m.(proto.Message), f.list[0])
	f.list = f.list[1:]
	return nil
}

// plainOrder is a message of a codec that is not protobuf's.
type plainOrder struct {
	Email string `json:"email" binding:"email"`
}

func TestMessagesThatAreStructs(t *testing.T) {
	c := must(t, chain.Config{})
	run := func(m any) string {
		_, err := c.Unary()(t.Context(), m, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Create"}, func(context.Context, any) (any, error) { return nil, nil })
		return status.Convert(err).Message()
	}
	for _, one := range []struct {
		m    any
		want string
	}{
		{&plainOrder{"a@b.example"}, ""},
		{&plainOrder{"nobody"}, "one field is not right: email must be an e-mail address (invalid_request)"},
		{nil, ""}, {"text", ""}, {&[]byte{1}, ""}, {(*plainOrder)(nil), ""},
	} {
		if got := run(one.m); got != one.want {
			t.Errorf("%v: got %s, want %s", one.m, got, one.want)
		}
	}
}

// validated is a protobuf message as JSON over HTTP.
func TestJSONOfProtobuf(t *testing.T) {
	c := must(t, chain.Config{})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, err := chain.Bind[*descriptorpb.FileOptions](r)
		if err != nil {
			chain.Refuse(w, r, err)
			return
		}
		io.WriteString(w, in.GetGoPackage())
	}))
	for body, want := range map[string]string{
		`{"goPackage":"a"}`: "200 a",
		`{"goPackage":1}`:   "400 invalid_request",
		`{"go":"a"}`:        "400 invalid_request",
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := fmt.Sprint(w.Code, " ", w.Body)
		if w.Code != 200 {
			got = fmt.Sprint(w.Code, " ", reasonIn(w.Body.String()))
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
}

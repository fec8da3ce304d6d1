//go:build linux

package grpc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/yumen-io/yumen/conformance/gateway"
)

const throughWeb = "[{path: /*, cluster: rpc, filters: [{grpc_web: {}}]}]"

// Browsers speak gRPC-Web: HTTP/1.1, the trailer as a last frame with the high bit set, and where they cannot read bytes,
// all of it in base64. The upstream sees plain gRPC.
func TestGRPCWebUnary(t *testing.T) {
	up := startCalls(t, calls{unary: func(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if kind := strings.Join(md.Get("content-type"), ","); kind != "application/grpc" && kind != "application/grpc+proto" {
			return nil, status.Errorf(codes.Internal, "the upstream saw content-type %s", kind)
		}
		if string(r.GetPayload().GetBody()) == "refuse" {
			return nil, status.Error(codes.NotFound, "no such thing")
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("after", "yes")); err != nil {
			return nil, err
		}
		return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
	}})
	addr, _ := startRPC(t, rpcCluster(up), throughWeb, gateway.GRPCWeb)
	for _, kind := range []string{"application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc-web-text+proto"} {
		t.Run(strings.ReplaceAll(kind, "/", "_"), func(t *testing.T) {
			a := webCall(t, addr, kind, unaryPath, frame(t, payload("hello")))
			if a.err != nil {
				t.Fatal(a.err)
			}
			var got grpc_testing.SimpleResponse
			if len(a.messages) != 1 || proto.Unmarshal(a.messages[0], &got) != nil || string(got.GetPayload().GetBody()) != "hello" {
				t.Errorf("messages %q, want the payload that was sent", a.messages)
			}
			if a.trailer.Get("Grpc-Status") != "0" || a.trailer.Get("After") != "yes" {
				t.Errorf("trailer frame %v, want status 0 and what the upstream added", a.trailer)
			}
			refused := webCall(t, addr, kind, unaryPath, frame(t, payload("refuse")))
			if refused.err != nil || len(refused.messages) > 0 || refused.trailer.Get("Grpc-Status") != "5" || refused.trailer.Get("Grpc-Message") != "no such thing" {
				t.Errorf("a refused call: %+v; want status 5 and its message", refused)
			}
		})
	}
}

// Several messages come in order, each in a frame of its own, before the one with the trailer.
func TestGRPCWebServerStreaming(t *testing.T) {
	const messages, messageBytes = 20, 30_000
	up := newUpstream(t)
	up.register = func(s *grpc.Server) {
		grpc_testing.RegisterTestServiceServer(s, streams{count: messages, bytes: messageBytes})
	}
	up.start()
	addr, _ := startRPC(t, rpcCluster(up), throughWeb, gateway.GRPCWeb)
	for _, kind := range []string{"application/grpc-web+proto", "application/grpc-web-text+proto"} {
		a := webCall(t, addr, kind, "/grpc.testing.TestService/StreamingOutputCall", frame(t, &grpc_testing.StreamingOutputCallRequest{}))
		if a.err != nil || len(a.messages) != messages || a.trailer.Get("Grpc-Status") != "0" {
			t.Fatalf("%s: %d messages, trailer %v, %v; want %d and status 0", kind, len(a.messages), a.trailer, a.err, messages)
		}
		for i, m := range a.messages {
			var got grpc_testing.StreamingOutputCallResponse
			if err := proto.Unmarshal(m, &got); err != nil || !bytes.Equal(got.GetPayload().GetBody(), bytes.Repeat([]byte{byte(i)}, messageBytes)) {
				t.Errorf("%s: message %d is not the one that was sent (%v)", kind, i, err)
			}
		}
	}
}

// streams answers StreamingOutputCall with numbered messages.
type streams struct {
	grpc_testing.UnimplementedTestServiceServer
	count, bytes int
}

func (s streams) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, out grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	for i := range s.count {
		m := &grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: bytes.Repeat([]byte{byte(i)}, s.bytes)}}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// webAnswer is a gRPC-Web answer taken apart.
type webAnswer struct {
	messages [][]byte
	trailer  textproto.MIMEHeader
	err      error
}

func webCall(t *testing.T, addr, kind, path string, body []byte) webAnswer {
	t.Helper()
	isText := strings.Contains(kind, "-text")
	if isText {
		body = []byte(base64.StdEncoding.EncodeToString(body))
	}
	c, err := gateway.Dial(addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Do(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: exam.test\r\nContent-Type: %s\r\nAccept: %s\r\nX-Grpc-Web: 1\r\nContent-Length: %d\r\n\r\n%s",
		path, kind, kind, len(body), body), patience)
	if err != nil {
		return webAnswer{err: err}
	}
	if got := a.Header.Get("Content-Type"); a.Status != 200 || !strings.HasPrefix(got, "application/grpc-web") || strings.Contains(got, "-text") != isText {
		return webAnswer{err: fmt.Errorf("status %d, content-type %q", a.Status, got)}
	}
	// A call refused before it began may have its status in the header alone: clients of gRPC-Web take it there too.
	if a.Body == "" && a.Header.Get("Grpc-Status") != "" {
		return webAnswer{trailer: textproto.MIMEHeader(a.Header)}
	}
	answer := []byte(a.Body)
	if isText {
		if answer, err = decodeText(a.Body); err != nil {
			return webAnswer{err: err}
		}
	}
	return takeApart(answer)
}

// decodeText reads base64 that may be padded wherever a part of the answer ended.
func decodeText(s string) ([]byte, error) {
	var all []byte
	if len(s)%4 != 0 {
		return nil, fmt.Errorf("%d characters of base64 are not whole quadruples", len(s))
	}
	for ; s != ""; s = s[4:] {
		part, err := base64.StdEncoding.DecodeString(s[:4])
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// takeApart reads frames up to the one with the trailer, which must be the last.
func takeApart(body []byte) (a webAnswer) {
	for len(body) > 0 {
		if len(body) < 5 {
			a.err = fmt.Errorf("%d bytes where a frame should begin", len(body))
			return a
		}
		flag, size := body[0], int(binary.BigEndian.Uint32(body[1:5]))
		if body = body[5:]; len(body) < size {
			a.err = fmt.Errorf("a frame of %d bytes has %d", size, len(body))
			return a
		}
		content := body[:size]
		body = body[size:]
		switch {
		case flag == 0x80:
			// Some end the last line and some do not.
			lines := bufio.NewReader(strings.NewReader(strings.TrimRight(string(content), "\r\n") + "\r\n\r\n"))
			a.trailer, a.err = textproto.NewReader(lines).ReadMIMEHeader()
			if a.err == nil && len(body) > 0 {
				a.err = fmt.Errorf("%d bytes behind the trailer", len(body))
			}
			return a
		case flag == 0:
			a.messages = append(a.messages, content)
		default:
			a.err = fmt.Errorf("a frame with flag %#x", flag)
			return a
		}
	}
	a.err = errors.New("no frame with the trailer")
	return a
}

func TestWebAnswersAreTakenApart(t *testing.T) {
	message, trailer := "\x00\x00\x00\x00\x02hi", "\x80\x00\x00\x00\x10grpc-status: 0\r\n"
	for _, c := range []struct {
		body     string
		messages int
		status   string
		fails    bool
	}{
		{message + message + trailer, 2, "0", false},
		{trailer, 0, "0", false},
		{message, 1, "", true},
		{message + trailer + message, 1, "0", true},
		{"\x00\x00", 0, "", true},
		{"\x00\x00\x00\x00\x09hi", 0, "", true},
		{"\x01\x00\x00\x00\x00", 0, "", true},
	} {
		a := takeApart([]byte(c.body))
		if len(a.messages) != c.messages || a.trailer.Get("Grpc-Status") != c.status || (a.err != nil) != c.fails {
			t.Errorf("takeApart(%q) = %+v", c.body, a)
		}
	}
	if got, err := decodeText("aGk=aA==aGlo"); string(got) != "hihhih" || err != nil {
		t.Errorf("padding in between: %q, %v", got, err)
	}
}

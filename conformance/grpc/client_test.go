//go:build linux

package grpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/yumen-io/yumen/conformance/gateway"
)

const unaryPath = "/grpc.testing.TestService/UnaryCall"

// dial is a grpc-go client over h2c that never tries a call again by its own policy.
func dial(t *testing.T, addr string) grpc_testing.TestServiceClient {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return grpc_testing.NewTestServiceClient(c)
}

// startRPC runs the gateway with an h2c listener for a cluster and routes, and says where it listens. The cluster is
// written as in a document ("{endpoints: ...}"), its name is rpc.
func startRPC(t *testing.T, cluster, routes string, needs ...gateway.Feature) (addr string, p *gateway.Process) {
	t.Helper()
	gateway.Require(t, append([]gateway.Feature{gateway.H2CListener, gateway.H2CCluster}, needs...)...)
	addr = gateway.FreeAddr(t)
	p = gateway.Start(t, fmt.Sprintf("listeners: [{name: rpc, address: %q, protocols: [h2c, http1]}]\ndrain: {timeout: 15s, idle: 1s}\n"+
		"clusters: {rpc: %s}\nroutes: %s\n", addr, cluster, routes), gateway.Options{})
	return addr, p
}

// rpcCluster is a cluster of h2c endpoints.
func rpcCluster(upstreams ...*upstream) string {
	list := ""
	for i, u := range upstreams {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf("%q", u.addr)
	}
	return "{endpoints: [" + list + "], protocol: h2c}"
}

const allToRPC = "[{path: /*, cluster: rpc}]"

// rawAnswer is what a call looks like below gRPC.
type rawAnswer struct {
	status          int
	header, trailer http.Header
	body            []byte
}

// grpcStatus is where a client finds it: in the trailer, or in the header of an answer that is nothing else.
func (a *rawAnswer) grpcStatus() (code, message string) {
	if code := a.header.Get("Grpc-Status"); code != "" {
		return code, a.header.Get("Grpc-Message")
	}
	return a.trailer.Get("Grpc-Status"), a.trailer.Get("Grpc-Message")
}

// rawCall sends a unary call as plain HTTP/2 over h2c: what grpc-go's client would tidy up stays visible.
func rawCall(t *testing.T, addr, path string, body []byte, fields ...string) *rawAnswer {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatalf("calling %s: %v", path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("calling %s: reading the answer: %v", path, err)
	}
	return &rawAnswer{resp.StatusCode, resp.Header, resp.Trailer, got}
}

// frame is a message with gRPC's prefix: a flag and four bytes of length.
func frame(t *testing.T, m proto.Message) []byte {
	t.Helper()
	text, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

// payload is a request whose answer is known: the same bytes.
func payload(text string) *grpc_testing.SimpleRequest {
	return &grpc_testing.SimpleRequest{Payload: &grpc_testing.Payload{Body: []byte(text)}}
}

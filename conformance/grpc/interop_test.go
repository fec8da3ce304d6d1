//go:build linux

package grpc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/yumen-io/yumen/conformance/gateway"
	"github.com/yumen-io/yumen/conformance/peer"
)

// way is a way from the interop client to the interop server. With an identity both sides speak TLS, else h2c. start
// brings up what is between them and says where it listens.
type way struct {
	name  string
	start func(t *testing.T, upstream string, id *gateway.Identity) (addr string)
	// known are cases that a peer is known to fail now and then, with the reason. Ours has none.
	known map[string]string
}

var ways = []way{
	{"direct", func(_ *testing.T, upstream string, _ *gateway.Identity) string { return upstream }, nil},
	{"haproxy", startHAProxy, map[string]string{
		"rpc_soak":     stalledUploads,
		"channel_soak": stalledUploads,
	}},
	{"yumen", startYumen, nil},
}

const stalledUploads = "HAProxy 2.6: large uploads that share a connection stall now and then, with TLS and without; direct they never do"

// TestInterop plays each case each way, without and with TLS.
func TestInterop(t *testing.T) {
	for _, w := range ways {
		for _, overTLS := range []bool{false, true} {
			name, id := "h2c", (*gateway.Identity)(nil)
			if overTLS {
				name, id = "tls", gateway.NewIdentity(t)
			}
			t.Run(w.name+"-"+name, func(t *testing.T) {
				t.Parallel()
				addr := w.start(t, serveInterop(t, id), id)
				for _, c := range interopCases {
					t.Run(c.name, func(t *testing.T) {
						if reason := w.known[c.name]; reason != "" {
							t.Skip(reason)
						}
						runCase(t, c.name, addr, id)
					})
				}
			})
		}
	}
}

// runCase plays a case in a child and shows what it said if it failed.
func runCase(t *testing.T, name, addr string, id *gateway.Identity) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), caseMax+patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), caseEnv+"="+name, targetEnv+"="+addr,
		"GORACE=atexit_sleep_ms=0") // the race detector would have each child wait a second at its end
	if id != nil {
		cmd.Env = append(cmd.Env, rootsEnv+"="+id.CertFile)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// serveInterop runs grpc-go's test server.
func serveInterop(t *testing.T, id *gateway.Identity) string {
	t.Helper()
	var options []grpc.ServerOption
	if id != nil {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&id.Certificate)))
	}
	u := newUpstream(t, options...)
	u.register = func(s *grpc.Server) { grpc_testing.RegisterTestServiceServer(s, interop.NewTestServer()) }
	u.start()
	return u.addr
}

func startHAProxy(t *testing.T, upstream string, id *gateway.Identity) string {
	addr := gateway.FreeAddr(t)
	bind, server := "proto h2", "proto h2"
	if id != nil {
		bind = "ssl crt " + id.PairFile + " alpn h2"
		server = "ssl verify required ca-file " + id.CertFile + " sni str(localhost) alpn h2"
	}
	peer.HAProxy(t, fmt.Sprintf("frontend f\n  bind %s %s\n  default_backend b\nbackend b\n  server s %s %s", addr, bind, upstream, server), addr)
	return addr
}

func startYumen(t *testing.T, upstream string, id *gateway.Identity) string {
	addr := gateway.FreeAddr(t)
	listener, cluster := "protocols: [h2c]", "protocol: h2c"
	if id == nil {
		gateway.Require(t, gateway.H2CListener, gateway.H2CCluster)
	} else {
		gateway.Require(t, gateway.TLSListener, gateway.H2Cluster)
		listener = fmt.Sprintf("tls: {certificates: [{cert: %q, key: %q}]}", id.CertFile, id.KeyFile)
		cluster = fmt.Sprintf("protocol: h2, tls: {ca: %q, sni: localhost}", id.CertFile)
	}
	gateway.Start(t, fmt.Sprintf("listeners: [{name: rpc, address: %q, %s}]\nclusters: {rpc: {endpoints: [%q], %s}}\n"+
		"routes: [{path: /*, cluster: rpc}]\n", addr, listener, upstream, cluster), gateway.Options{})
	return addr
}

//go:build linux

package grpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
)

// The environment of a child process that plays one interop case.
const (
	caseEnv   = "YUMEN_INTEROP_CASE"
	targetEnv = "YUMEN_INTEROP_TARGET" // host:port
	rootsEnv  = "YUMEN_INTEROP_ROOTS"  // a PEM file; unset for a connection without TLS
)

// caseMax bounds a case; the longest sends some megabytes.
const caseMax = 20 * time.Second

// interopCase is one standard case. It ends the process if it fails.
type interopCase struct {
	name string
	play func(ctx context.Context, c *grpc.ClientConn)
}

// interopCases are the standard cases of grpc-go's client but those that need Google's accounts, load balancing by the
// client, or reports of load.
var interopCases = []interopCase{
	{"empty_unary", service(interop.DoEmptyUnaryCall)},
	{"large_unary", service(interop.DoLargeUnaryCall)},
	{"client_streaming", service(interop.DoClientStreaming)},
	{"server_streaming", service(interop.DoServerStreaming)},
	{"ping_pong", service(interop.DoPingPong)},
	{"empty_stream", service(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", service(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", service(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", service(interop.DoCancelAfterFirstResponse)},
	{"custom_metadata", service(interop.DoCustomMetadata)},
	{"status_code_and_message", service(interop.DoStatusCodeAndMessage)},
	{"special_status_message", service(interop.DoSpecialStatusMessage)},
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"unimplemented_service", func(ctx context.Context, c *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(c))
	}},
	{"rpc_soak", soak(false)},
	{"channel_soak", soak(true)},
}

func service(play func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, c *grpc.ClientConn) { play(ctx, grpc_testing.NewTestServiceClient(c)) }
}

// soak is a small one: what is wanted is its mix of sizes and of connections, not its length.
func soak(freshConnections bool) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, c *grpc.ClientConn) {
		interop.DoSoakTest(ctx, interop.SoakTestConfig{
			RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: 5 * time.Second,
			OverallTimeout: caseMax, ServerAddr: os.Getenv(targetEnv), NumWorkers: 4, Iterations: 20,
			ChannelForTest: func() (*grpc.ClientConn, func()) {
				if !freshConnections {
					return c, func() {}
				}
				fresh, err := dialTarget()
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				return fresh, func() { fresh.Close() }
			},
		})
	}
}

// playCase is the life of a child process.
func playCase(name string) int {
	for _, c := range interopCases {
		if c.name != name {
			continue
		}
		conn, err := dialTarget()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), caseMax)
		defer cancel()
		c.play(ctx, conn)
		return 0
	}
	fmt.Fprintf(os.Stderr, "no interop case is named %q\n", name)
	return 2
}

func dialTarget() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if path := os.Getenv(rootsEnv); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		creds = credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"})
	}
	return grpc.NewClient("passthrough:///"+os.Getenv(targetEnv), grpc.WithTransportCredentials(creds), grpc.WithDisableRetry())
}

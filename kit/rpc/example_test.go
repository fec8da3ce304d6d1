package rpc_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/yumen-io/yumen/kit/rpc"
)

// Two servers share the calls of a client, until one of them drains. With a Registry the target is yumen:///orders, and
// nothing else changes. What is called here is gRPC's own health service, to have one without generated code.
func Example() {
	if err := program(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// both answer
	// one says that it is about to go, and the other answers everything
	// /debug/lb: 2 endpoints, 1 of them ready
}

func program() error {
	one, health, err := serve()
	if err != nil {
		return err
	}
	defer one.Stop()
	two, _, err := serve()
	if err != nil {
		return err
	}
	defer two.Stop()

	// What a caller does, once in main.
	client, err := rpc.New(rpc.Config{})
	if err != nil {
		return err
	}
	conn, err := client.Dial("static:///"+one.address+","+two.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	// In a service: http.Handle("/debug/lb", client.DebugHandler()), on a port for administrators.

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answered := map[string]int{}
	for len(answered) < 2 {
		if err := call(ctx, conn, answered); err != nil {
			return err
		}
	}
	fmt.Println("both answer")

	health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for client.Stats().Ready > 1 {
		if err := call(ctx, conn, answered); err != nil { // nobody notices meanwhile
			return err
		}
	}
	clear(answered)
	for range 100 {
		if err := call(ctx, conn, answered); err != nil {
			return err
		}
	}
	if answered[two.address] == 100 {
		fmt.Println("one says that it is about to go, and the other answers everything")
	}
	s := client.Stats()
	fmt.Printf("/debug/lb: %d endpoints, %d of them ready\n", s.Endpoints, s.Ready)
	return nil
}

type server struct {
	*grpc.Server
	address string
}

// serve is what a server does: it counts its calls, reports its load, and speaks the health protocol.
func serve() (server, *health.Server, error) {
	load, err := rpc.NewReporter(rpc.ReporterConfig{})
	if err != nil {
		return server{}, nil, err
	}
	s := server{Server: grpc.NewServer(load.ServerOptions()...)}
	rpc.RegisterStats(s, load)
	h := health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return server{}, nil, err
	}
	s.address = l.Addr().String()
	go func() { _ = s.Serve(l) }()
	return s, h, nil
}

// call counts who has answered.
func call(ctx context.Context, conn *grpc.ClientConn, answered map[string]int) error {
	var who peer.Peer
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&who), grpc.WaitForReady(true))
	if err == nil {
		answered[who.Addr.String()]++
	}
	return err
}

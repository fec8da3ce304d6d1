package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The Stats service, described by hand so that nobody has to generate code: one method, from google.protobuf.Empty to a
// google.protobuf.Struct of numbers.
//
//	cpu         share of the processors the process may use, 0 to 1
//	memory      share of the memory the process may use, 0 to 1
//	in_flight   calls that are being handled
//	latency_ms  what calls have taken lately, a geometric mean; absent before the first
//	qps, eps    calls and failures a second
const (
	statsService  = "yumen.kit.rpc.v1.Stats"
	loadMethod    = "/" + statsService + "/Load"
	fieldCPU      = "cpu"
	fieldMemory   = "memory"
	fieldInFlight = "in_flight"
	fieldLatency  = "latency_ms"
	fieldQPS      = "qps"
	fieldEPS      = "eps"

	// latencyMetric is the latency's name among the named metrics of an ORCA report.
	latencyMetric = "yumen.latency_ms"
)

type statsServer interface {
	serveLoad(context.Context, *emptypb.Empty) (*structpb.Struct, error)
}

func statsDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: statsService,
		HandlerType: (*statsServer)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Load", Handler: handleLoad}},
	}
}

// handleLoad is what generated code would be.
func handleLoad(srv any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
	in := &emptypb.Empty{}
	if err := decode(in); err != nil {
		return nil, err
	}
	if through == nil {
		return srv.(statsServer).serveLoad(ctx, in)
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: loadMethod}
	return through(ctx, in, info, func(ctx context.Context, in any) (any, error) {
		return srv.(statsServer).serveLoad(ctx, in.(*emptypb.Empty))
	})
}

// RegisterStats has a server answer probes with what r reports. Serve it where the gRPC health protocol is served: clients
// ask on the connection on which they call. It needs no more rights than that protocol does.
func RegisterStats(s grpc.ServiceRegistrar, r *Reporter) { s.RegisterService(statsDesc(), r) }

// serveLoad answers a probe.
func (r *Reporter) serveLoad(context.Context, *emptypb.Empty) (*structpb.Struct, error) {
	l := r.Load()
	fields := map[string]*structpb.Value{
		fieldCPU:      structpb.NewNumberValue(l.CPU),
		fieldMemory:   structpb.NewNumberValue(l.Memory),
		fieldInFlight: structpb.NewNumberValue(float64(l.InFlight)),
		fieldQPS:      structpb.NewNumberValue(l.QPS),
		fieldEPS:      structpb.NewNumberValue(l.EPS),
	}
	if l.Latency > 0 {
		fields[fieldLatency] = structpb.NewNumberValue(milliseconds(l.Latency))
	}
	return &structpb.Struct{Fields: fields}, nil
}

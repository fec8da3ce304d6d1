package retry

import (
	"context"
	"strconv"
	"time"

	core "github.com/yumen-io/yumen/policy/retry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// KeyFunc says whose budget a call's is. method is its full name, as in /shop.Orders/Create.
type KeyFunc func(ctx context.Context, method string) string

// UnaryClient tries calls again that ended with one of Config.Codes; with WithIdempotent also those that ended with UNAVAILABLE, or took
// longer than PerTry. With a nil key each connection's target has a budget. A hedged call must not have options that give something
// back (grpc.Header, Trailer, Peer, OnFinish), nor a reply that is no proto.Message; else it is not hedged.
func (r *Retrier) UnaryClient(key KeyFunc) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		message, ok := reply.(proto.Message)
		vouched := isIdempotent(ctx)
		x := &exchange{
			key: clientKey(ctx, key, method, cc), idempotent: vouched, replayable: true, drop: func(ending) {},
			hedges: vouched && ok && r.at.Load().cfg.Hedge.on() && givesNothingBack(opts),
		}
		policy := r.at.Load().policy
		x.send = func(ctx context.Context, _ int) ending {
			into := reply
			if x.hedges { // two write at the same time
				into = message.ProtoReflect().New().Interface()
			}
			var trailer metadata.MD
			err := invoke(ctx, method, req, into, cc, append(opts[:len(opts):len(opts)], grpc.Trailer(&trailer))...)
			e := judgeStatus(policy, err, vouched)
			e.result = into
			e.pushback = pushback(trailer)
			return e
		}
		e := r.run(ctx, x)
		e.end()
		if x.hedges && e.err == nil {
			proto.Reset(message)
			proto.Merge(message, e.result.(proto.Message))
		}
		return asStatus(e.err)
	}
}

// StreamClient tries again while a stream begins. What happens to it later is for its caller: nobody else knows what was said. In
// grpc-go most streams begin without asking the server, so that few fail here.
func (r *Retrier) StreamClient(key KeyFunc) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		vouched := isIdempotent(ctx)
		policy := r.at.Load().policy
		x := &exchange{key: clientKey(ctx, key, method, cc), idempotent: vouched, replayable: true, drop: func(ending) {}}
		x.send = func(ctx context.Context, _ int) ending {
			stream, err := open(ctx, desc, cc, method, opts...)
			e := judgeStatus(policy, err, vouched)
			e.result = stream
			return e
		}
		e := r.run(ctx, x)
		if e.err != nil {
			e.end()
			return nil, asStatus(e.err)
		}
		stream := e.result.(grpc.ClientStream)
		context.AfterFunc(stream.Context(), e.end) // grpc-go ends a stream's context with the stream
		return stream, nil
	}
}

func clientKey(ctx context.Context, key KeyFunc, method string, cc *grpc.ClientConn) string {
	if key == nil {
		return cc.Target()
	}
	return key(ctx, method)
}

// judgeStatus sorts how a call ended.
func judgeStatus(policy *core.Policy, err error, idempotent bool) ending {
	if err == nil {
		return ending{ok: true}
	}
	code := status.Code(err)
	e := judge(err)
	switch {
	case e.final:
	case policy.RetriesGRPCStatus(core.GRPCStatus(code)):
		e.failure, e.untouched, e.grpc = core.BadStatus, false, core.GRPCStatus(code)
	case code == codes.Unavailable && idempotent:
		e.failure, e.untouched = core.Reset, false
	case code == codes.Canceled:
		e.final = true
	default:
		e.failure, e.untouched = core.BadStatus, false // an answer that nobody wants to have again
	}
	return e
}

// pushback reads what a server says of the next try (gRFC A6): milliseconds, or a negative number: never. 0 if it says nothing.
func pushback(md metadata.MD) time.Duration {
	list := md.Get("grpc-retry-pushback-ms")
	if len(list) == 0 {
		return 0
	}
	ms, err := strconv.ParseInt(list[0], 10, 32)
	if err != nil || ms < 0 {
		return -1 // what cannot be read is a no, says the same paper
	}
	return time.Duration(ms) * time.Millisecond
}

// givesNothingBack tells whether two calls may have the options at the same time.
func givesNothingBack(opts []grpc.CallOption) bool {
	for _, o := range opts {
		switch o.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
			return false
		}
	}
	return true
}

// asStatus is err as callers of gRPC know errors.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}

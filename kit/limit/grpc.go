package limit

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// KeyFunc says by which key a call counts. method is its full name, as in /shop.Orders/Create.
type KeyFunc func(ctx context.Context, method string) string

func (f KeyFunc) of(ctx context.Context, method string) string {
	if f == nil {
		return ""
	}
	return f(ctx, method)
}

// UnaryServer limits the calls that a server takes. A refusal is RESOURCE_EXHAUSTED, or UNAVAILABLE if nobody could
// judge, with a RetryInfo and grpc-retry-pushback-ms if it is known when to come again. With a nil key all calls count together.
func (l *Limiter) UnaryServer(key KeyFunc) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		p, err := l.Take(ctx, key.of(ctx, info.FullMethod), 1)
		if err != nil {
			if refusal := (*Error)(nil); errors.As(err, &refusal) {
				grpc.SetTrailer(ctx, refusal.refusal().Trailer())
				return nil, err
			}
			return nil, status.FromContextError(err).Err()
		}
		defer p.Release()
		return handler(ctx, req)
	}
}

// StreamServer is UnaryServer for streams, which are judged once, when they begin.
func (l *Limiter) StreamServer(key KeyFunc) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		p, err := l.Take(ss.Context(), key.of(ss.Context(), info.FullMethod), 1)
		if err != nil {
			if refusal := (*Error)(nil); errors.As(err, &refusal) {
				ss.SetTrailer(refusal.refusal().Trailer())
				return err
			}
			return status.FromContextError(err).Err()
		}
		defer p.Release()
		return handler(srv, ss)
	}
}

// UnaryClient limits the calls that a client makes. With a nil key they count by the connection's target. A refusal is an
// *Error, and nothing was sent.
func (l *Limiter) UnaryClient(key KeyFunc) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		p, err := l.Take(ctx, clientKey(ctx, key, method, cc), 1)
		if err != nil {
			return clientError(err)
		}
		defer p.Release()
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// StreamClient is UnaryClient for streams. A place of a Concurrency limit is held until the stream has ended.
func (l *Limiter) StreamClient(key KeyFunc) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		p, err := l.Take(ctx, clientKey(ctx, key, method, cc), 1)
		if err != nil {
			return nil, clientError(err)
		}
		if p.cell == nil {
			return open(ctx, desc, cc, method, opts...)
		}
		release := sync.OnceFunc(p.Release) // a stream that cannot be opened may tell both ways
		stream, err := open(ctx, desc, cc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(func(error) { release() }))...)
		if err != nil {
			release()
		}
		return stream, err
	}
}

func clientKey(ctx context.Context, key KeyFunc, method string, cc *grpc.ClientConn) string {
	if key == nil {
		return cc.Target()
	}
	return key(ctx, method)
}

// clientError is err as callers of gRPC know errors: a refusal is a status by itself.
func clientError(err error) error {
	if errors.Is(err, ErrRefused) {
		return err
	}
	return status.FromContextError(err).Err()
}

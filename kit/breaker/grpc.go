package breaker

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// KeyFunc says which breaker a call has. method is its full name, as in /shop.Orders/Create.
type KeyFunc func(ctx context.Context, method string) string

// UnaryClient guards the calls that a client makes. With a nil key each connection's target has a breaker. Failures are
// Config.Codes, and DEADLINE_EXCEEDED. A refusal is an *Error (UNAVAILABLE), and nothing was sent.
func (b *Breaker) UnaryClient(key KeyFunc) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		c, err := b.Begin(clientKey(ctx, key, method, cc))
		if err != nil {
			return err
		}
		err = invoke(ctx, method, req, reply, cc, opts...)
		c.endStatus(ctx, err)
		return err
	}
}

// StreamClient is UnaryClient for streams, which end with their status. A stream counts with all the time that it was open: give long
// ones a Breaker without SlowThan and without the adaptive rule.
func (b *Breaker) StreamClient(key KeyFunc) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		c, err := b.Begin(clientKey(ctx, key, method, cc))
		if err != nil {
			return nil, err
		}
		var once sync.Once
		end := func(err error) { once.Do(func() { c.endStatus(ctx, err) }) }
		stream, err := open(ctx, desc, cc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(end))...)
		if err != nil {
			end(err)
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

// UnaryServer guards a server's own methods. With a nil key each method has a breaker. A refusal is UNAVAILABLE with a RetryInfo and
// grpc-retry-pushback-ms (gRFC A6). What a client cancelled does not count, nor a deadline of its own.
func (b *Breaker) UnaryServer(key KeyFunc) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		c, err := b.Begin(serverKey(ctx, key, info.FullMethod))
		if err != nil {
			grpc.SetTrailer(ctx, trailer(err))
			return nil, err
		}
		defer c.endPanic()
		resp, err := handler(ctx, req)
		c.endServer(ctx, err)
		c.entry = nil
		return resp, err
	}
}

// StreamServer is UnaryServer for streams, as StreamClient is for UnaryClient.
func (b *Breaker) StreamServer(key KeyFunc) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		c, err := b.Begin(serverKey(ss.Context(), key, info.FullMethod))
		if err != nil {
			ss.SetTrailer(trailer(err))
			return err
		}
		defer c.endPanic()
		err = handler(srv, ss)
		c.endServer(ss.Context(), err)
		c.entry = nil
		return err
	}
}

func serverKey(ctx context.Context, key KeyFunc, method string) string {
	if key == nil {
		return method
	}
	return key(ctx, method)
}

func trailer(err error) metadata.MD {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.refusal().Trailer()
	}
	return nil
}

// endStatus says that a call ended with err, as clients of gRPC know errors.
func (c Call) endStatus(ctx context.Context, err error) {
	code := status.Code(err)
	switch {
	case err == nil:
		c.End(Success)
	case code == codes.DeadlineExceeded:
		c.EndError(ctx, context.DeadlineExceeded)
	case code == codes.Canceled, Classify(ctx, err) == Ignored:
		c.End(Ignored)
	case c.entry != nil && c.by.settings.failsCode(code):
		c.End(Failure)
	default:
		c.End(Success) // it answered
	}
}

// endServer is for a server's own methods: the client's deadline is its own word.
func (c Call) endServer(ctx context.Context, err error) {
	if ctx.Err() != nil {
		c.End(Ignored)
		return
	}
	c.endStatus(ctx, err)
}

// endPanic counts a call whose handler panicked.
func (c *Call) endPanic() {
	if c.entry != nil {
		c.End(Failure)
	}
}

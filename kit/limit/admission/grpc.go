package admission

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// AskFunc says who asks. method is the full name of a call, as in /shop.Orders/Create.
type AskFunc func(ctx context.Context, method string) Request

func (f AskFunc) of(ctx context.Context, method string) Request {
	if f == nil {
		return Request{}
	}
	return f(ctx, method)
}

// UnaryServer has calls enter before the handler gets them; with a nil ask all are one tenant's. A refusal is UNAVAILABLE with a
// RetryInfo and grpc-retry-pushback-ms. Calls that fail in the server (UNKNOWN, INTERNAL, UNAVAILABLE, UNIMPLEMENTED, DATA_LOSS) do not count
// as work, nor what a client left.
func (d *Door) UnaryServer(ask AskFunc) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		place, err := d.Enter(ctx, ask.of(ctx, info.FullMethod))
		if err != nil {
			trailer, err := refused(err)
			grpc.SetTrailer(ctx, trailer)
			return nil, err
		}
		o := Failed // unless the handler returns
		defer func() { place.Leave(o) }()
		resp, err := handler(ctx, req)
		o = outcomeOfError(ctx, err)
		return resp, err
	}
}

// StreamServer is UnaryServer for streams. The latency ends with the first message that the server sends.
func (d *Door) StreamServer(ask AskFunc) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx := ss.Context()
		place, err := d.Enter(ctx, ask.of(ctx, info.FullMethod))
		if err != nil {
			trailer, err := refused(err)
			ss.SetTrailer(trailer)
			return err
		}
		o := Failed
		defer func() { place.Leave(o) }()
		err = handler(srv, &stream{ServerStream: ss, place: &place})
		o = outcomeOfError(ctx, err)
		return err
	}
}

// stream notes when a server's first message goes.
type stream struct {
	grpc.ServerStream
	place *Place
	begun sync.Once
}

func (s *stream) SendMsg(m any) error {
	s.begun.Do(func() { s.place.Began(Worked) })
	return s.ServerStream.SendMsg(m)
}

// UnaryClient has the calls that a client makes enter first: the door stands in front of one service then, and each service has one of
// its own. A refusal is an *Error, and nothing was sent.
func (d *Door) UnaryClient(ask AskFunc) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		place, err := d.Enter(ctx, ask.of(ctx, method))
		if err != nil {
			_, err := refused(err)
			return err
		}
		o := Failed
		defer func() { place.Leave(o) }()
		err = invoke(ctx, method, req, reply, cc, opts...)
		o = outcomeOfError(ctx, err)
		return err
	}
}

// StreamClient is UnaryClient for streams, which hold their place until they have ended, and count with the time until then: give long
// ones a door of their own, or none.
func (d *Door) StreamClient(ask AskFunc) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		place, err := d.Enter(ctx, ask.of(ctx, method))
		if err != nil {
			_, err := refused(err)
			return nil, err
		}
		var once sync.Once // a stream that cannot be opened may tell both ways
		leave := func(err error) { once.Do(func() { place.Leave(outcomeOfError(ctx, err)) }) }
		cs, err := open(ctx, desc, cc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(leave))...)
		if err != nil {
			leave(err)
		}
		return cs, err
	}
}

// refused is an error of Enter as callers of gRPC know errors: a refusal is a status by itself.
func refused(err error) (metadata.MD, error) {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.refusal().Trailer(), err
	}
	return nil, status.FromContextError(err).Err()
}

// outcomeOfError is what an error of a call, of gRPC or HTTP, says of how busy things are. What a client left says nothing; what
// had no answer in time says how long that was.
func outcomeOfError(ctx context.Context, err error) Outcome {
	switch {
	case goneAway(ctx):
		return Failed
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		return Worked
	}
	switch status.Code(err) {
	case codes.Unknown, codes.Internal, codes.Unavailable, codes.Unimplemented, codes.DataLoss, codes.Canceled:
		return Failed
	}
	return Worked
}

func goneAway(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

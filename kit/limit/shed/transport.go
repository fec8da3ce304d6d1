package shed

import (
	"context"
	"errors"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/yumen-io/yumen/kit/limit"
)

// Middleware judges requests before the handler gets them. priority says how important one is; nil: all are Normal. What clients
// write in a header they can write as they like: take the word from a token, or limit it. A refusal is 503 with Retry-After.
func (s *Shedder) Middleware(priority func(*http.Request) limit.Priority) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := limit.Normal
			if priority != nil {
				p = priority(r)
			}
			if refusal := (*Error)(nil); errors.As(s.Allow(p), &refusal) {
				refusal.refusal().Write(w)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// PriorityFunc says how important a call is. method is its full name, as in /shop.Orders/Create.
type PriorityFunc func(ctx context.Context, method string) limit.Priority

func (f PriorityFunc) of(ctx context.Context, method string) limit.Priority {
	if f == nil {
		return limit.Normal
	}
	return f(ctx, method)
}

// UnaryServer judges calls before the handler gets them; with a nil priority all are Normal. A refusal is UNAVAILABLE with a RetryInfo and
// grpc-retry-pushback-ms.
func (s *Shedder) UnaryServer(priority PriorityFunc) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := s.Allow(priority.of(ctx, info.FullMethod)); err != nil {
			grpc.SetTrailer(ctx, trailer(err))
			return nil, err
		}
		return handler(ctx, req)
	}
}

// StreamServer is UnaryServer for streams, which are judged once, when they begin.
func (s *Shedder) StreamServer(priority PriorityFunc) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := s.Allow(priority.of(ss.Context(), info.FullMethod)); err != nil {
			ss.SetTrailer(trailer(err))
			return err
		}
		return handler(srv, ss)
	}
}

func trailer(err error) metadata.MD {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.refusal().Trailer()
	}
	return nil
}

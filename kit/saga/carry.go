package saga

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// What follows lets a key travel by itself, so that a Remote cannot forget to send it: the context of its Do and Undo has the
// key, clients with RoundTripper or UnaryClient send it along, and services with Middleware or UnaryServer have it in the context of
// the request, where KeyFrom finds it for Party.Do.

// metadataKey is HeaderKey as gRPC spells it.
const metadataKey = "saga-key"

type keyInContext struct{}

// KeyFrom returns the key of the effect that ctx is about: within a Remote's Do and Undo that of the step, within a service behind Middleware or
// UnaryServer that of the request. Without one it is "", which Party.Do and Party.Guard refuse with ErrKey.
func KeyFrom(ctx context.Context) string {
	key, _ := ctx.Value(keyInContext{}).(string)
	return key
}

func withKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyInContext{}, key)
}

// RoundTripper sends the key of the request's context in the field HeaderKey, through next; nil means http.DefaultTransport. A field that is set
// already is left alone, and so are requests without a key: it may serve all that a program asks for. But then a key also goes to services
// that have nothing to do with the step.
func RoundTripper(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return roundTripper{next}
}

type roundTripper struct{ next http.RoundTripper }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if key := KeyFrom(r.Context()); key != "" && r.Header.Get(HeaderKey) == "" {
		r = r.Clone(r.Context()) // which a RoundTripper must not change
		r.Header.Set(HeaderKey, key)
	}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t roundTripper) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// UnaryClient is RoundTripper for calls of gRPC.
func UnaryClient() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if key := KeyFrom(ctx); key != "" {
			if md, _ := metadata.FromOutgoingContext(ctx); len(md[metadataKey]) == 0 {
				ctx = metadata.AppendToOutgoingContext(ctx, metadataKey, key)
			}
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
}

// Middleware puts the key that a request has in the field HeaderKey into its context. Whether it is one is for Party.Do to say. Requests without a
// key go on as they are. Who may send keys may have effects refused: take them from services that you know, and not from outside.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get(HeaderKey); key != "" {
			r = r.WithContext(withKey(r.Context(), key))
		}
		next.ServeHTTP(w, r)
	})
}

// UnaryServer is Middleware for calls of gRPC.
func UnaryServer() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if key := metadata.ValueFromIncomingContext(ctx, metadataKey); len(key) == 1 {
			ctx = withKey(ctx, key[0])
		}
		return handler(ctx, req)
	}
}

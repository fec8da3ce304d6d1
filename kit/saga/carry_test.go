package saga

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
)

// A saga whose Remotes say nothing of keys, over HTTP and gRPC: the services have each effect once, under the key of its step.
func TestKeysTravelByThemselves(t *testing.T) {
	db := sqliteMemory(t)
	l, p := newLog(t, db, SQLite, nil), newParty(t, db, SQLite, nil)
	var seen []string
	effect := func(ctx context.Context) error {
		_, err := p.Do(ctx, KeyFrom(ctx), func(*sql.Tx) ([]byte, error) {
			k, err := ParseKey(KeyFrom(ctx))
			kind := "do"
			if k.Undo {
				kind = "undo"
			}
			seen = append(seen, k.Step+" "+kind)
			return nil, err
		})
		return err
	}
	web := httptest.NewServer(Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := effect(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})))
	defer web.Close()
	client := &http.Client{Transport: RoundTripper(web.Client().Transport)}
	get := func(ctx context.Context, field string) error {
		r, err := http.NewRequestWithContext(ctx, "POST", web.URL, nil)
		if err != nil {
			return err
		}
		if field != "" {
			r.Header.Set(HeaderKey, field)
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return nil
	}
	stub := servers.Dial(t, &servers.Server{OnCheck: effect}, []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServer())}, grpc.WithUnaryInterceptor(UnaryClient()))
	call := func(ctx context.Context) error {
		_, err := stub.Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	}
	twice := func(f func(context.Context) error) func(context.Context, *Call[int]) error {
		return func(ctx context.Context, c *Call[int]) error {
			if KeyFrom(ctx) != c.Key() {
				t.Errorf("the context has the key %q, the call %q", KeyFrom(ctx), c.Key())
			}
			return errors.Join(f(ctx), f(ctx)) // a request that is repeated on its way
		}
	}
	plan, err := Define(Plan[int]{Name: "p", Version: 1, Steps: []Step[int]{
		Remote[int]{Name: "web", Do: twice(func(ctx context.Context) error { return get(ctx, "") }), Undo: twice(func(ctx context.Context) error { return get(ctx, "") })},
		Remote[int]{Name: "rpc", Do: twice(call), Undo: twice(call)},
		Remote[int]{Name: "no", Do: func(context.Context, *Call[int]) error { return Failed(errors.New("no")) }},
	}})
	must(t, err)
	e, err := New(Config{Log: l, Definitions: []AnyDefinition{plan}, Logger: silent()})
	must(t, err)
	must(t, plan.Start(t.Context(), l, db, "s", 0))
	_, err = e.RunDue(t.Context())
	must(t, err)
	if want := []string{"web do", "rpc do", "rpc undo", "web undo"}; !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}

	// Without a key nothing happens, and a key that is set is sent.
	if get(t.Context(), "") == nil || call(t.Context()) == nil {
		t.Error("an effect without a key")
	}
	seen = nil
	other := Key{Saga: "other", Step: "x", Born: born(t, l)}
	if err := get(withKey(t.Context(), "not this"), other.String()); err != nil || !slices.Equal(seen, []string{"x do"}) {
		t.Errorf("%v, %v", seen, err)
	}
}

// born is a time at which sagas of the log begin.
func born(t *testing.T, l *Log) int64 {
	t.Helper()
	s, err := l.Status(t.Context(), "s")
	must(t, err)
	return s.Born.UnixMilli()
}

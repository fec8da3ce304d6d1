package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/yumen-io/yumen/kit/app"
)

// A whole service: HTTP, gRPC, a port for operators, a database, a check, a registry, and its end. What is registered with gRPC here is nothing, to have
// no generated code; its health service is there by itself.
func Example() {
	if err := service(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// database: connected
	// registry: an instance
	// GET /orders/7: order 7
	// gRPC health: SERVING
	// /readyz: redis ok
	// registry: gone
	// database: closed
}

func service() error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "order %s", r.PathValue("id")) })

	registered := make(chan struct{})
	a, err := app.New(app.Config{
		Name:  "orders",
		HTTP:  app.HTTPConfig{Address: "127.0.0.1:0", Handler: mux},
		GRPC:  app.GRPCConfig{Address: "127.0.0.1:0", Register: func(*grpc.Server) {}}, // orderspb.RegisterOrdersServer(s, orders)
		Admin: app.AdminConfig{Address: "127.0.0.1:0"},                                 // Handler: observe.Admin(metrics)
		Components: []app.Component{{
			Name:  "database",
			Start: func(context.Context) error { fmt.Println("database: connected"); return nil },
			Stop:  func(context.Context) error { fmt.Println("database: closed"); return nil },
		}},
		Checks: []app.Check{{Name: "redis", Critical: true, Run: func(context.Context) error { return nil }}},
		Register: []app.Registrar{func(ctx context.Context, at app.Addresses) (app.Registration, error) {
			// return reg.Register(ctx, registry.Instance{Service: "orders", ID: host, Address: at.GRPC})
			defer close(registered)
			fmt.Println("registry: an instance")
			return registration{}, nil
		}},
		Drain:  app.DrainConfig{Wait: -1, Unready: -1, GoAway: -1}, // an example has nobody to wait for
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background()) }() // in main: return a.Run(context.Background())
	select {
	case <-registered: // a.Ready() is closed just before: then it serves
	case err := <-ended:
		return err
	}

	if err := callers(a.Addresses()); err != nil {
		return err
	}

	// SIGTERM does the same.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		return err
	}
	return <-ended
}

func callers(at app.Addresses) error {
	text, err := get("http://" + at.HTTP + "/orders/7")
	if err != nil {
		return err
	}
	fmt.Println("GET /orders/7:", text)
	conn, err := grpc.NewClient(at.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	health, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	fmt.Println("gRPC health:", health.Status)
	text, err = get("http://" + at.Admin + "/readyz")
	if err != nil {
		return err
	}
	if strings.Contains(text, "\nredis: ok ") {
		fmt.Println("/readyz: redis ok")
	}
	return nil
}

func get(url string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	r.Close = true
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	return string(text), err
}

// registration stands for a *registry.Registration.
type registration struct{}

func (registration) Wait(context.Context) error       { return nil }
func (registration) Deregister(context.Context) error { fmt.Println("registry: gone"); return nil }

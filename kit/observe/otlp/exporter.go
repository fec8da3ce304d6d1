package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

// Defaults of Config.
const (
	AddressDefault = "127.0.0.1:4317" // the port of OTLP over gRPC, of a collector beside the program
	TimeoutDefault = 10 * time.Second // OTLP's own
)

// Config is how an Exporter is made. The zero value is for a collector on the same machine. The variables OTEL_EXPORTER_OTLP_*
// of the environment are not looked at for what is set here or has a default here.
type Config struct {
	// Address is host:port of the collector. Default: AddressDefault.
	Address string
	// TLS is nil for plain text.
	TLS *tls.Config
	// Headers go with each request: the token of a vendor, often. With plain text they are refused, except to a loopback
	// address, since anybody on the way would read them.
	Headers map[string]string
	// Timeout bounds the sending of one batch, all tries of it: 100 ms to 1 min. Default: TimeoutDefault.
	Timeout time.Duration
	// Logger is told when spans begin to be lost, and when they no longer are. Default: slog.Default().
	Logger *slog.Logger
}

// Stats are counts since the Exporter was made.
type Stats struct {
	Sent uint64 // spans that the collector has taken
	Lost uint64 // spans of batches that it has not
	// Failing is whether the last batch was lost.
	Failing bool
}

// Exporter sends spans. It is an sdktrace.SpanExporter, for TracingConfig.Exporter.
type Exporter struct {
	to      *otlptrace.Exporter
	timeout time.Duration
	address string
	logger  *slog.Logger

	sent, lost atomic.Uint64
	failing    atomic.Bool
}

var _ sdktrace.SpanExporter = (*Exporter)(nil)

// New makes an Exporter. It waits for nobody. The error names each field that is wrong.
func New(cfg Config) (*Exporter, error) {
	if cfg.Address == "" {
		cfg.Address = AddressDefault
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = TimeoutDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var errs []error
	host, port, err := net.SplitHostPort(cfg.Address)
	if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || host == "" {
		errs = append(errs, fmt.Errorf("the Address is %q and must be host:port", cfg.Address))
	}
	if cfg.TLS == nil && len(cfg.Headers) > 0 && !loopback(host) {
		errs = append(errs, fmt.Errorf("the Headers would go to %q in plain text, and want TLS", cfg.Address))
	}
	if cfg.Timeout < 100*time.Millisecond || cfg.Timeout > time.Minute {
		errs = append(errs, fmt.Errorf("the Timeout is %s and must be 100ms to 1m", cfg.Timeout))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("otlp: %w", errors.Join(errs...))
	}
	security := otlptracegrpc.WithInsecure()
	if cfg.TLS != nil {
		security = otlptracegrpc.WithTLSCredentials(credentials.NewTLS(cfg.TLS))
	}
	to, err := otlptracegrpc.New(context.Background(), security,
		otlptracegrpc.WithEndpoint(cfg.Address), otlptracegrpc.WithHeaders(maps.Clone(cfg.Headers)), otlptracegrpc.WithTimeout(cfg.Timeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
			Enabled: true, InitialInterval: 250 * time.Millisecond, MaxInterval: 5 * time.Second, MaxElapsedTime: cfg.Timeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	return &Exporter{to: to, timeout: cfg.Timeout, address: cfg.Address, logger: cfg.Logger}, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// ExportSpans sends a batch. It returns nil also when the batch is lost: that is counted and logged here, and OpenTelemetry
// would write a line to the standard error for each.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	err := e.to.ExportSpans(ctx, spans)
	if err != nil {
		e.lost.Add(uint64(len(spans)))
	} else {
		e.sent.Add(uint64(len(spans)))
	}
	if failing := err != nil; e.failing.Swap(failing) != failing {
		if failing {
			e.logger.Warn("spans cannot be sent and are lost", "address", e.address, "error", err)
		} else {
			e.logger.Info("spans are sent again", "address", e.address, "lost", e.lost.Load())
		}
	}
	return nil
}

// Shutdown closes the connection. Tracing.Shutdown calls it.
func (e *Exporter) Shutdown(ctx context.Context) error { return e.to.Shutdown(ctx) }

// Stats are for metrics.
func (e *Exporter) Stats() Stats {
	return Stats{Sent: e.sent.Load(), Lost: e.lost.Load(), Failing: e.failing.Load()}
}

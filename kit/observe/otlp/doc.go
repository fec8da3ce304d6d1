// Package otlp sends the spans of kit/observe to a collector by OTLP over gRPC. It is apart from kit/observe so that who does
// not name it does not link it.
//
//	exporter, err := otlp.New(otlp.Config{Address: "127.0.0.1:4317"})
//	...
//	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "orders", Exporter: exporter})
//	...
//	defer tracing.Shutdown(ctx) // sends what waits, and ends the exporter
//
// # What is promised when things fail
//
// New does not wait for the collector. One that is gone, hangs or refuses costs the spans of the batches that are tried
// meanwhile, each for Timeout at most, and those that find no room in TracingConfig.QueueMax; never a request. It is logged
// when it begins and when it ends, and Stats counts the spans that were lost after they were handed over.
//
// # Concurrency
//
// All methods may be called by any goroutine. An Exporter holds one connection, which Shutdown closes.
package otlp

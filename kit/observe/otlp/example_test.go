package otlp_test

import (
	"context"
	"fmt"

	"github.com/yumen-io/yumen/kit/observe"
	"github.com/yumen-io/yumen/kit/observe/otlp"
)

// A program sends a hundredth of its traces to the collector on its machine, and ends in order.
func Example() {
	exporter, err := otlp.New(otlp.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "orders", Exporter: exporter})
	if err != nil {
		fmt.Println(err)
		return
	}
	// middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing})
	if err := tracing.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%+v\n", exporter.Stats())
	// Output: {Sent:0 Lost:0 Failing:false}
}

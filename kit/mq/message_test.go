package mq_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/yumen-io/yumen/kit/mq"
)

func TestTraceGoesWithAMessage(t *testing.T) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTextMapPropagator(before)
	headers := make([]mq.Header, 1, 5)
	headers[0] = mq.Header{Key: "a", Value: []byte("b")}
	if got := mq.Inject(context.Background(), headers); len(got) != 1 {
		t.Fatalf("without a trace: %v", got)
	}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	with := mq.Inject(trace.ContextWithSpanContext(context.Background(), span), headers)
	if len(headers[:2][1].Key) != 0 {
		t.Fatal("the caller's slice was written to")
	}
	got := trace.SpanContextFromContext(mq.Extract(context.Background(), mq.Message{Headers: with}))
	if got.TraceID() != span.TraceID() || got.SpanID() != span.SpanID() {
		t.Fatalf("%v", got)
	}
}

func TestErrorsAreFoundInPublishError(t *testing.T) {
	err := error(&mq.PublishError{Errs: []error{nil, mq.ErrFull, nil}})
	if !errors.Is(err, mq.ErrFull) || errors.Is(err, mq.ErrUnknown) || err.Error() != "mq: 1 of 3 messages were not published: mq: the queue is full" {
		t.Fatal(err)
	}
}

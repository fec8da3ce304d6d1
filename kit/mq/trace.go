package mq

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel"
)

// Inject returns the headers with the trace of ctx added, by the propagator that otel has globally, and the same headers
// where ctx has none. Publishers of this kit do it by themselves; the slice that is given is not written to.
func Inject(ctx context.Context, headers []Header) []Header {
	c := carrier{headers: headers[:len(headers):len(headers)]}
	otel.GetTextMapPropagator().Inject(ctx, &c)
	return c.headers
}

// Extract returns ctx with the trace that a message was published in, for a span or a link of the handler.
func Extract(ctx context.Context, m Message) context.Context {
	return otel.GetTextMapPropagator().Extract(ctx, &carrier{headers: m.Headers})
}

type carrier struct {
	headers []Header
	own     bool
}

func (c *carrier) Get(key string) string {
	for i := range c.headers {
		if c.headers[i].Key == key {
			return string(c.headers[i].Value)
		}
	}
	return ""
}

func (c *carrier) Set(key, value string) {
	if !c.own {
		c.headers, c.own = slices.Clone(c.headers), true
	}
	for i := range c.headers {
		if c.headers[i].Key == key {
			c.headers[i].Value = []byte(value)
			return
		}
	}
	c.headers = append(c.headers, Header{Key: key, Value: []byte(value)})
}

func (c *carrier) Keys() []string {
	keys := make([]string, len(c.headers))
	for i := range c.headers {
		keys[i] = c.headers[i].Key
	}
	return keys
}

package transcode

import (
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// unary is a call like many: 200 bytes of JSON there, and the same back.
const unaryBody = `{"anInt64":"1234567890123","aString":"The quick brown fox","aBool":true,"color":"GREEN","aDouble":3.25,` +
	`"item":{"name":"shelf 7","price":42},"tags":["red","green"],"labels":{"owner":"me"},"time":"2026-01-02T03:04:05.678Z"}`

func TestAUnaryCallAllocatesNothing(t *testing.T) {
	s := compileTest(t, Options{}, everything()...)
	u := newUnary(s)
	u.run(t)
	if n := testing.AllocsPerRun(100, func() { u.run(t) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// unary is the state of a loop that handles calls one after the other.
type unary struct {
	s        *Schema
	c        Converter
	captures Captures
	frames   Frames
	in       buf.Chain
	pool     *buf.Pool
	frame    []byte
	json     []byte
	method   []byte
	path     []byte
	body     []byte
	getPath  []byte
	get      []byte
	query    []byte
}

func newUnary(s *Schema) *unary {
	return &unary{s: s, pool: buf.NewPool(0), method: []byte("POST"), path: []byte("/v1/all"), body: []byte(unaryBody), get: []byte("GET"), getPath: []byte("/v1/all"),
		query: []byte("an_int32=5&item.name=a%20b&tags=x&tags=y&wait=1.5s")}
}

func (u *unary) run(t testing.TB) {
	b, _ := u.s.Match(u.method, u.path, &u.captures)
	var fault *Fault
	u.frame, fault = u.c.Request(u.frame[:0], b, &u.captures, nil, nil, u.body)
	if fault != nil {
		t.Fatal(fault)
	}
	u.answer(t, b)
	b, _ = u.s.Match(u.get, u.getPath, &u.captures)
	if u.frame, fault = u.c.Request(u.frame[:0], b, &u.captures, u.query, nil, nil); fault != nil {
		t.Fatal(fault)
	}
	u.answer(t, b)
}

func (u *unary) answer(t testing.TB, b *Binding) {
	u.in.Append(u.pool, u.frame)
	u.frames.Take(u.pool, &u.in, len(u.frame))
	message, ok, fault := u.frames.Next(u.pool, 0)
	if !ok || fault != nil {
		t.Fatal(fault)
	}
	if u.json, fault = u.c.Response(u.json[:0], b, message); fault != nil {
		t.Fatal(fault)
	}
}

// BenchmarkUnary is the whole cost of a call with unaryBody, both ways.
func BenchmarkUnary(b *testing.B) {
	s := compileTest(b, Options{}, everything()...)
	u := newUnary(s)
	b.ReportAllocs()
	for b.Loop() {
		binding, _ := u.s.Match(u.method, u.path, &u.captures)
		var fault *Fault
		u.frame, fault = u.c.Request(u.frame[:0], binding, &u.captures, nil, nil, u.body)
		if fault != nil {
			b.Fatal(fault)
		}
		u.answer(b, binding)
	}
}

// BenchmarkUnaryPlainWay is the same with protojson and dynamicpb, which lost.
func BenchmarkUnaryPlainWay(b *testing.B) {
	_, d, types := everythingSchema(b, Options{})
	w := plainWay{d: d, types: types}
	b.ReportAllocs()
	for b.Loop() {
		wire, err := w.wire([]byte(unaryBody))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.json(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	s := bare(b, "GET /v1/{name=shelves/*/books/*}", "GET /v1/shelves", "POST /v1/{name=shelves/*}:move", "GET /v1/{name=shelves/*}", "GET /v1/**")
	method, path := []byte("GET"), []byte("/v1/shelves/3/books/7")
	var c Captures
	b.ReportAllocs()
	for b.Loop() {
		if m, _ := s.Match(method, path, &c); m == nil {
			b.Fatal("no match")
		}
	}
}

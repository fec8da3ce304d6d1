package id

import (
	"context"
	"testing"

	"github.com/bwmarrin/snowflake"
)

func benchGenerator(b *testing.B, l Layout) *Generator {
	b.Helper()
	g, err := New(Config{Layout: l, Worker: Fixed(1)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return g
}

func rate(b *testing.B, ids int) { b.ReportMetric(float64(ids)/b.Elapsed().Seconds(), "ids/s") }

// BenchmarkNext makes ids one at a time, going round the tables.
func BenchmarkNext(b *testing.B) {
	g := benchGenerator(b, Seed())
	ctx := context.Background()
	i := 0
	for b.Loop() {
		if _, err := g.Next(ctx, i&3, i>>2&15); err != nil {
			b.Fatal(err)
		}
		i++
	}
	rate(b, i)
}

// BenchmarkNextOneTable is held at the 4096 ids a millisecond of the layout, as bwmarrin/snowflake is.
func BenchmarkNextOneTable(b *testing.B) {
	g := benchGenerator(b, Seed())
	ctx := context.Background()
	for b.Loop() {
		if _, err := g.Next(ctx, 1, 1); err != nil {
			b.Fatal(err)
		}
	}
	rate(b, b.N)
}

func BenchmarkNextParallel(b *testing.B) {
	g := benchGenerator(b, Seed())
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for i := 0; pb.Next(); i++ {
			if _, err := g.Next(ctx, i&3, i>>2&15); err != nil {
				b.Error(err)
				return
			}
		}
	})
	rate(b, b.N)
}

// BenchmarkFill makes batches of 256, going round the tables; an operation is one id.
func BenchmarkFill(b *testing.B) {
	for _, l := range []Layout{Seed(), DB32()} {
		b.Run(l.String()[:len("41/2/4/4")], func(b *testing.B) {
			g := benchGenerator(b, l)
			ctx := context.Background()
			dst := make([]ID, 256)
			places := l.Shards() * l.Tables()
			for i := 0; i < b.N; i += len(dst) {
				p := i / len(dst) % places
				if _, err := g.Fill(ctx, p/l.Tables(), p%l.Tables(), dst[:min(len(dst), b.N-i)]); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, b.N)
		})
	}
}

func BenchmarkFillParallel(b *testing.B) {
	g := benchGenerator(b, Seed())
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		dst := make([]ID, 256)
		i := 0
		for pb.Next() {
			if i&255 == 0 {
				if _, err := g.Fill(ctx, i>>8&3, i>>10&15, dst); err != nil {
					b.Error(err)
					return
				}
			}
			i++
		}
	})
	rate(b, b.N)
}

// BenchmarkBwmarrin is what most Go programs use: one sequence under a mutex, 4096 ids a millisecond.
func BenchmarkBwmarrin(b *testing.B) {
	n, err := snowflake.NewNode(1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n.Generate()
	}
	rate(b, b.N)
}

func BenchmarkBwmarrinParallel(b *testing.B) {
	n, err := snowflake.NewNode(1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.Generate()
		}
	})
	rate(b, b.N)
}

func BenchmarkParse(b *testing.B) {
	l := Seed()
	g := benchGenerator(b, l)
	v, err := g.Next(context.Background(), 3, 7)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := l.Parse(v); err != nil {
			b.Fatal(err)
		}
	}
}

package route

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/yumen-io/yumen/policy/match"
)

// mixedSpecs makes n routes over n/100 hosts: half exact paths, a third with parameters, the rest wildcards; every eighth
// by method. Some hosts are wildcards.
func mixedSpecs(n int) []Spec {
	specs := make([]Spec, 0, n)
	for i := range n {
		h := i / 100
		host := fmt.Sprintf("host-%d.example.com", h)
		if h%10 == 9 {
			host = fmt.Sprintf("*.zone-%d.example.com", h)
		}
		s := Spec{Hosts: []string{host}}
		switch i % 6 {
		case 0, 1, 2:
			s.Path = fmt.Sprintf("/api/v1/resource-%d/list", i)
		case 3, 4:
			s.Path = fmt.Sprintf("/api/v1/resource-%d/:id/items/:item", i)
		default:
			s.Path = fmt.Sprintf("/static/area-%d/*path", i)
		}
		if i%8 == 0 {
			s.Match.Methods = []string{"GET"}
		}
		specs = append(specs, s)
	}
	return specs
}

// mixedRequests makes a request for each route of mixedSpecs.
func mixedRequests(n int) []*match.Request {
	out := make([]*match.Request, 0, n)
	for k := range n {
		i := k * 7919 % n // all over the table, as a cache would not like it
		h := i / 100
		host := fmt.Sprintf("host-%d.example.com", h)
		if h%10 == 9 {
			host = fmt.Sprintf("eu.a.zone-%d.example.com", h)
		}
		path := ""
		switch i % 6 {
		case 0, 1, 2:
			path = fmt.Sprintf("/api/v1/resource-%d/list", i)
		case 3, 4:
			path = fmt.Sprintf("/api/v1/resource-%d/4711/items/42", i)
		default:
			path = fmt.Sprintf("/static/area-%d/css/site.css", i)
		}
		out = append(out, request("GET "+host+path))
	}
	return out
}

// BenchmarkMatch goes through requests for up to 20,000 of the routes. Their bytes lie one after the other, so that they are
// in the cache when they are used, as in a gateway that has just parsed them; the table is not.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			tab, problems := Compile(mixedSpecs(n))
			if tab == nil {
				b.Fatal(problems[0].Text)
			}
			type sizes struct{ host, path int }
			var raw []byte
			var list []sizes
			for _, r := range mixedRequests(n)[:min(n, 20_000)] {
				raw = append(append(raw, r.Host...), r.Path...)
				list = append(list, sizes{len(r.Host), len(r.Path)})
			}
			r := &match.Request{Method: []byte("GET")}
			var p Params
			b.ReportAllocs()
			i, at := 0, 0
			for b.Loop() {
				r.Host = raw[at : at+list[i].host]
				r.Path = raw[at+list[i].host : at+list[i].host+list[i].path]
				if tab.Match(r, &p).Index < 0 {
					b.Fatalf("%s%s: no route", r.Host, r.Path)
				}
				at += list[i].host + list[i].path
				if i++; i == len(list) {
					i, at = 0, 0
				}
			}
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	tab, _ := Compile(mixedSpecs(100_000))
	r := request("GET host-7.example.com/api/v1/resource-700/4711/items/42/more")
	var p Params
	b.ReportAllocs()
	for b.Loop() {
		tab.Match(r, &p)
	}
}

func BenchmarkCompile(b *testing.B) {
	b.Run("mixed=100000", func(b *testing.B) { benchmarkCompile(b, mixedSpecs(100_000)) })
	b.Run("tenants=10000", func(b *testing.B) { benchmarkCompile(b, tenantSpecs(10_000)) })
	b.Run("pairs=10000", func(b *testing.B) { benchmarkCompile(b, contestedSpecs(10_000)) })
	b.Run("pairs=100000", func(b *testing.B) { benchmarkCompile(b, contestedSpecs(100_000)) })
}

// tenantSpecs is one path and one tenant a route, told apart by a header, with a fallback.
func tenantSpecs(n int) []Spec {
	specs := make([]Spec, n, n+1)
	for i := range specs {
		specs[i] = Spec{Path: "/*", Match: match.Spec{Headers: []match.Condition{{Name: "x-tenant", Op: match.Exact, Value: fmt.Sprint(i)}}}}
	}
	return append(specs, Spec{Path: "/*"})
}

// contestedSpecs has four routes on each path, so that the analysis has something to do everywhere.
func contestedSpecs(n int) []Spec {
	specs := make([]Spec, n)
	for i := range specs {
		specs[i] = Spec{Hosts: []string{fmt.Sprintf("h%d.test", i/400)}, Path: fmt.Sprintf("/a/%d/:id", i/4)}
		switch i % 4 {
		case 0:
			specs[i].Match = match.Spec{Methods: []string{"GET"}, Headers: []match.Condition{{Name: "x-canary", Op: match.Exact, Value: "1"}}}
		case 1:
			specs[i].Match = match.Spec{Methods: []string{"GET"}, Query: []match.Condition{{Name: "v", Op: match.Prefix, Value: "2"}, {Name: "w", Op: match.Absent}}}
		case 2:
			specs[i].Match = match.Spec{Methods: []string{"GET", "POST"}}
		}
	}
	return specs
}

func benchmarkCompile(b *testing.B, specs []Spec) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var tab *Table
	for b.Loop() {
		var problems []Problem
		if tab, problems = Compile(specs); len(problems) > 0 {
			b.Fatal(problems[0].Text)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(len(specs)), "B/route")
	runtime.KeepAlive(tab)
}

// BenchmarkMatchTenants is the one large leaf: ten thousand routes for one path, told apart by a header.
func BenchmarkMatchTenants(b *testing.B) {
	tab, _ := Compile(tenantSpecs(10_000))
	r := request("GET h/a")
	r.Fields = headFields{&Header{"accept", "1"}, &Header{"x-tenant", "1"}}
	var p Params
	b.ReportAllocs()
	for b.Loop() {
		if tab.Match(r, &p).Index != 1 {
			b.Fatal("another tenant")
		}
	}
}

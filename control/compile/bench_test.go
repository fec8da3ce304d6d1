package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/config"
)

// largeDocument has the number of routes that the gateway promises to load in three seconds, of the kinds that large
// tables have: a host each for some, parameters, methods, a shared filter, a condition.
func largeDocument(routes int) []byte {
	var b strings.Builder
	b.WriteString("listen: \":8080\"\nclusters:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  c%d: {endpoints: [10.0.%d.1:9000, 10.0.%d.2:9000]}\n", i, i, i)
	}
	b.WriteString("filters:\n  plain: {headers: {request: {set: {x-gateway: yumen}}}}\nroutes:\n")
	for i := range routes {
		switch i % 5 {
		case 0:
			fmt.Fprintf(&b, "  - {path: /service%d/items/:id, methods: [GET, PUT], cluster: c%d}\n", i, i%50)
		case 1:
			fmt.Fprintf(&b, "  - {host: tenant%d.example.com, path: /*, cluster: c%d}\n", i, i%50)
		case 2:
			fmt.Fprintf(&b, "  - {path: /static%d/*rest, cluster: c%d, filters: [plain]}\n", i, i%50)
		case 3:
			fmt.Fprintf(&b, "  - {path: /exact/%d, cluster: c%d, retry: 2, timeouts: {request: 30s}}\n", i, i%50)
		default:
			fmt.Fprintf(&b, "  - {path: /v/%d, headers: {x-env: next}, cluster: c%d}\n", i, i%50)
		}
	}
	return []byte(b.String())
}

func BenchmarkCompile100kRoutes(b *testing.B) {
	doc, problems := config.Parse("large.yaml", largeDocument(100_000), nil)
	b.ReportAllocs()
	for b.Loop() {
		if plan, report := Compile(doc, problems, nil, nil); plan == nil {
			b.Fatal(report)
		}
	}
}

func BenchmarkParseAndCompile100kRoutes(b *testing.B) {
	text := largeDocument(100_000)
	b.ReportAllocs()
	for b.Loop() {
		doc, problems := config.Parse("large.yaml", text, nil)
		if plan, report := Compile(doc, problems, nil, nil); plan == nil {
			b.Fatal(report)
		}
	}
}

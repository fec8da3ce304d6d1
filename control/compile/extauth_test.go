package compile

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/extauth"
	"github.com/yumen-io/yumen/filters/fault"
	rule "github.com/yumen-io/yumen/policy/fault"
)

// What a document leaves out is what the filter would take by itself.
func TestExtAuthByDefault(t *testing.T) {
	doc, problems := config.Parse("t.yaml", []byte("listen: ':80'\nclusters: {a: ['127.0.0.1:1']}\nroutes: [{path: /, cluster: a, filters: [{ext_auth: {cluster: a, cache: 1s}}]}]"), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	s, err := (&compiler{doc: doc, clusters: map[string]int{"a": 0}}).extAuthSpec(doc.Routes[0].Filters[0].Body.(*config.ExtAuthFilter))
	if err != nil {
		t.Fatal(err)
	}
	if s.Timeout != extauth.TimeoutDefault || s.Path != "/" || s.Method != "GET" || s.Open || strings.Join(s.Headers, " ") != "authorization cookie" ||
		s.RefusalHeaders != nil || s.RefusalBodyMax != 8<<10 || s.Cache.For != time.Second || s.Cache.EntriesMax != extauth.EntriesDefault {
		t.Errorf("%+v %+v", s, s.Cache)
	}
}

// gRPC goes over HTTP/2 only.
func TestExtAuthByCallNeedsHTTP2(t *testing.T) {
	const document = "listen: ':80'\nclusters: {a: {endpoints: ['127.0.0.1:1']PROTOCOL}}\nroutes: [{path: /, cluster: a, filters: [{ext_auth: {cluster: a, protocol: grpc}}]}]"
	if plan, report := compileText("t.yaml", strings.ReplaceAll(document, "PROTOCOL", "")); plan != nil || !strings.Contains(report.String(), "gRPC needs HTTP/2") {
		t.Errorf("over HTTP/1: %s", report)
	}
	if plan, report := compileText("t.yaml", strings.ReplaceAll(document, "PROTOCOL", ", protocol: h2c")); plan == nil {
		t.Errorf("over HTTP/2: %s", report)
	}
}

// What a document says of a fault arrives.
func TestFaultSettings(t *testing.T) {
	doc, problems := config.Parse("t.yaml", []byte(`listen: ':80'
routes: [{path: /, respond: 200, filters: [{fault: {experiment: e, when: {headers: {X-A: b}, claims: {Sub: c}, clients: 10.0.0.0/8, share: 50%},
  delay: {distribution: exponential, time: 1s, max: 2s}, abort: grpc_unavailable, budget: {requests: 7, share: 5%}, expires: 2026-12-01T10:00:00+01:00, after: 1h,
  stop_when: {error_ratio: 5%, p99: 1s}}}]}]`), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	s := faultSpec(doc.Routes[0].Filters[0].Body.(*config.FaultFilter))
	if s.Experiment != "e" || s.When.Share != 0.5 || s.When.Headers[0] != (fault.Match{Name: "x-a", Value: "b"}) || s.When.Claims[0] != (fault.Match{Name: "Sub", Value: "c"}) ||
		len(s.When.Clients) != 1 || *s.Delay != (rule.Delay{Distribution: rule.Exponential, Time: time.Second, Max: 2 * time.Second}) || *s.Abort != (fault.Abort{GRPC: 14}) ||
		s.Requests != 7 || s.Share != 0.05 || !s.Expires.Equal(time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)) || s.After != time.Hour ||
		*s.Stop != (rule.Limits{ErrorRatio: 0.05, P99: time.Second, Over: 30 * time.Second}) {
		t.Errorf("%+v", s)
	}
}

// The documents of the guides can be pasted, and each word that an answer can have is explained.
func TestExtAuthAndFaultGuides(t *testing.T) {
	for page, reasons := range map[string][]string{"external-auth.md": extauth.Reasons(), "fault-injection.md": fault.Reasons()} {
		text, err := os.ReadFile("../../docs/guide/" + page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```yaml\n")[1:]
		if len(blocks) < 2 {
			t.Errorf("%s has no documents", page)
		}
		for i, b := range blocks {
			document, _, _ := strings.Cut(b, "```")
			if plan, report := compileText(page, document); plan == nil {
				t.Errorf("%s, document %d:\n%s", page, i+1, report)
			}
		}
		for _, reason := range reasons {
			if !strings.Contains(string(text), "`"+reason+"`") {
				t.Errorf("%s does not say what %s is", page, reason)
			}
		}
	}
}

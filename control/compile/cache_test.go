package compile

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/gateway"
)

// What a document leaves out is what the filter would take by itself, and what it says arrives.
func TestCacheSettings(t *testing.T) {
	guard := gateway.NewGuard("cache", "c", gateway.Enforce, nil)
	f := func(settings, want string) {
		t.Helper()
		doc, problems := config.Parse("t.yaml", []byte("listeners: [':80']\nroutes: [{path: /, filters: [{cache: "+settings+"}], respond: 200}]"), nil)
		if doc == nil {
			t.Fatal(problems)
		}
		filter, wrong := cache.Compile(*cacheSpec(doc.Routes[0].Filters[0].Filter.Body.(*config.CacheFilter)), guard, nil)
		if filter == nil {
			t.Fatal(wrong)
		}
		if got := filter.String(); got != want {
			t.Errorf("%s: %s, want %s", settings, got, want)
		}
	}
	byItself, _ := cache.Compile(cache.Spec{}, guard, nil)
	f("on", byItself.String())
	f("{max_size: 2MiB, collapse: off, heuristic: 10%}",
		"keep responses, 2MiB in all, up to 256KiB each; 10% of the time since their modification; nobody waits for another's answer")
	f("{default_ttl: 1m, negative_ttl: 1s, collapse: {waiting: 5, timeout: 1s}}",
		"keep responses, 64MiB in all, up to 1MiB each; 1m0s if they do not say how long; 1s for 404 and its like; up to 5 wait for another's answer, 1s at most")
}

// The documents of the guide can be pasted.
func TestCacheGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/cache.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		if plan, report := compileText("cache.md", document); plan == nil {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) < 2 {
		t.Error("the guide has no documents")
	}
}

// The Redis of a cache, and a password that is not there.
func TestCacheRedis(t *testing.T) {
	f := func(settings string, want ...string) {
		t.Helper()
		plan, report := compileText("t.yaml", "listeners: [':80']\nroutes: [{path: /, respond: 200, filters: [{cache: {redis: "+settings+"}}]}]")
		var got []string
		for _, p := range report.Problems {
			got = append(got, p.Path+": "+p.Cause)
		}
		if !slices.Equal(got, want) || (plan == nil) != (want != nil) {
			t.Errorf("%s: %q, want %q", settings, got, want)
		}
	}
	t.Setenv("CACHE_PASSWORD", "secret")
	f("127.0.0.1:6379")
	f("{address: 127.0.0.1:6379, password_env: CACHE_PASSWORD, tls: on, wait: 10ms}")
	f("{address: 127.0.0.1:6379, password_env: NO_SUCH_PASSWORD}",
		"routes[0].filters[0].cache.redis.password_env: the environment variable NO_SUCH_PASSWORD is not set")
}

// A filter behind a cache does not see what the cache answers.
func TestWhatStandsBehindACache(t *testing.T) {
	f := func(filters string, want ...string) {
		t.Helper()
		plan, report := compileText("t.yaml", "listeners: [':80']\nfilters: {pages: {cache: on}}\nroutes: [{path: /, respond: 200, filters: ["+filters+"]},"+
			"{path: /other, respond: 200, filters: [pages]}]")
		if plan == nil {
			t.Fatal(report)
		}
		var got []string
		for _, p := range report.Problems {
			if !strings.Contains(p.Cause, "behind") {
				continue
			}
			got = append(got, p.Path+": "+p.Cause)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", filters, got, want)
		}
	}
	f("limit: 1/s, ip: {deny: 10.0.0.0/8}, pages")
	f("pages, headers: {request: {set: {a: b}}}, compress: on")
	f("pages, limit: 1/s", `routes[0].filters[1]: requests that the cache "pages" answers are not counted or limited: the filter limit stands behind it`)
	f("cache: on, ip: {deny: 10.0.0.0/8}", `routes[0].filters[1]: requests that the cache answers are not judged by their address: the filter ip stands behind it`)
	f("limit: 1/s, cache: on, ip: {deny: 10.0.0.0/8, mode: off}")
	f("cache: {mode: off}, limit: 1/s")
	f("cache: {mode: shadow}, api_key: {keys: {a: {sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}}}", `routes[0].filters[1]: requests that the cache answers are not asked who sends them: the filter api_key stands behind it`)
}

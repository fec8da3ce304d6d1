package compile

import (
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

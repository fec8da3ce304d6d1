package admin

import (
	"strings"
	"testing"
)

func TestPurgesSayWhatTheyMean(t *testing.T) {
	api, _ := start(t, "", strings.Replace(document("one"), "routes:\n", `filters: {pages: {cache: on}}
routes:
  - {name: named, path: /named, cluster: app, filters: [pages]}
  - {name: /own, path: /own, cluster: app, filters: [cache: on]}
`, 1))
	f := func(method, path string, status int, texts ...string) {
		t.Helper()
		ask(t, api, method, path, "").want(t, status, texts...)
	}
	f("GET", "/api/caches", 200, `"pages"`, `"/own/cache"`, `"evicted": 0`)
	f("POST", "/api/caches/pages/purge?all=true", 200, `"purged": 0`)
	f("POST", "/api/caches/%2Fown%2Fcache/purge?tag=a", 200, `"cache": "/own/cache"`)
	f("POST", "/api/caches/pages/purge?url=http://a/b%3Fc", 200, `"purged": 0`)
	f("POST", "/api/caches/pages/purge?prefix=https://a", 200, `"purged": 0`)
	f("POST", "/api/caches/none/purge?all=true", 404, `no cache \"none\"`)
	f("POST", "/api/caches/pages/purge", 400, "one of url")
	f("POST", "/api/caches/pages/purge?tag=a&url=http://a/", 400, "one of url")
	f("POST", "/api/caches/pages/purge?all=maybe", 400, `\"maybe\"`)
	f("POST", "/api/caches/pages/purge?url=/b", 400, "absolute")
	f("POST", "/api/caches/pages/purge?prefix=ftp://a/", 400, "absolute")
	f("GET", "/api/caches/pages/purge?all=true", 405, "POST")
	ask(t, api, "GET", "/api/caches", "", "Accept: text/plain").want(t, 200, "CACHE", "/own/cache")
	ask(t, api, "POST", "/api/caches/pages/purge?all=true", "", "Accept: text/plain").want(t, 200, "0 responses were taken out of cache pages\n")
	ask(t, api, "POST", "/api/caches/pages/purge?all=true", "", "Sec-Fetch-Site: cross-site").want(t, 403, "another site")
	f("GET", "/metrics", 200, `yumen_guard_number{guard="pages",kind="cache",number="refused_private"} 0`)
}

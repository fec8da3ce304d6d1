package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGuard(t *testing.T) {
	const (
		loopback = "127.0.0.1:9901"
		any      = ":9901"
		named    = "10.0.0.5:9901"
	)
	for _, c := range []struct {
		name    string
		address string // configured
		method  string
		path    string
		host    string
		header  http.Header
		want    int
	}{
		{"its address", loopback, "GET", "/", "127.0.0.1:9901", nil, 200},
		{"localhost", loopback, "GET", "/", "localhost:9901", nil, 200},
		{"localhost below", loopback, "GET", "/", "yumen.LOCALHOST.", nil, 200},
		{"the other loopback", loopback, "GET", "/", "[::1]:9901", nil, 200},
		{"no port", loopback, "GET", "/", "127.0.0.1", nil, 200},
		{"a forwarded port", loopback, "GET", "/", "localhost:19901", nil, 200},
		{"a rebound name", loopback, "GET", "/", "evil.example:9901", nil, 421},
		{"a rebound name in disguise", loopback, "GET", "/", "127.0.0.1.evil.example", nil, 421},
		{"a rebound name that reads like localhost", loopback, "GET", "/", "localhost.evil.example", nil, 421},
		{"an address of another machine", loopback, "GET", "/", "10.0.0.5:9901", nil, 421},
		{"a short name on loopback", loopback, "GET", "/", "yumen:9901", nil, 421},
		{"nothing", loopback, "GET", "/", "", nil, 421},
		{"an address, on all", any, "GET", "/", "10.0.0.5:9901", nil, 200},
		{"a short name, on all", any, "GET", "/", "yumen:9901", nil, 200},
		{"a rebound name, on all", any, "GET", "/", "evil.example:9901", nil, 421},
		{"nothing, on all", any, "GET", "/", "", nil, 421},
		{"its address, on one", named, "GET", "/", named, nil, 200},
		{"a rebound name, on one", named, "GET", "/", "evil.example:9901", nil, 421},

		{"curl writes", loopback, "PUT", "/api/config", loopback, nil, 200},
		{"its own page writes", loopback, "PUT", "/api/config", loopback, http.Header{"Origin": {"http://127.0.0.1:9901"}}, 200},
		{"a foreign page writes", loopback, "PUT", "/api/config", loopback, http.Header{"Origin": {"https://evil.example"}}, 403},
		{"a page without a name writes", loopback, "POST", "/api/drain", loopback, http.Header{"Origin": {"null"}}, 403},
		{"another port's page writes", loopback, "POST", "/api/drain", loopback, http.Header{"Origin": {"http://127.0.0.1:3000"}}, 403},
		{"a foreign page writes, by its browser", loopback, "POST", "/api/drain", loopback, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"a neighbour's page writes, by its browser", loopback, "POST", "/api/drain", loopback, http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		{"a foreign page reads what it cannot see", loopback, "GET", "/api/config", loopback, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 200},
		{"a foreign page asks for work", loopback, "GET", "/debug/pprof/profile", loopback, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"curl asks for work", loopback, "GET", "/debug/pprof/profile", loopback, nil, 200},
	} {
		g := newGuard(c.address, costly, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Host = c.host
		if c.header != nil {
			r.Header = c.header
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
	}
}

func TestAcceptance(t *testing.T) {
	for _, c := range []struct {
		accept     string
		text, json bool // whether each is preferred to the other
	}{
		{"", false, false},
		{"*/*", false, false},
		{"text/plain", true, false},
		{"application/json", false, true},
		{"text/*", true, false},
		{"text/html, application/json;q=0.9, */*;q=0.8", false, true},
		{"text/plain;q=0.5, application/json;q=0.4", true, false},
		{"text/plain;q=0, */*", false, true},
		{"text/plain;q=junk", false, false},
		{";;;", false, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", c.accept)
		if got := wantsText(r); got != c.text {
			t.Errorf("wantsText(%q) = %v", c.accept, got)
		}
		if got := wantsJSON(r); got != c.json {
			t.Errorf("wantsJSON(%q) = %v", c.accept, got)
		}
	}
}

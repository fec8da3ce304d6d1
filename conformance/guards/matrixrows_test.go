//go:build linux

package guards

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"time"
)

// matrixRow is a row of the matrix: a guard, and which party fails.
type matrixRow struct {
	guard, fails string
	name         string            // first part of the path
	filters      string            // of the route. DEP is the address that fails, CLUSTER the cluster, REDIS a Redis; FILES a folder
	route        string            // more keys of the route
	cluster      string            // "" is the one that fails; pair- has a second endpoint, which is well
	times        int               // requests, at most; it ends with the second outcome. 0: 1
	warm         bool              // one request goes before the fault
	beside       bool              // where the upstream hangs, another request is sent meanwhile
	first        bool              // asked before the other rows
	instead      map[string]string // cells by fault that nothing is asked for
	fields       func(m *matrix, r *http.Request)
	body         []byte
	secure       bool // by TLS, with a client's certificate
	redis        bool // what fails is Redis
}

const upstream, pair = "the upstream", "one of two endpoints"

// matrixRows are the rows, in the order of the page.
var matrixRows = []matrixRow{
	{guard: "none", fails: upstream, name: "none"},
	{guard: "none, POST", fails: upstream, name: "post", body: []byte("body")},

	{guard: "jwt", fails: upstream, name: "jwt", filters: jwtOf(`{file: "FILES/keys.json"}`), fields: withToken},
	{guard: "jwt, before its keys were had", fails: "the key server", name: "jwt-never", filters: jwtOf(`{url: "http://DEP/keys", timeout: 1s}`), cluster: "well", fields: withToken},
	{guard: "jwt, with a key that is new", fails: "the key server", name: "jwt-new", filters: jwtOf(`{url: "http://DEP/keys", timeout: 1s, refresh: 10s}`), cluster: "well", fields: withNewToken, warm: true, first: true, instead: asRefused},
	{guard: "jwt, when its keys are known", fails: "the key server", name: "jwt-known", filters: jwtOf(`{url: "http://DEP/keys", timeout: 1s, refresh: 10s}`), cluster: "well", fields: withToken, warm: true, instead: asRefused},
	{guard: "api_key", fails: upstream, name: "key", filters: `api_key: {file: "FILES/api-keys"}`, fields: withField("X-API-Key", acmeKey)},
	{guard: "basic_auth", fails: upstream, name: "basic", filters: `basic_auth: {users: "FILES/users"}`, fields: func(_ *matrix, r *http.Request) { r.SetBasicAuth("alice", password) }},
	{guard: "hmac_auth", fails: upstream, name: "hmac", filters: `hmac_auth: {file: "FILES/secrets"}`, fields: withSignature},
	{guard: "mtls", fails: upstream, name: "mtls", filters: `mtls: on`, secure: true},
	{guard: "ext_auth", fails: upstream, name: "ext", filters: `ext_auth: {cluster: well}`},
	{guard: "ext_auth", fails: "the service", name: "ext-closed", filters: `ext_auth: {cluster: CLUSTER, timeout: 1s}`, cluster: "well"},
	{guard: "ext_auth, `when_unreachable: open`", fails: "the service", name: "ext-open", filters: `ext_auth: {cluster: CLUSTER, timeout: 1s, when_unreachable: open}`, cluster: "well"},
	{guard: "ip", fails: upstream, name: "ip", filters: `ip: {allow: 127.0.0.0/8}`},
	{guard: "cors", fails: upstream, name: "cors", filters: `cors: {origins: "*"}`, fields: withField("Origin", "https://a.test")},

	{guard: "limit", fails: upstream, name: "limit", filters: `limit: 100/s`},
	{guard: "limit, `concurrency: 1`", fails: upstream, name: "places", filters: `limit: {concurrency: 1}`, times: 3},
	{guard: "limit, `concurrency: 1`, some at a time", fails: upstream, name: "places-some", filters: `limit: {concurrency: 1}`, beside: true},
	{guard: "limit, shared", fails: upstream, name: "shared", filters: `limit: {rate: 100/s, shared: {redis: {address: "REDIS", timeout: 1s}}}`},
	{guard: "limit, leased, `local_share`", fails: "Redis", name: "leased-share", filters: sharedLimit("leased", "local_share"), cluster: "well", times: 2, redis: true},
	{guard: "limit, leased, `open`", fails: "Redis", name: "leased-open", filters: sharedLimit("leased", "open"), cluster: "well", times: 2, redis: true},
	{guard: "limit, leased, `closed`", fails: "Redis", name: "leased-closed", filters: sharedLimit("leased", "closed"), cluster: "well", times: 2, redis: true},
	{guard: "limit, exact, `local_share`", fails: "Redis", name: "exact-share", filters: sharedLimit("exact", "local_share"), cluster: "well", times: 2, redis: true},
	{guard: "limit, exact, `open`", fails: "Redis", name: "exact-open", filters: sharedLimit("exact", "open"), cluster: "well", times: 2, redis: true},
	{guard: "limit, exact, `closed`", fails: "Redis", name: "exact-closed", filters: sharedLimit("exact", "closed"), cluster: "well", times: 2, redis: true},

	{guard: "breaker", fails: upstream, name: "breaker", filters: `breaker: {adaptive: off, consecutive: 2, volume: 2, window: 2s, slow_than: 150ms, open_for: 1h, open_max: 1h}`, times: 50},
	{guard: "admission, `limit: 1`", fails: upstream, name: "admission", filters: `admission: {limit: 1, queue: 0}`, times: 3},
	{guard: "admission, `limit: 1`, some at a time", fails: upstream, name: "admission-some", filters: `admission: {limit: 1, queue: 0}`, beside: true},
	{guard: "shed", fails: upstream, name: "shed", filters: `shed: {turn_from: 9s, turn_to: 10s}`},
	{guard: "sizes", fails: upstream, name: "sizes", filters: `sizes: {body_bytes: 1KiB}`},

	{guard: "cache, nothing kept", fails: upstream, name: "cache-none", filters: `cache: on`, times: 2},
	{guard: "cache, a fresh answer kept", fails: upstream, name: "cache-fresh", filters: `cache: on`, warm: true},
	{guard: "cache, a stale answer kept", fails: upstream, name: "cache-stale", filters: `cache: on`, warm: true},
	{guard: "cache, a stale answer kept, `stale_if_error`", fails: upstream, name: "cache-stale-if-error", filters: `cache: {stale_if_error: 1h}`, warm: true},
	{guard: "cache, `redis`, nothing kept", fails: "Redis", name: "cache-redis", filters: `cache: {redis: {address: "DEP", wait: 1s}}`, cluster: "well", times: 2, redis: true},
	{guard: "fallback: on", fails: upstream, name: "fallback", filters: `fallback: on`},
	{guard: "fallback, `cluster`", fails: upstream, name: "fallback-cluster", filters: `fallback: {cluster: well}`},
	{guard: "fallback, `cluster`, on `5xx` too", fails: upstream, name: "fallback-status", filters: `fallback: {on: [connect, reset, timeout, unavailable, 5xx], cluster: well}`},
	{guard: "fallback, `respond`, on `5xx` too", fails: upstream, name: "fallback-static", filters: `fallback: {on: [connect, reset, timeout, unavailable, 5xx], respond: {status: 200, body: "sorry"}}`},
	{guard: "fallback, breaker", fails: upstream, name: "fallback-breaker", filters: `fallback: {respond: {status: 200, body: "sorry"}}, breaker: {state: open}`},
	{guard: "compress", fails: upstream, name: "compress", filters: `compress: {min_size: 0B}`, fields: withField("Accept-Encoding", "gzip")},
	{guard: "decompress", fails: upstream, name: "decompress", filters: `decompress: on`, fields: withField("Content-Encoding", "gzip"), body: zipped("body")},

	{guard: "retry", fails: upstream, name: "retry", route: `retry: {attempts: 2}`},
	{guard: "retry", fails: pair, name: "retry-pair", route: `retry: {attempts: 2}`, cluster: "pair-CLUSTER"},
	{guard: "retry, `per_try: 700ms`, on `5xx`", fails: pair, name: "retry-more", route: `retry: {attempts: 2, per_try: 700ms, on: [connect, reset, timeout, 5xx]}`, cluster: "pair-CLUSTER"},
	{guard: "retry, POST", fails: pair, name: "retry-post", route: `retry: {attempts: 2}`, cluster: "pair-CLUSTER", body: []byte("body")},
	{guard: "hedge, no retry", fails: pair, name: "hedge", route: `retry: {attempts: 1, hedge: 100ms}`, cluster: "pair-CLUSTER"},
	{guard: "deadline, `X-Request-Timeout: 700ms`", fails: upstream, name: "deadline", fields: withField("X-Request-Timeout", "700ms")},
	{guard: "fault", fails: upstream, name: "fault", filters: `fault: {abort: 418, when: {headers: {x-chaos: "on"}}, after: 10m}`},
	{guard: "colour", fails: upstream, name: "colour", filters: `colour: {trace_id: on}`},
	{guard: "split", fails: "a variant's cluster", name: "split", filters: `split: {variants: [{name: a, cluster: CLUSTER, weight: 100%}, {name: b, cluster: well, weight: 0%}]}`, cluster: "well"},
	{guard: "mirror", fails: "the mirror's cluster", name: "mirror", filters: `mirror: CLUSTER`, cluster: "well"},
}

// asRefused is of what had to resolve a name first: that it does not any more is nothing that a test brings about by itself.
var asRefused = map[string]string{"dns": "as refused"}

func jwtOf(keys string) string {
	return "jwt: {issuer: https://idp.test/, audience: api, algorithms: ES256, keys: " + keys + "}"
}

// sharedLimit lets one request through.
func sharedLimit(mode, unreachable string) string {
	rate := "rate: 1/h, burst: 1"
	if mode == "exact" {
		rate = "rate: 1/h, algorithm: sliding_window"
	}
	return fmt.Sprintf(`limit: {%s, shared: {redis: {address: "DEP", timeout: 1s}, mode: %s, when_unreachable: %s}}`, rate, mode, unreachable)
}

func withField(name, value string) func(*matrix, *http.Request) {
	return func(_ *matrix, r *http.Request) { r.Header.Set(name, value) }
}

func withToken(m *matrix, r *http.Request) { r.Header.Set("Authorization", "Bearer "+m.token) }

// withNewToken has a token by a key that is published after the fault only; before, it is the usual one.
func withNewToken(m *matrix, r *http.Request) {
	if m.ill.Load() {
		r.Header.Set("Authorization", "Bearer "+m.newToken)
		return
	}
	withToken(m, r)
}

func withSignature(_ *matrix, r *http.Request) { sign(r, "one") }

// sign signs by RFC 9421.
func sign(r *http.Request, nonce string) {
	params := fmt.Sprintf(`("@method" "@authority" "@path" "@query");created=%d;keyid="acme";alg="hmac-sha256";nonce=%q`, time.Now().Unix(), nonce)
	mac := hmac.New(sha256.New, []byte(acmeKey))
	fmt.Fprintf(mac, "\"@method\": %s\n\"@authority\": %s\n\"@path\": %s\n\"@query\": ?\n\"@signature-params\": %s", r.Method, r.URL.Host, r.URL.Path, params)
	r.Header.Set("Signature-Input", "sig1="+params)
	r.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+":")
}

func zipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Bytes()
}

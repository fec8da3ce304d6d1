//go:build linux

package h2spec

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
	"github.com/yumen-io/yumen/conformance/peer"
)

// target is a server to judge. start runs it before the upstream until the test ends.
type target struct {
	name    string
	overTLS bool
	start   func(t *testing.T, upstream string) (addr string)
}

// ours are judged; a failed case fails the test.
var ours = []target{
	{"yumen-h2c", false, func(t *testing.T, upstream string) string {
		gateway.Require(t, gateway.H2CListener)
		addr := gateway.FreeAddr(t)
		gateway.Start(t, document(fmt.Sprintf("{name: web, address: %q, protocols: [h2c]}", addr), upstream), gateway.Options{})
		return addr
	}},
	{"yumen-tls", true, func(t *testing.T, upstream string) string {
		gateway.Require(t, gateway.TLSListener)
		addr, id := gateway.FreeAddr(t), gateway.NewIdentity(t)
		gateway.Start(t, document(fmt.Sprintf("{name: web, address: %q, tls: {certificates: [{cert: %q, key: %q}]}}",
			addr, id.CertFile, id.KeyFile), upstream), gateway.Options{})
		return addr
	}},
}

func document(listener, upstream string) string {
	return fmt.Sprintf("listeners: [%s]\nclusters: {app: {endpoints: [%q]}}\nroutes: [{path: /*, cluster: app}]\n", listener, upstream)
}

// others are there to compare with.
var others = []target{
	{"go-h2c", false, func(t *testing.T, _ string) string { return serveHTTP2(t, nil) }},
	{"go-tls", true, func(t *testing.T, _ string) string {
		return serveHTTP2(t, gateway.NewIdentity(t).ServerConfig("h2"))
	}},
	{"nginx-h2c", false, func(t *testing.T, upstream string) string { return startNginx(t, upstream, nil) }},
	{"nginx-tls", true, func(t *testing.T, upstream string) string { return startNginx(t, upstream, gateway.NewIdentity(t)) }},
	{"haproxy-h2c", false, func(t *testing.T, upstream string) string { return startHAProxy(t, upstream, "proto h2") }},
	{"haproxy-tls", true, func(t *testing.T, upstream string) string {
		return startHAProxy(t, upstream, "ssl crt "+gateway.NewIdentity(t).PairFile+" alpn h2,http/1.1")
	}},
	{"caddy-h2c", false, func(t *testing.T, upstream string) string { return startCaddy(t, upstream, nil) }},
	{"caddy-tls", true, func(t *testing.T, upstream string) string { return startCaddy(t, upstream, gateway.NewIdentity(t)) }},
}

// serveUpstream answers every request over HTTP/1.1, with a body long enough for the cases that play with windows.
func serveUpstream(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // runs first: Close waits for them
	return server.Listener.Addr().String()
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a request that breaks off is the case's business
	fmt.Fprintln(w, "an answer of some twenty bytes")
}

// serveHTTP2 runs Go's own server without a proxy.
func serveHTTP2(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(answer), TLSConfig: config, Protocols: new(http.Protocols),
		// Most cases are errors of the client, and each would be a line.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	server.Protocols.SetHTTP2(config != nil)
	server.Protocols.SetUnencryptedHTTP2(config == nil)
	go func() { // ends with Close
		if config != nil {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	}()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

func startNginx(t *testing.T, upstream string, id *gateway.Identity) string {
	addr := gateway.FreeAddr(t)
	listen := "listen " + addr + " http2;"
	if id != nil {
		listen = fmt.Sprintf("listen %s ssl http2; ssl_certificate %s; ssl_certificate_key %s;", addr, id.CertFile, id.KeyFile)
	}
	peer.Nginx(t, fmt.Sprintf(`  server { %s
    location / { proxy_pass http://%s; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, listen, upstream), addr)
	return addr
}

func startHAProxy(t *testing.T, upstream, bind string) string {
	addr := gateway.FreeAddr(t)
	peer.HAProxy(t, fmt.Sprintf("frontend f\n  bind %s %s\n  default_backend b\nbackend b\n  server s %s", addr, bind, upstream), addr)
	return addr
}

func startCaddy(t *testing.T, upstream string, id *gateway.Identity) string {
	addr := gateway.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	site, secure := "http://:"+port, ""
	if id != nil {
		site, secure = "https://:"+port, fmt.Sprintf("tls %q %q", id.CertFile, id.KeyFile)
	}
	peer.Caddy(t, fmt.Sprintf(`{
	admin off
	auto_https off
	servers {
		protocols h1 h2 h2c
	}
}
%s {
	bind 127.0.0.1
	%s
	reverse_proxy %s
}
`, site, secure, upstream), addr)
	return addr
}

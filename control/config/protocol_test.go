package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestProtocolsOfAListenerThatNamesNone(t *testing.T) {
	f := func(listeners, want string) {
		t.Helper()
		doc, problems := Parse("x", []byte("{"+listeners+", routes: [{respond: 200}]}"), nil)
		if doc == nil {
			t.Fatal(render(problems))
		}
		if got := fmt.Sprint(doc.Listeners[0].Protocols); got != want {
			t.Errorf("%s: got %s, want %s", listeners, got, want)
		}
	}
	const tls = "tls: {cert: a.pem, key: a.key}"
	f("listen: ':80'", "[http1]")
	f("listeners: [':80']", "[http1]")
	f("listeners: [{address: ':80'}]", "[http1]")
	f("listeners: [{address: ':80', "+tls+"}]", "[h2 http1]")
	f("listeners: [{address: ':80', "+tls+", protocols: http1}]", "[http1]")
	f("listeners: [{address: ':80', "+tls+", protocols: [http1, h2]}]", "[http1 h2]")
	f("listeners: [{address: ':80', protocols: [h2c, http1]}]", "[h2c http1]")
}

func TestTLSOfAClusterFollowsItsProtocol(t *testing.T) {
	f := func(cluster, want string) {
		t.Helper()
		doc, problems := Parse("x", []byte("{listen: ':80', clusters: {app: {endpoints: 'a:1', "+cluster+"}}, routes: [{cluster: app}]}"), nil)
		if doc == nil {
			t.Fatal(render(problems))
		}
		c := &doc.Clusters[0]
		got := string(c.Protocol)
		if c.TLS != nil {
			got += fmt.Sprintf(" tls verify=%v min=%s sni=%q", c.TLS.Verify, c.TLS.MinVersion, c.TLS.SNI)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", cluster, got, want)
		}
	}
	f("protocol: http1", "http1")
	f("tls: off", "http1")
	f("tls: on", `http1 tls verify=true min=1.2 sni=""`)
	f("tls: {sni: B}", `http1 tls verify=true min=1.2 sni="b"`)
	f("protocol: h2c", "h2c")
	f("protocol: h2", `h2 tls verify=true min=1.2 sni=""`)
	f("protocol: auto", `auto tls verify=true min=1.2 sni=""`)
	f("protocol: auto, tls: {verify: off}", `auto tls verify=false min=1.2 sni=""`)
	f("protocol: http1, tls: {min_version: 1.3}", `http1 tls verify=true min=1.3 sni=""`)
}

// TestAWarningHidesNoError: what is only probably not meant must not keep the rest from being looked at.
func TestAWarningHidesNoError(t *testing.T) {
	doc, problems := Parse("x", []byte(`
listeners: [{address: ":443", proxy_protocol: 0.0.0.0/0, tls: [{acme: example.com}]}]
clusters: {app: {endpoints: 10.0.0.1:1, tls: {verify: off}}}
routes: [{cluster: app}]
`), nil)
	text := render(problems)
	if doc != nil || strings.Count(text, "warning:") != 2 || !strings.Contains(text, "asked of an authority") {
		t.Errorf("got %s", text)
	}
}

func TestRawRoutesAreMarked(t *testing.T) {
	doc, problems := Parse("x", []byte(`
listeners:
  - {name: web, address: ":80"}
  - {name: db, address: ":81", protocols: tcp}
  - {name: sni, address: ":82", protocols: tls}
clusters: {app: a:1, bytes: {endpoints: a:2, protocol: tcp}}
routes:
  - {cluster: app}
  - {listener: web, path: /a, cluster: app}
  - {listener: db, cluster: bytes}
  - {listener: sni, host: a.example.com, cluster: bytes}
  - {listener: sni, cluster: bytes}
`), nil)
	if doc == nil {
		t.Fatal(render(problems))
	}
	var got []string
	for _, r := range doc.Routes {
		got = append(got, fmt.Sprint(r.Name, " ", r.Raw))
	}
	want := []string{"/* false", "/a false", "db true", "sni a.example.com true", "sni true"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneRouteForBothTCPAndTLSListeners(t *testing.T) {
	doc, problems := Parse("x", []byte(`
listeners: [{name: a, address: ":81", protocols: tcp}, {name: b, address: ":82", protocols: tls}]
clusters: {bytes: {endpoints: a:2, protocol: tcp}}
routes: [{listener: [a, b], cluster: bytes}]
`), nil)
	if doc == nil || !doc.Routes[0].Raw {
		t.Error(render(problems))
	}
}

func TestCodesOfGRPCStatuses(t *testing.T) {
	var got []string
	for _, s := range grpcStatuses {
		got = append(got, fmt.Sprint(s.word(), "=", s.Code()))
	}
	want := "grpc_cancelled=1 grpc_deadline_exceeded=4 grpc_resource_exhausted=8 grpc_aborted=10 grpc_internal=13 grpc_unavailable=14"
	if strings.Join(got, " ") != want {
		t.Errorf("got %s", got)
	}
}

func TestNamesOfCipherSuitesElsewhere(t *testing.T) {
	f := func(openSSL, want string) {
		t.Helper()
		if got := suiteByOpenSSL(openSSL); got != want {
			t.Errorf("%s: got %q, want %q", openSSL, got, want)
		}
	}
	f("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
	f("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
	f("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")
	f("ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")
	f("AES128-SHA", "")
	f("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "")
	f("", "")
}

func TestNewPartsKnowTheirPlace(t *testing.T) {
	doc, problems := Parse("x", []byte(`acme: {accept_terms: true}
listeners:
  - address: ":443"
    tls:
      certificates:
        - {cert: a.pem, key: a.key}
        - {acme: example.com}
      client_certificates: b.pem
    proxy_protocol: 10.0.0.0/8
clusters:
  app: {endpoints: a:1, protocol: h2, tls: {ca: c.pem}}
routes:
  - {path: /a, cluster: app, filters: [grpc_web: on, transcode: a.pb]}
  - {grpc: a.B/C, cluster: app}
`), nil)
	if doc == nil {
		t.Fatal(render(problems))
	}
	f := func(what string, got Pos, line, column int) {
		t.Helper()
		if got != (Pos{line, column}) {
			t.Errorf("%s: got %v, want %d:%d", what, got, line, column)
		}
	}
	tls := doc.Listeners[0].TLS
	f("acme", doc.ACME.Pos, 1, 7)
	f("tls", tls.Pos, 5, 7)
	f("certificate", tls.Certificates[1].Pos, 7, 11)
	f("client certificates", tls.ClientCertificates.Pos, 8, 28)
	f("proxy protocol", doc.Listeners[0].ProxyProtocol.Pos, 9, 21)
	f("tls of a cluster", doc.Clusters[0].TLS.Pos, 11, 44)
	f("grpc_web", doc.Routes[0].Filters[0].Body.(*GRPCWebFilter).Pos, 13, 50)
	f("transcode", doc.Routes[0].Filters[1].Body.(*TranscodeFilter).Pos, 13, 65)
	f("path of a gRPC call", doc.Routes[1].Match.Path.Pos, 14, 12)
	f("method of a gRPC call", doc.Routes[1].Match.Methods[0].Pos, 14, 12)
}

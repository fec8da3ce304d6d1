package upstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway/upstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// certificate makes a certificate for localhost that its own pool trusts.
func certificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(tb, err)
	leaf, err := x509.ParseCertificate(der)
	check(tb, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// silent is for servers whose complaints are what is tested.
var silent = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// lastCheck waits until the last check of the one endpoint says that.
func (b *bench) lastCheck(state, want string) {
	b.tb.Helper()
	b.await(state)
	if s := b.group.Statuses()[0]; !strings.Contains(s.LastCheck, want) {
		b.tb.Errorf("the last check says %q, and not %q", s.LastCheck, want)
	}
}

// An endpoint is checked by the protocol that its requests are sent by, and by no other.
func TestChecksSpeakAsTheClusterDoes(t *testing.T) {
	cert, pool := certificate(t)
	seen := make(chan string, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := r.Proto
		if r.TLS != nil {
			said += " " + r.TLS.ServerName + " " + r.TLS.NegotiatedProtocol
			if len(r.TLS.PeerCertificates) > 0 {
				said += " " + r.TLS.PeerCertificates[0].Subject.CommonName
			}
		}
		select {
		case seen <- said:
		default:
		}
	})
	trusting := &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}
	plain := trusting.Clone()
	plain.NextProtos = []string{"http/1.1"}
	for _, c := range []struct {
		name   string
		serves func(*http.Protocols) // by an upstream
		secure bool
		dial   engine.DialConfig
		want   string // that the upstream saw, or what the check said
	}{
		{"http1", func(p *http.Protocols) { p.SetHTTP1(true) }, false, engine.DialConfig{}, "HTTP/1.1"},
		{"h2c", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, false, engine.DialConfig{Protocols: engine.HTTP2}, "HTTP/2.0"},
		{"https", func(p *http.Protocols) { p.SetHTTP1(true) }, true, engine.DialConfig{TLS: plain}, "HTTP/1.1 localhost http/1.1 localhost"},
		{"h2", func(p *http.Protocols) { p.SetHTTP2(true) }, true, engine.DialConfig{Protocols: engine.HTTP2, TLS: trusting}, "HTTP/2.0 localhost h2 localhost"},
		{"auto, h2", func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }, true,
			engine.DialConfig{Protocols: engine.HTTP1 | engine.HTTP2, TLS: trusting}, "HTTP/2.0 localhost h2 localhost"},
		{"auto, https", func(p *http.Protocols) { p.SetHTTP1(true) }, true,
			engine.DialConfig{Protocols: engine.HTTP1 | engine.HTTP2, TLS: trusting}, "HTTP/1.1 localhost http/1.1 localhost"},
		{"h2c, and the upstream does not", func(p *http.Protocols) { p.SetHTTP1(true) }, false, engine.DialConfig{Protocols: engine.HTTP2}, ""},
		{"h2, and the upstream does not", func(p *http.Protocols) { p.SetHTTP1(true) }, true, engine.DialConfig{Protocols: engine.HTTP2, TLS: trusting}, ""},
		{"TLS, and the upstream does not", func(p *http.Protocols) { p.SetHTTP1(true) }, false, engine.DialConfig{TLS: trusting}, ""},
		{"a certificate of nobody", func(p *http.Protocols) { p.SetHTTP1(true) }, true,
			engine.DialConfig{TLS: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}}, ""},
		{"a certificate of somebody else", func(p *http.Protocols) { p.SetHTTP1(true) }, true,
			engine.DialConfig{TLS: &tls.Config{RootCAs: pool, ServerName: "other.example"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			u := httptest.NewUnstartedServer(handler)
			u.Config.Protocols = new(http.Protocols)
			c.serves(u.Config.Protocols)
			u.Config.ErrorLog = silent
			if c.secure {
				u.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
				u.EnableHTTP2 = u.Config.Protocols.HTTP2()
				u.StartTLS()
			} else {
				u.Start()
			}
			defer u.Close()
			spec := probing(nil)
			spec.Dial = c.dial
			b.apply(spec, u.Listener.Addr().String())
			if c.want == "" {
				b.await("failing")
				return
			}
			if got := <-seen; got != c.want {
				t.Errorf("the check came as %q, want %q", got, c.want)
			}
			b.await("healthy")
			b.apply(probing(func(p *upstream.Probe) { p.TCP = true }), u.Listener.Addr().String()) // no check is under way
			for len(seen) > 0 {
				<-seen
			}
		})
	}
}

// A check of TLS that fails is a failed connection, as it is for requests, and says why.
func TestAFailedHandshakeOfACheckSaysWhy(t *testing.T) {
	cert, _ := certificate(t)
	b := newBench(t)
	u := httptest.NewUnstartedServer(http.NotFoundHandler())
	u.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	u.Config.ErrorLog = silent
	u.StartTLS()
	defer u.Close()
	spec := probing(nil)
	spec.Dial.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	b.apply(spec, u.Listener.Addr().String())
	b.lastCheck("failing", "certificate")
	if s := b.group.Statuses()[0]; !strings.Contains(s.Why, "connect_failure") {
		t.Errorf("why: %q", s.Why)
	}
	// Whether there is somebody who takes connections is another question.
	again := probing(func(p *upstream.Probe) { p.TCP = true })
	again.Dial = spec.Dial
	b.apply(again, u.Listener.Addr().String())
	b.await("healthy")
}

// Another way to speak to the endpoints is another check: the one under way is not gone on with.
func TestChecksFollowTheProtocol(t *testing.T) {
	b := newBench(t)
	var two atomic.Bool
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { two.Store(r.ProtoMajor == 2) }))
	u.Config.Protocols = new(http.Protocols)
	u.Config.Protocols.SetHTTP1(true)
	u.Config.Protocols.SetUnencryptedHTTP2(true)
	u.Start()
	defer u.Close()
	spec := probing(nil)
	b.apply(spec, u.Listener.Addr().String())
	b.await("healthy")
	other := *spec
	other.Dial.Protocols = engine.HTTP2
	b.apply(&other, u.Listener.Addr().String())
	for deadline := time.Now().Add(patience); !two.Load(); {
		if time.Now().After(deadline) {
			t.Fatal("checks still come by HTTP/1")
		}
		b.group.Statuses()
	}
	b.await("healthy")
}

// grpcServer runs a server of gRPC with its own health service, if register says so.
func grpcServer(t *testing.T, service *health.Server, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := grpc.NewServer(options...)
	if service != nil {
		healthpb.RegisterHealthServer(s, service)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// gRPC's own health server is understood, in clear and over TLS, for the server as a whole and for a service.
func TestChecksByGRPC(t *testing.T) {
	cert, pool := certificate(t)
	for _, secure := range []bool{false, true} {
		for _, service := range []string{"", "shop.Orders"} {
			name := "clear " + service
			dial := engine.DialConfig{Protocols: engine.HTTP2}
			var options []grpc.ServerOption
			if secure {
				name = "TLS " + service
				dial.TLS = &tls.Config{RootCAs: pool, ServerName: "localhost"}
				options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
			}
			t.Run(name, func(t *testing.T) {
				b := newBench(t)
				server := health.NewServer()
				addr := grpcServer(t, server, options...)
				spec := probing(func(p *upstream.Probe) { p.GRPC, p.Service = true, service })
				spec.Dial = dial
				server.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
				b.apply(spec, addr)
				b.lastCheck("healthy", "")
				for _, bad := range []healthpb.HealthCheckResponse_ServingStatus{
					healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_UNKNOWN,
				} {
					server.SetServingStatus(service, bad)
					b.lastCheck("failing", `the service "`+service+`" is `+bad.String())
					server.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
					b.lastCheck("healthy", "")
				}
			})
		}
	}
}

func TestChecksByGRPCThatGetNoAnswer(t *testing.T) {
	by := func(service string) *upstream.Spec {
		spec := probing(func(p *upstream.Probe) { p.GRPC, p.Service = true, service })
		spec.Dial.Protocols = engine.HTTP2
		return spec
	}
	t.Run("no such service", func(t *testing.T) {
		b := newBench(t)
		b.apply(by("shop.Nothing"), grpcServer(t, health.NewServer()))
		b.lastCheck("failing", `does not know the service "shop.Nothing"`)
	})
	t.Run("no health service", func(t *testing.T) {
		b := newBench(t)
		b.apply(by(""), grpcServer(t, nil))
		b.lastCheck("failing", "UNIMPLEMENTED")
	})
	t.Run("another failure", func(t *testing.T) {
		b := newBench(t)
		b.apply(by(""), grpcServer(t, nil, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return context.Canceled })))
		b.lastCheck("failing", "gRPC status 1")
	})
	for name, answer := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"an ordinary server": {http.NotFound, "status 404"},
		"no status":          {func(w http.ResponseWriter, r *http.Request) { w.Write([]byte{0, 0, 0, 0, 2, 8, 1}) }, "no grpc-status"},
		"no message": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Grpc-Status", "0")
		}, "no message of gRPC's health protocol"},
		"a compressed message": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			w.Write([]byte{1, 0, 0, 0, 2, 8, 1})
			w.Header().Set("Grpc-Status", "0")
		}, "no message of gRPC's health protocol"},
		"a cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte{0, 0, 0, 0, 2, 8})
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "stream error"},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			for _, err := w.Write(make([]byte, 1<<15)); err == nil; _, err = w.Write(make([]byte, 1<<15)) {
			}
		}, "no grpc-status"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			u := httptest.NewUnstartedServer(answer.handler)
			u.Config.Protocols = new(http.Protocols)
			u.Config.Protocols.SetUnencryptedHTTP2(true)
			u.Start()
			defer u.Close()
			b.apply(by(""), u.Listener.Addr().String())
			b.lastCheck("failing", answer.want)
		})
	}
}

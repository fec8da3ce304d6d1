package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// certificate is one for 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	from := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	must(t, err)
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestBothServersWithTLSAndWithout(t *testing.T) {
	server, pool := certificate(t)
	for _, c := range []struct {
		name        string
		tls, shared bool
		proto       string // that HTTP's clients get
	}{
		{"two ports in clear", false, false, "HTTP/1.1"},
		{"two ports with TLS", true, false, "HTTP/2.0"},
		{"one port in clear", false, true, "HTTP/1.1"},
		{"one port with TLS", true, true, "HTTP/1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			secure := false
			work := &worker{do: func(ctx context.Context) (string, error) {
				if p, ok := peer.FromContext(ctx); ok {
					_, secure = p.AuthInfo.(credentials.TLSInfo)
				}
				return "called", nil
			}}
			cfg := Config{Drain: atOnce, HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if (r.TLS != nil) != c.tls {
					t.Errorf("r.TLS is %v", r.TLS)
				}
				_, _ = io.WriteString(w, r.Proto)
			})}, GRPC: GRPCConfig{Register: work.register}}
			scheme, dial := "http://", insecure.NewCredentials()
			if c.tls {
				cfg.HTTP.TLS, scheme = server, "https://"
				dial = credentials.NewClientTLSFromCert(pool, "")
			}
			if cfg.GRPC.SharePort = c.shared; !c.shared {
				cfg.GRPC.Address = "127.0.0.1:0"
				cfg.GRPC.TLS = cfg.HTTP.TLS
			}
			a, ended := ready(t, cfg)
			at := a.Addresses()
			if (at.HTTP == at.GRPC) != c.shared {
				t.Errorf("it listens on %+v", at)
			}
			conn, err := grpc.NewClient("passthrough:///"+at.GRPC, grpc.WithTransportCredentials(dial))
			must(t, err)
			defer conn.Close()
			over := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
			defer over.CloseIdleConnections()
			for range 3 {
				if text, err := call(t.Context(), conn); text != "called" || err != nil || secure != c.tls {
					t.Errorf("the call: %q, %v, TLS %t", text, err, secure)
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+at.HTTP+"/", nil)
				must(t, err)
				answer, err := over.RoundTrip(r)
				must(t, err)
				body, err := io.ReadAll(answer.Body)
				must(t, err)
				answer.Body.Close()
				if string(body) != c.proto {
					t.Errorf("the request: %q", body)
				}
			}
			must(t, a.Shutdown(t.Context()))
			must(t, outcome(t, ended))
		})
	}
}

func TestBeginningsOnASharedPort(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "", nil }}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Method) }, work, func(cfg *Config) {
		cfg.GRPC = GRPCConfig{SharePort: true, Register: work.register}
	})
	const settings = "\x00\x00" // of a frame's length, which begins what gRPC's server says first
	const hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, c := range []struct{ sent, want string }{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"},
		{"P / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"}, // the same byte as the preface
		{"PRIX / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"},
		{"\x16\x03\x01\x00\x05hello\r\n\r\n", "HTTP/1.1 400"}, // TLS, where there is none
		{hello, settings},
	} {
		for cut := range len(c.sent) { // in two pieces, cut at each byte
			if cut > 6 {
				break
			}
			conn, err := net.Dial("tcp", b.Addresses().HTTP)
			must(t, err)
			must(t, conn.SetDeadline(time.Now().Add(patience)))
			for _, piece := range []string{c.sent[:cut], c.sent[cut:]} {
				_, err = io.WriteString(conn, piece)
				must(t, err)
			}
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.want {
				t.Errorf("to %q, cut at %d: %q, %v", c.sent, cut, got, err)
			}
			conn.Close()
		}
	}
}

func TestCallsBeforeTheServiceIsReady(t *testing.T) {
	started := make(chan struct{})
	work := &worker{do: func(context.Context) (string, error) { return "", nil }, watch: func(context.Context, func() error) error { return nil }}
	a, _ := run(t, Config{Drain: atOnce, GRPC: GRPCConfig{Address: "127.0.0.1:0", Register: work.register},
		Components: []Component{{Name: "database", Start: func(ctx context.Context) error {
			select {
			case <-started:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}}})
	eventually(t, "it listens", func() bool { return a.Addresses().GRPC != "" })
	conn, err := grpc.NewClient("passthrough:///"+a.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	if _, err := call(t.Context(), conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the service is starting") {
		t.Errorf("a call: %v", err)
	}
	s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, watchMethod)
	must(t, err)
	if err := s.RecvMsg(nil); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream: %v", err)
	}
	close(started)
	eventually(t, "calls are let in", func() bool { _, err := call(t.Context(), conn); return err == nil })
}

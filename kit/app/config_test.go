package app

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
)

func TestEachFieldThatIsWrongIsNamed(t *testing.T) {
	well := func(context.Context) error { return nil }
	none := func(*grpc.Server) {}
	many := strings.Repeat("x", nameBytesMax+1)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{HTTP: HTTPConfig{Address: "8080", Handler: http.NotFoundHandler()}}, `Config.HTTP.Address is "8080", wants host:port`},
		{Config{HTTP: HTTPConfig{Address: ":0"}}, "Config.HTTP.Handler is nil"},
		{Config{HTTP: HTTPConfig{Handler: http.NotFoundHandler()}}, "Config.HTTP.Address is empty"},
		{Config{HTTP: HTTPConfig{ReadHeaderTimeout: -1}}, "Config.HTTP.ReadHeaderTimeout is -1ns, wants more than 0"},
		{Config{HTTP: HTTPConfig{IdleTimeout: -1}}, "Config.HTTP.IdleTimeout"},
		{Config{HTTP: HTTPConfig{HeadBytesMax: 100}}, "Config.HTTP.HeadBytesMax is 100, wants 1024 to"},
		{Config{HTTP: HTTPConfig{ConnectionsMax: -1}}, "Config.HTTP.ConnectionsMax is -1, wants 1 to"},
		{Config{GRPC: GRPCConfig{Address: ":0"}}, "Config.GRPC.Register is nil"},
		{Config{GRPC: GRPCConfig{Register: none}}, "Config.GRPC.Address is empty"},
		{Config{GRPC: GRPCConfig{SharePort: true, Register: none}}, "Config.GRPC.SharePort is set, and HTTP.Address is empty"},
		{Config{GRPC: GRPCConfig{SharePort: true, Address: ":0", Register: none}}, "Config.GRPC.Address"},
		{Config{HTTP: HTTPConfig{Address: ":0", Handler: http.NotFoundHandler()}, GRPC: GRPCConfig{SharePort: true, TLS: &tls.Config{}, Register: none}}, "Config.GRPC.TLS"},
		{Config{HTTP: HTTPConfig{Address: ":0", Handler: http.NotFoundHandler(), TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}},
			GRPC: GRPCConfig{SharePort: true, Register: none}}, "Config.HTTP.TLS has a GetConfigForClient"},
		{Config{HTTP: HTTPConfig{TLS: &tls.Config{}}}, "Config.HTTP.TLS has no certificate"},
		{Config{GRPC: GRPCConfig{TLS: &tls.Config{}}}, "Config.GRPC.TLS has no certificate"},
		{Config{GRPC: GRPCConfig{ConnectTimeout: -1}}, "Config.GRPC.ConnectTimeout"},
		{Config{GRPC: GRPCConfig{HeadBytesMax: 1}}, "Config.GRPC.HeadBytesMax"},
		{Config{GRPC: GRPCConfig{StreamsMax: -1}}, "Config.GRPC.StreamsMax"},
		{Config{GRPC: GRPCConfig{ConnectionsMax: -1}}, "Config.GRPC.ConnectionsMax"},
		{Config{Admin: AdminConfig{Handler: http.NotFoundHandler()}}, "Config.Admin.Handler is set, and Admin.Address is empty"},
		{Config{Admin: AdminConfig{Address: "x"}}, "Config.Admin.Address"},
		{Config{Host: "[::1]"}, `Config.Host is "[::1]", wants a name`},
		{Config{StartTimeout: -1}, "Config.StartTimeout is -1ns"},
		{Config{Components: []Component{{}}}, `Config.Components[0].Name is "", wants 1 to 64 of`},
		{Config{Components: []Component{{Name: "a"}, {Name: "a"}}}, `Config.Components[1].Name is "a", which another has`},
		{Config{Components: make([]Component, componentsMax+1)}, "Config.Components has 257 entries"},
		{Config{Checks: []Check{{Name: "two words", Run: well}}}, "Config.Checks[0].Name"},
		{Config{Checks: []Check{{Name: many, Run: well}}}, "Config.Checks[0].Name"},
		{Config{Checks: []Check{{Name: "a"}}}, "Config.Checks[0].Run is nil"},
		{Config{Checks: []Check{{Name: "a", Run: well, Interval: time.Millisecond}}}, "Config.Checks[0].Interval is 1ms, wants at least 10ms"},
		{Config{Checks: []Check{{Name: "a", Run: well, Timeout: -1}}}, "Config.Checks[0].Timeout"},
		{Config{Checks: []Check{{Name: "a", Run: well, FailAfter: 101}}}, "Config.Checks[0].FailAfter is 101, wants 1 to 100"},
		{Config{Checks: make([]Check, checksMax+1)}, "Config.Checks has 65 entries"},
		{Config{Register: []Registrar{nil}}, "Config.Register[0] is nil"},
		{Config{Register: make([]Registrar, registrarsMax+1)}, "Config.Register has 17 entries"},
		{Config{Checks: []Check{{Name: "registration", Run: well}}, Register: []Registrar{nil}}, `Config.Checks[0].Name is "registration", which another has`},
	} {
		_, err := New(c.cfg)
		if err == nil || !strings.Contains(err.Error(), "app: "+c.want) {
			t.Errorf("%v: not %q", err, c.want)
		}
	}
	if _, err := New(Config{StartTimeout: -1, Components: []Component{{}}}); strings.Count(err.Error(), "app: Config.") != 2 {
		t.Errorf("both faults should be named: %v", err)
	}
}

func TestDefaultsOfTheDrainFitIntoThirtySeconds(t *testing.T) {
	var d DrainConfig
	d.fill()
	if sum := d.Deregister + d.Wait + d.Unready + d.GoAway + d.Finish + d.Stop; sum >= 30*time.Second {
		t.Errorf("the phases take %v, and Kubernetes kills after 30s", sum)
	}
}

func TestServicesThatCannotBeRegistered(t *testing.T) {
	for _, c := range []struct {
		register func(*grpc.Server)
		want     string
	}{
		{func(*grpc.Server) { panic("no database") }, "Config.GRPC.Register: panic: no database"},
		{func(s *grpc.Server) { s.RegisterService(&grpc.ServiceDesc{ServiceName: "grpc.health.v1.Health"}, nil) }, "registers grpc.health.v1.Health, which an App has already"},
	} {
		_, err := New(Config{GRPC: GRPCConfig{Address: ":0", Register: c.register}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: not %q", err, c.want)
		}
	}
}

func TestAddressesAsCallersKnowThem(t *testing.T) {
	for _, c := range []struct{ host, listens, want string }{
		{"", "[::]:8080", "[::]:8080"},
		{"web-7.internal", "[::]:8080", "web-7.internal:8080"},
		{"10.1.2.3", "0.0.0.0:8080", "10.1.2.3:8080"},
		{"fd00::7", "[::]:8080", "[fd00::7]:8080"},
		{"10.1.2.3", "127.0.0.1:8080", "127.0.0.1:8080"},
		{"10.1.2.3", "", ""},
	} {
		a, err := New(Config{Host: c.host, NoSignals: true, Logger: silent})
		must(t, err)
		if got := a.known(c.listens); got != c.want {
			t.Errorf("%q of %q: %q, not %q", c.listens, c.host, got, c.want)
		}
	}
}

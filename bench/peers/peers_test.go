//go:build linux

package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigurationsAreFilledIn looks for what each variant must say, and for what no configuration may still hold.
func TestConfigurationsAreFilledIn(t *testing.T) {
	for _, c := range []struct {
		config   string
		settings Settings
		has, not string
	}{
		{"nginx.conf", Settings{Listen: 18001, Origin: 9001}, "listen 127.0.0.1:18001", "pipeline"},
		{"haproxy.cfg", Settings{Listen: 18002, Origin: 9001}, "server o 127.0.0.1:9001", "\n    log "},
		{"yumen.yaml", Settings{Listen: 18003, Origin: 9001, Admin: 19901}, "access_log: off", "pipeline"},
		{"yumen.yaml", Settings{Listen: 18003, Origin: 9001, Admin: 19901, Pipeline: 32}, "pipeline: 32", "access.log"},
		{"yumen.yaml", Settings{Dir: "there", AccessLog: true}, "there/access.log", "access_log: off"},
		{"nginx.conf", Settings{Wire: Wire{Front: TLS}, Identity: Identity{Cert: "c.pem"}}, "ssl_certificate c.pem;", "18001"},
		{"nginx.conf", Settings{Wire: Wire{Front: H2C}}, "backlog=4096 http2;", "ssl"},
		{"haproxy.cfg", Settings{Wire: Wire{Front: TLS}, Identity: Identity{Pair: "p.pem"}}, "ssl crt p.pem alpn h2,http/1.1", "proto h2"},
		{"haproxy.cfg", Settings{Wire: Wire{Back: H2C}, Origin: 9001}, "server o 127.0.0.1:9001 proto h2", "ssl"},
		{"yumen.yaml", Settings{Wire: Wire{Front: TLS}, Identity: Identity{Cert: "c.pem", Key: "k.pem"}}, `tls: {certificates: [{cert: "c.pem", key: "k.pem"}]}`, "h2c"},
		{"yumen.yaml", Settings{Wire: Wire{Front: H2C, Back: H2C}}, "    protocol: h2c\n", "listen:"},
	} {
		path := filepath.Join(t.TempDir(), c.config)
		if err := fill(c.config, path, c.settings); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		body := string(text)
		if !strings.Contains(body, c.has) || strings.Contains(body, c.not) || strings.Contains(body, "{{") {
			t.Errorf("%s with %+v: want %q in it, %q not:\n%s", c.config, c.settings, c.has, c.not, body)
		}
	}
}

func TestProgramThatCannotStartSaysWhy(t *testing.T) {
	p := Program{Name: "broken", Binary: "sh", args: func(Settings, string) []string { return []string{"-c", "echo out of luck; exit 3"} }}
	if err := p.Find(); err != nil {
		t.Fatal(err)
	}
	_, err := p.Start(t.TempDir(), 0, Wire{})
	if err == nil || !strings.Contains(err.Error(), "starting broken") || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v, want the program's name and last words", err)
	}
}

func TestProgramThatIsMissingIsNamed(t *testing.T) {
	p := Program{Name: "absent", Binary: "no-such-program-here"}
	if err := p.Find(); err == nil || !strings.Contains(err.Error(), "finding absent") {
		t.Errorf("got %v, want the program's name", err)
	}
}

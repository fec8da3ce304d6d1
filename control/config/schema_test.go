package config

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaID, parsed); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is how an editor hands YAML to a validator.
func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemaAcceptsGoodDocumentsAndWhatTheyBecome(t *testing.T) {
	s := compileSchema(t)
	eachGoodFile(t, func(t *testing.T, path string, text []byte) {
		if err := s.Validate(asJSON(t, text)); err != nil {
			t.Errorf("as written: %v", err)
		}
		doc, _ := Parse(path, text, testEnv)
		if err := s.Validate(asJSON(t, doc.YAML())); err != nil {
			t.Errorf("in long form: %v", err)
		}
	})
}

func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	const rest = "\nlisten: ':80'\n"
	f := func(text string) {
		t.Helper()
		if s.Validate(asJSON(t, []byte(text+rest))) == nil {
			t.Errorf("accepted: %s", text)
		}
		if doc, _ := Parse("x", []byte(text+rest), nil); doc != nil {
			t.Errorf("the parser accepts: %s", text)
		}
	}
	f("lisen: x")
	f("clusters: {app: {endponts: []}}")
	f("clusters: {app: {balance: random}}")
	f("clusters: {app: {endpoints: 'a:1', balance: least_conn}}")
	f("clusters: {app: {endpoints: [{weight: 1}]}}")
	f("clusters: {app: {endpoints: [{address: 'a:1', weight: 0}]}}")
	f("clusters: {app: {endpoints: 'a:1', health: {interval: 5}}}")
	f("clusters: {app: {endpoints: 'a:1', health: {expect: many}}}")
	f("clusters: [app]")
	f("routes: [{path: /}]")
	f("routes: [{path: /, respond: 200, redirect: /a}]")
	f("routes: [{path: /, respond: 200, methods: {GET: true}}]")
	f("routes: [{path: /, respond: {stauts: 200}}]")
	f("routes: [{path: /, redirect: {to: /a, status: 200}}]")
	f("routes: [{path: /, respond: 200, filters: [{rewrit: {}}]}]")
	f("filters: {a: {rewrite: {strip: /a}}}")
	f("drain: {timeout: 30}")
	f("watch: maybe")
	f("limits: {buffer_bytes: 12}")
	f("access_log: {sample: 0.5}")
	f("trust: {forwarded_from: everyone}")
	f("listeners: [{address: ':1', protocols: [grpc]}]")
	f("listeners: [{address: ':1', tls: on}]")
	f("listeners: [{address: ':1', tls: {cert: a.pem}}]")
	f("listeners: [{address: ':1', tls: [{acme: example.com, cert: a.pem, key: a.key}]}]")
	f("listeners: [{address: ':1', tls: {cert: a.pem, key: a.key, min_version: 1.1}}]")
	f("listeners: [{address: ':1', tls: {cert: a.pem, key: a.key, curves: [P256]}}]")
	f("listeners: [{address: ':1', proxy_protocol: on}]")
	f("listeners: [{address: ':1', limits: {streams: 0}}]")
	f("clusters: {app: {endpoints: 'a:1', protocol: https}}")
	f("clusters: {app: {endpoints: 'a:1', protocol: tcp, proxy_protocol: v3}}")
	f("clusters: {app: {endpoints: 'a:1', tls: {server: a}}}")
	f("acme: {email: a@example.com}")
	f("limits: {handshakes: 0}")
	f("filters: {a: {grpc_web: {text: on}}}")
	f("filters: {a: {transcode: {services: [a.B]}}}")
	f("defaults: {retry: {on: [grpc_ok]}}")
}

func TestEveryUnknownKeyOfABadDocumentIsRefusedByTheSchema(t *testing.T) {
	s := compileSchema(t)
	eachFile(t, "testdata/bad/*.yaml", func(t *testing.T, path string, text []byte) {
		_, problems := Parse(path, text, testEnv)
		if !strings.Contains(render(problems), "unknown key") || strings.Contains(path, "alias_loop") {
			return // and a loop is no JSON
		}
		if s.Validate(asJSON(t, text)) == nil {
			t.Error("accepted")
		}
	})
}

func TestSchemaDescribesEveryKey(t *testing.T) {
	eachObject(func(o *outline) {
		for _, k := range o.keys {
			if k.about == "" || k.word == "" {
				t.Errorf("%s.%s has no description", o.name, k.name)
			}
		}
		if len(o.keys) > keysMax {
			t.Errorf("%s has %d keys, more than %d", o.name, len(o.keys), keysMax)
		}
	})
}

// eachObject visits every object once, those around before those inside.
func eachObject(visit func(*outline)) {
	seen := map[string]bool{}
	queue := []*outline{outlineOf(documentObject())}
	for len(queue) > 0 {
		o := queue[0]
		queue = queue[1:]
		if seen[o.name] {
			continue
		}
		seen[o.name] = true
		visit(o)
		for _, k := range o.keys {
			if k.inside != nil {
				queue = append(queue, k.inside())
			}
		}
	}
}

package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/config"
)

// withFiles puts files into a folder of the test and their paths where a document has $DIR.
func withFiles(t *testing.T, document string, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll("listeners: [{address: 127.0.0.1:0}]\nroutes: [{path: /, respond: 200, filters: [tested]}]\nfilters:\n  tested:\n    "+document+"\n", "$DIR", dir)
}

// filterText compiles a document with one filter and returns what is said of it, or what is wrong.
func filterText(t *testing.T, document string, files map[string]string) string {
	t.Helper()
	text := withFiles(t, document, files)
	plan, report := compileText("test.yaml", text)
	if plan == nil {
		return report.String()
	}
	return plan.Routes[0].filters[0].Text
}

func TestFilesOfNetworks(t *testing.T) {
	for _, c := range []struct {
		document string
		files    map[string]string
		want     string
	}{
		{"ip: {allow: 10.0.0.0/8}", nil, "by the client's address: allow 1 network, deny 0 networks, deny others"},
		{"ip: {deny_files: $DIR/a}", map[string]string{"a": "10.0.0.0/8\n192.0.2.1 # x"}, "a (2 networks), allow others"},
		{"ip: {allow_files: $DIR/a}", map[string]string{"a": ""}, "a (0 networks), deny others"},
		{"ip: {deny_files: $DIR/a}", nil, "/a\" does not exist: put it there"},
		{"ip: {deny_files: $DIR}", nil, "is a directory"},
		{"ip: {deny_files: $DIR/a}", map[string]string{"a": "10.0.0.0/8\nexample.com"}, `/a: line 2: "example.com" is not a network`},
		{"ip: {allow: 10.0.0.0/8, deny: [1.1.1.1, 10.0.0.0/8]}", nil, "filters.tested.ip.deny[1]: 10.0.0.0/8 is both allowed and denied"},
	} {
		if got := filterText(t, c.document, c.files); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
}

func TestFilesOfKeys(t *testing.T) {
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, c := range []struct {
		document string
		files    map[string]string
		want     string
	}{
		{"api_key: {keys: {acme: {sha256: " + sum + "}}}", nil, "API keys from header x-api-key: 1 in the document; taken off the request"},
		{"api_key: {file: $DIR/a, forward: on, from: {query: k, cookie: c}}", map[string]string{"a": "acme sha256:" + sum + " plan=gold"}, "API keys from query k, cookie c: 0 in the document, 1 in "},
		{"api_key: {file: $DIR/a}", nil, "/a\" does not exist: put it there"},
		{"api_key: {file: $DIR/a}", map[string]string{"a": "acme topsecret"}, `/a: line 1: the key of "acme" begins neither with`},
		{"api_key: {keys: {a: {sha256: " + sum + "}, b: {sha256: " + sum + "}}}", nil, `the key of "b" is somebody's already`},
		{"api_key: {keys: {\"a b\": {sha256: " + sum + "}}}", nil, `the consumer's name "a b" holds a space`},
		{"api_key: {keys: {a: {sha256: " + sum + ", attributes: {sub: x}}}}", nil, `the attribute "sub" is the consumer's own name`},
	} {
		if got := filterText(t, c.document, c.files); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
	_, report := compileText("test.yaml", withFiles(t, "api_key: {file: $DIR/a}", map[string]string{"a": "acme plain:0123456789abcdef"}))
	if got := report.String(); !strings.Contains(got, "warning") || !strings.Contains(got, "has 1 keys written out") || strings.Contains(got, "0123456789abcdef") {
		t.Error(got)
	}
}

func TestPoliciesForPages(t *testing.T) {
	for _, c := range []struct{ document, want string }{
		{"cors: {origins: https://a.test}", "pages of 1 origin may use GET, HEAD, POST"},
		{`cors: {origins: "*", methods: "*"}`, "pages of any origin may use any method"},
		{`cors: {origins: "*", credentials: on}`, `filters.tested.cors.origins: any origin ("*") with credentials would let every page act for its visitor`},
		{"cors: {origins: [https://a.test, a.test]}", `filters.tested.cors.origins[1]: "a.test" is not an origin: it has no scheme`},
		{`cors: {origins: [{regex: ".*"}]}`, "takes in origins that nobody means"},
	} {
		if got := filterText(t, c.document, nil); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
	_, report := compileText("test.yaml", "listeners: [{address: 127.0.0.1:0}]\nroutes: [{path: /, methods: GET, respond: 200, filters: [{cors: {origins: https://a.test}}]}]")
	if got := report.String(); !strings.Contains(got, "the route does not take OPTIONS") {
		t.Error(got)
	}
}

func TestFilesOfUsers(t *testing.T) {
	for _, c := range []struct {
		document string
		files    map[string]string
		want     string
	}{
		{"basic_auth: $DIR/a", map[string]string{"a": "alice:$2y$04$" + strings.Repeat("x", 53)}, "name and password, of 1 users in "},
		{"basic_auth: {users: $DIR/a, cache: off}", map[string]string{"a": ""}, ", not remembered"},
		{"basic_auth: $DIR/a", nil, "/a\" does not exist: put it there"},
		{"basic_auth: $DIR/a", map[string]string{"a": "alice:topsecret"}, `/a: line 1: the hash of "alice" is neither bcrypt nor Argon2id`},
	} {
		got := filterText(t, c.document, c.files)
		if !strings.Contains(got, c.want) || strings.Contains(got, "topsecret") {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
}

func TestCertificatesOfClients(t *testing.T) {
	for _, c := range []struct{ document, want string }{
		{"mtls: on", "a verified client certificate"},
		{"mtls: {uris: spiffe://mesh/*, common_names: a}", "a verified client certificate that fits one of 2 names and fingerprints"},
		{"mtls: {uris: spiffe://mesh*}", `filters.tested.mtls.uris[0]: "spiffe://mesh*" ends in the middle of a segment`},
		{"mtls: {fingerprints: ab}", "is no SHA-256 fingerprint"},
	} {
		if got := filterText(t, c.document, nil); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
	_, report := compileText("test.yaml", "listeners: [{name: web, address: 127.0.0.1:0}]\nroutes: [{path: /, respond: 200, filters: [{mtls: on}]}]")
	if got := report.String(); !strings.Contains(got, `no client shows a certificate on listener "web"`) {
		t.Error(got)
	}
}

func TestSecretsOfSigners(t *testing.T) {
	t.Setenv("ACME_SECRET", "0123456789abcdef")
	t.Setenv("SHORT_SECRET", "topsecret")
	for _, c := range []struct {
		document string
		files    map[string]string
		want     string
	}{
		{"hmac_auth: {keys: {acme: {secret_env: ACME_SECRET}}}", nil, "signed requests, of 1 keys in the document: @method @authority @path @query, at most 5m0s old"},
		{"hmac_auth: {file: $DIR/a, replays: off}", map[string]string{"a": "acme 0123456789abcdef"}, ", also twice"},
		{"hmac_auth: {keys: {acme: {secret_env: NO_SUCH_SECRET}}}", nil, `the environment variable NO_SUCH_SECRET with the secret of "acme" is not set`},
		{"hmac_auth: {keys: {acme: {secret_env: SHORT_SECRET}}}", nil, `the secret of "acme" has 9 bytes`},
		{"hmac_auth: {file: $DIR/a}", map[string]string{"a": "acme topsecret"}, `/a: line 1: the secret of "acme" has 9 bytes`},
		{`hmac_auth: {keys: {acme: {secret_env: ACME_SECRET}}, components: "@target-uri"}`, nil, `filters.tested.hmac_auth.components[0]: "@target-uri" is no component`},
	} {
		got := filterText(t, c.document, c.files)
		if !strings.Contains(got, c.want) || strings.Contains(got, "topsecret") {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
	}
}

// The documents of the guide can be pasted.
func TestIdentityGuide(t *testing.T) {
	pages := map[string]string{}
	for _, name := range []string{"identity.md", "cors.md"} {
		text, err := os.ReadFile("../../docs/guide/" + name)
		if err != nil {
			t.Fatal(err)
		}
		pages[name] = string(text)
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"keys.txt":       "acme  sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  plan=gold tenant=a\n",
		"users.htpasswd": "alice:$2y$05$" + strings.Repeat("x", 53) + "\n", "secrets.txt": "acme 0123456789abcdef plan=gold\n", "blocked.txt": "192.0.2.0/24 # noise\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) { return "0123456789abcdef", name == "BETA_KEY" }
	for name, text := range pages {
		blocks := strings.Split(text, "```yaml\n")[1:]
		for i, b := range blocks {
			document, _, _ := strings.Cut(b, "```")
			doc, problems := config.Parse(name, []byte(document), env)
			if plan, report := Compile(doc, problems, nil, nil); plan == nil || len(report.Problems) > 0 {
				t.Errorf("%s, document %d:\n%s", name, i+1, report)
			}
		}
		if len(blocks) == 0 {
			t.Errorf("%s has no documents", name)
		}
	}
}

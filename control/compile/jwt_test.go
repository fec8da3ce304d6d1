package compile

import (
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/filters/jwt"
)

func TestTokensInDocuments(t *testing.T) {
	const set = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	const secret = "0123456789abcdef0123456789abcdef"
	t.Setenv("YUMEN_TEST_SECRET", secret)
	for _, c := range []struct {
		document string
		files    map[string]string
		want     string
	}{
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {url: https://idp.test/keys}}", nil, "tokens of i for a, signed by ES256 with keys from https://idp.test/keys"},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {file: $DIR/k}}", map[string]string{"k": set}, "signed by ES256 with keys from "},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {file: $DIR/k}}", nil, "no such file"},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {file: $DIR/k}}", map[string]string{"k": "hello"}, "it holds no PEM block with a public key"},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {jwks: '" + set + "'}, required: off, scopes: [x]}", nil, "keys from the document; requests without one go on; scopes x"},
		{"jwt: {issuer: i, audience: a, algorithms: RS256, keys: {jwks: '" + set + "'}}", nil, "filters.tested.jwt.algorithms[0]: there is no key for RS256"},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {url: http://idp.test/keys}}", nil, "filters.tested.jwt.keys.url: keys from idp.test would come by plain HTTP"},
		{"jwt: {issuer: i, audience: a, algorithms: HS256, keys: {secret_env: YUMEN_TEST_SECRET}}", nil, "signed by HS256 with a secret"},
		{"jwt: {issuer: i, audience: a, algorithms: HS512, keys: {secret_env: YUMEN_TEST_SECRET}}", nil, "the secret has 32 bytes, and HS512 needs 64"},
		{"jwt: {issuer: i, audience: a, algorithms: HS256, keys: {secret_env: YUMEN_TEST_SECRET, secret_form: base64}}", nil, "the secret has 24 bytes"},
		{"jwt: {issuer: i, audience: a, algorithms: HS256, keys: {secret_env: YUMEN_TEST_NONE}}", nil, "the environment variable YUMEN_TEST_NONE with the secret is not set"},
		{"jwt: {issuer: i, audience: a, algorithms: HS256, keys: {secret_file: $DIR/s}}", map[string]string{"s": secret + "\n"}, "signed by HS256"},
		{"jwt: {issuer: i, audience: a, algorithms: HS256, keys: {url: https://idp.test/}}", nil, "HS256 needs a secret, and what a URL gives is none"},
		{"jwt: {issuer: i, audience: a, algorithms: ES256, keys: {file: $DIR/k}, from: {header: cookie}}", map[string]string{"k": set}, "no token can be in the field cookie"},
	} {
		got := filterText(t, c.document, c.files)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.document, got, c.want)
		}
		if strings.Contains(got, secret) {
			t.Errorf("%s: the secret is shown", c.document)
		}
	}
}

// What the guide shows can be pasted.
func TestTheGuideOfTokens(t *testing.T) {
	page, err := os.ReadFile("../../docs/guide/jwt.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("JWT_SECRET", strings.Repeat("0123456789abcdef", 4))
	examples := strings.Split(string(page), "```yaml\n")[1:]
	if len(examples) == 0 {
		t.Fatal("no example")
	}
	for _, e := range examples {
		text, _, _ := strings.Cut(e, "```")
		if plan, report := compileText("guide.yaml", text); plan == nil || len(report.Problems) > 0 {
			t.Errorf("%s\n%s", text, report)
		}
	}
	for _, word := range jwt.Reasons() {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("the guide does not say what %s means", word)
		}
	}
}

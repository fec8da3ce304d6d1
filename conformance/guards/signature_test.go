//go:build linux

package guards

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

const signingSecret = "0123456789abcdef0123456789abcdef"

// signed makes a request as a client of RFC 9421 does: method, authority, path and query, and the digest of a body if there is
// one.
func signed(t *testing.T, addr, method, target, body string, created time.Time, nonce int) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+addr+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	names := `"@method" "@authority" "@path" "@query"`
	base := fmt.Sprintf("\"@method\": %s\n\"@authority\": %s\n\"@path\": %s\n\"@query\": ?%s\n", method, addr, path, query)
	if body != "" {
		sum := sha256.Sum256([]byte(body))
		digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		req.Header.Set("Content-Digest", digest)
		names += ` "content-digest"`
		base += `"content-digest": ` + digest + "\n"
	}
	params := "(" + names + ");created=" + strconv.FormatInt(created.Unix(), 10) + `;keyid="acme";nonce="` + strconv.Itoa(nonce) + `"`
	m := hmac.New(sha256.New, []byte(signingSecret))
	io.WriteString(m, base+`"@signature-params": `+params)
	req.Header.Set("Signature-Input", "sig1="+params)
	req.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(m.Sum(nil))+":")
	return req
}

func TestSignedRequests(t *testing.T) {
	secrets := write(t, filepath.Join(t.TempDir(), "secrets"), "acme "+signingSecret+" plan=gold\n")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /x, cluster: app, filters: [hmac_auth: {file: %s, headers: {X-Consumer: sub, X-Plan: plan}, max_body: 100kB}]}
  - {path: /tried, cluster: app, filters: [hmac_auth: {file: %s, mode: shadow}]}
`, addr, told(t), secrets, secrets), gateway.Options{})
	tr := &http.Transport{ExpectContinueTimeout: patience}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr, Timeout: 2 * patience}
	nonce := 0
	f := func(name, method, target, body string, age time.Duration, change func(*http.Request), want ...string) {
		t.Helper()
		nonce++
		created := time.Now().Add(-age)
		for _, want := range want { // the same request again
			req := signed(t, addr, method, target, body, created, nonce)
			if change != nil {
				change(req)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if got := outcome(t, resp); got != want {
				t.Errorf("%s: got %.200q, want %.200q", name, got, want)
			}
			resp.Body.Close()
		}
	}
	other := func(text string) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		}
	}
	const who = "200 X-Consumer=acme X-Plan=gold"
	f("no body", "GET", "/x", "", 0, nil, who, "401 signature_replayed")
	f("a query", "GET", "/x?a=1", "", 0, nil, "200 a=1"+strings.TrimPrefix(who, "200"))
	f("another query", "GET", "/x?a=1", "", 0, func(r *http.Request) { r.URL.RawQuery = "a=2" }, "401 signature_wrong")
	f("unsigned", "GET", "/x", "", 0, func(r *http.Request) { r.Header.Del("Signature"); r.Header.Del("Signature-Input") }, "401 signature_missing")
	f("old", "GET", "/x", "", 10*time.Minute, nil, "401 signature_expired")
	f("early", "GET", "/x", "", -10*time.Minute, nil, "401 signature_early")

	f("a body", "POST", "/x", "hello", 0, nil, who+" body=hello <nil>", "401 signature_replayed")
	f("another body", "POST", "/x", "hello", 0, other("hellO"), "400 digest_wrong")
	f("a body that nobody signed", "POST", "/x", "", 0, other("hello"), "401 signature_incomplete")
	f("a body that is missing", "POST", "/x", "hello", 0, other(""), "400 digest_wrong")
	big := strings.Repeat("0123456789", 9_000)
	f("a large body", "POST", "/x", big, 0, nil, who+" body="+big+" <nil>")
	f("a larger one", "POST", "/x", big+big, 0, nil, "413 signed_body_too_large")
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	f("in chunks", "POST", "/x", big, 0, chunked, who+" body="+big+" <nil>")
	f("in chunks, another", "POST", "/x", "hello", 0, func(r *http.Request) { other("hellO")(r); chunked(r) }, "400 digest_wrong")
	f("a client that asks first", "POST", "/x", "hello", 0, func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, who+" body=hello <nil>")

	f("tried", "POST", "/tried", "hello", 0, nil, "200 body=hello <nil>", "200 body=hello <nil>")
	f("tried, another body", "POST", "/tried", "hello", 0, other("hellO"), "200 body=hellO <nil>")
	gateway.Eventually(t, patience, "what was tried is recorded", func() error {
		_, text, err := p.AdminGet("/api/decisions?max=1000")
		if err != nil {
			return err
		}
		if strings.Contains(string(text), signingSecret) {
			t.Error("the records have the secret")
		}
		var list []struct{ Mode, Reason string }
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		said := map[string]bool{}
		for _, d := range list {
			said[d.Mode+" "+d.Reason] = true
		}
		for _, want := range []string{"shadow signature_replayed", "shadow digest_wrong", "enforce digest_wrong", "enforce signature_wrong"} {
			if !said[want] {
				return errors.New("no " + want)
			}
		}
		return nil
	})
}

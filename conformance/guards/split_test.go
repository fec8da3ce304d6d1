//go:build linux

package guards

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// version is an upstream that says which one it is, and what it was sent in a field.
func version(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" && name == "next" {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, name+" "+r.Header.Get("X-Variant"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// order sends an order to the admin API.
func order(t *testing.T, p *gateway.Process, method, path, body string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+p.Admin()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := plainClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
}

func TestRequestsAreSplit(t *testing.T) {
	app, next := version(t, "app"), version(t, "next")
	addr := gateway.FreeAddr(t)
	document := func(canary, salt string) string {
		return fmt.Sprintf(`listen: %q
trust: {forwarded_from: 127.0.0.0/8}
limits: {loops: 2}
clusters: {app: [%q], next: [%q]}
filters:
  shop:
    split:
      variants: [{name: stable, cluster: app}, {name: canary, cluster: next, weight: %s}]
      key: [header: x-user]
      rules:
        - {when: {header: {x-beta: "1"}, client: 10.0.0.0/8}, variant: canary}
        - {when: {cookie: {beta: "no"}}, variant: stable}
      salt: %s
      header: x-variant
routes:
  - {path: /*, cluster: app, filters: [shop]}
  - path: /cookie
    cluster: app
    filters: [split: {variants: [{name: stable, cluster: app}, {name: canary, cluster: next, weight: 50%%}], cookie: {name: group, max_age: 1h}}]
  - {path: /generation, respond: {status: 200, body: %q}}
`, addr, app, next, canary, salt, canary+salt)
	}
	p := gateway.Start(t, document("5%", "a"), gateway.Options{})
	c := plainClient(t)
	f := func(fields string) string {
		t.Helper()
		return plain(t, ask(t, c, addr, "GET /", fields, nil))
	}
	const users = 300
	// canaries are the users who are in the canary.
	canaries := func() map[int]bool {
		t.Helper()
		in := map[int]bool{}
		for i := range users {
			switch got := f(fmt.Sprint("X-User: ", i)); got {
			case "next canary":
				in[i] = true
			case "app stable":
			default:
				t.Fatal(got)
			}
		}
		return in
	}
	same := func(what string, a, b map[int]bool) {
		t.Helper()
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: %v and %v", what, a, b)
		}
	}

	five := canaries()
	if len(five) < 3 || len(five) > 35 {
		t.Errorf("%d of %d users are in 5%%", len(five), users)
	}
	same("again", five, canaries())

	for _, r := range []struct{ fields, want string }{
		{"X-Beta: 1; X-Forwarded-For: 10.1.2.3", "next canary"},
		{"X-Beta: 1; X-Forwarded-For: 192.0.2.1; Cookie: beta=no", "app stable"},
		{"Cookie: beta=no; X-Variant: canary", "app stable"},
	} {
		if got := f(r.fields); got != r.want {
			t.Errorf("%s: %s, want %s", r.fields, got, r.want)
		}
	}

	// Steps while the document stays.
	order(t, p, "PUT", "/api/splits/shop", `{"weights": {"canary": "30%"}}`)
	thirty := canaries()
	if len(thirty) < 60 || len(thirty) > 120 {
		t.Errorf("%d of %d users are in 30%%", len(thirty), users)
	}
	for i := range five {
		if !thirty[i] {
			t.Errorf("user %d was in at 5%% and is not at 30%%", i)
		}
	}
	order(t, p, "PUT", "/api/splits/shop", `{"weights": {"canary": "100%"}}`)
	if n := len(canaries()); n != users {
		t.Errorf("%d of %d users are in all", n, users)
	}
	order(t, p, "POST", "/api/splits/shop/back", "")
	same("one step back", thirty, canaries())

	// Documents that change.
	reload := func(canary, salt string) {
		t.Helper()
		p.WriteConfig(document(canary, salt))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if body := plain(t, ask(t, c, addr, "GET /generation", "", nil)); body != canary+salt {
				return errors.New("still " + body)
			}
			return nil
		})
	}
	reload("5%", "b")
	other := canaries()
	if fmt.Sprint(other) == fmt.Sprint(thirty) || len(other) < 60 {
		t.Errorf("another salt, the same weights as were set: %d users", len(other))
	}
	reload("10%", "a")
	ten := canaries()
	if len(ten) > 60 {
		t.Errorf("the document's weights have changed, and %d users are in 10%%", len(ten))
	}
	for i := range five {
		if !ten[i] {
			t.Errorf("user %d was in at 5%% and is not at 10%%", i)
		}
	}
	reload("5%", "a")
	same("as in the beginning", five, canaries())

	t.Run("numbers", func(t *testing.T) {
		before, err := p.Metric("yumen_split_requests_total", `split="shop"`, `variant="canary"`, `status="5xx"`)
		if err != nil || before != 0 {
			t.Fatalf("%v: %v", before, err)
		}
		plain(t, ask(t, c, addr, "GET /bad", "X-Beta: 1; X-Forwarded-For: 10.1.2.3", nil))
		gateway.Eventually(t, patience, "an error is counted", func() error {
			n, err := p.Metric("yumen_split_requests_total", `split="shop"`, `variant="canary"`, `status="5xx"`)
			if err == nil && n != 1 {
				err = fmt.Errorf("%v", n)
			}
			return err
		})
		if share, err := p.Metric("yumen_split_weight", `split="shop"`, `variant="canary"`); err != nil || share != 0.05 {
			t.Errorf("%v: %v", share, err)
		}
		_, text, err := p.AdminGet("/api/splits/shop")
		if err != nil || !strings.Contains(string(text), `"errors": 1`) {
			t.Errorf("%v: %s", err, text)
		}
	})

	t.Run("cookie", func(t *testing.T) {
		seen := map[string]int{}
		for range 60 {
			resp := ask(t, c, addr, "GET /cookie", "", nil)
			first := plain(t, resp)
			set, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
			if !strings.HasPrefix(set, "group=") || !strings.Contains(resp.Header.Get("Set-Cookie"), "; Max-Age=3600; HttpOnly; SameSite=Lax") {
				t.Fatal(resp.Header)
			}
			seen[first]++
			resp = ask(t, c, addr, "GET /cookie", "Cookie: x=y; Cookie: "+set, nil)
			if again := plain(t, resp); again != first || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %s, then %s, %v", set, first, again, resp.Header)
			}
		}
		if seen["app "] < 10 || seen["next "] < 10 {
			t.Errorf("%v", seen)
		}
		if resp := ask(t, c, addr, "GET /cookie", "Cookie: group=mine", nil); resp.Header.Get("Set-Cookie") == "" {
			t.Error("a cookie that is none of ours was taken")
		}
	})
}

// Weights change all the time while clients ask: every request is answered, by one version or the other.
func TestWeightsChangeUnderLoad(t *testing.T) {
	app, next := version(t, "app"), version(t, "next")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: [%q], next: [%q]}
filters: {shop: {split: {variants: [{name: blue, cluster: app}, {name: green, cluster: next, weight: 0%%}]}}}
routes: [{path: /*, cluster: app, filters: [shop]}]
`, addr, app, next), gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 4}.Start(0)
	for range 20 {
		order(t, p, "PUT", "/api/splits/shop", `{"weights": {"green": "100%"}}`)
		done := load.Done()
		await(t, "green answers", func() bool { return load.Done() >= done+20 })
		order(t, p, "POST", "/api/splits/shop/back", "")
	}
	tally := load.Stop()
	if tally.Failures() != 0 || tally.OK == 0 {
		t.Errorf("%v", tally)
	}
	for _, variant := range []string{"blue", "green"} {
		if n, err := p.Metric("yumen_split_requests_total", `split="shop"`, fmt.Sprintf("variant=%q", variant), `status="2xx"`); err != nil || n == 0 {
			t.Errorf("%s: %v, %v", variant, n, err)
		}
	}
}

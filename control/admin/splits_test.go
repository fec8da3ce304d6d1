package admin

import (
	"strings"
	"testing"
)

const splitDocument = `listen: 127.0.0.1:0
admin: off
clusters: {blue: ["127.0.0.1:1"], green: ["127.0.0.1:1"]}
filters: {shop: {split: {variants: [{name: blue, cluster: blue}, {name: green, cluster: green, weight: 5%}]}}}
routes:
  - {path: /*, cluster: blue, filters: [shop]}
  - {path: /own, cluster: blue, filters: [split: {variants: [{name: a, cluster: blue}, {name: b, cluster: green}]}]}
`

func TestSplitsAreSetAndTakenBack(t *testing.T) {
	api, _ := start(t, "", splitDocument)
	f := func(method, path, body string, status int, texts ...string) {
		t.Helper()
		ask(t, api, method, path, body).want(t, status, texts...)
	}
	// weights are those of a line of the table for people.
	weights := func(want string) {
		t.Helper()
		a := ask(t, api, "GET", "/api/splits/shop", "", "Accept: text/plain").want(t, 200)
		var got []string
		for line := range strings.Lines(a.body) {
			if cells := strings.Fields(line); cells[0] == "shop" {
				got = append(got, cells[1]+"="+cells[3]+"/"+cells[4])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f("GET", "/api/splits", "", 200, `"name": "shop"`, `"name": "/own/split"`, `"weight": "95%"`, `"document": "5%"`)
	f("GET", "/api/splits/%2Fown%2Fsplit", "", 200, `"weight": "50%"`)
	weights("blue=95%/95% green=5%/5%")
	f("POST", "/api/splits/shop/back", "", 409, "nothing to go back to")
	f("PUT", "/api/splits/shop", `{"weights": {"green": "100%"}}`, 200, `"set_by": "an operator"`, `"before": 1`)
	weights("blue=0%/95% green=100%/5%")
	f("PUT", "/api/splits/shop", `{"weights": {"blue": "99.99%"}}`, 200, `"weight": "0.01%"`)
	f("POST", "/api/splits/shop/back", "", 200, `"weight": "100%"`)
	f("POST", "/api/splits/shop/back", "", 200, `"before": 0`)
	weights("blue=95%/95% green=5%/5%")
	f("PUT", "/api/splits/shop", `{"weights": {"green": "50%"}}`, 200)
	f("PUT", "/api/splits/shop", `{"weights": {"green": "60%"}}`, 200)
	f("DELETE", "/api/splits/shop", "", 200, `"before": 0`)
	weights("blue=95%/95% green=5%/5%")

	f("GET", "/api/splits/none", "", 404, "there is no split")
	f("DELETE", "/api/splits/none", "", 404, "there is no split")
	for _, body := range []string{
		"", "{}", `{"weights": {}}`, `{"weights": {"green": 5}}`, `{"weights": {"green": "5"}}`, `{"weights": {"green": "-5%"}}`, `{"weights": {"green": "101%"}}`,
		`{"weights": {"green": "1e1%"}}`, `{"weights": {"green": "NaN%"}}`, `{"weights": {"green": "0.005%"}}`, `{"weights": {"red": "5%"}}`,
		`{"weights": {"green": "60%", "blue": "60%"}}`, `{"weights": {"green": "10%"}, "mode": "all"}`, `{"weights": {"green": "` + strings.Repeat("0", weightsBytesMax) + `5%"}}`,
	} {
		f("PUT", "/api/splits/shop", body, 400, "error")
	}
	weights("blue=95%/95% green=5%/5%")
	ask(t, api, "PUT", "/api/splits/shop", `{"weights": {"green": "100%"}}`, "Sec-Fetch-Site: cross-site").want(t, 403, "another site")
}

package compile

import (
	"fmt"
	"strings"
	"testing"
)

// Clients behind one address, and a filter that divides them by it.
func TestDividingThoseWhoHaveOneAddress(t *testing.T) {
	const (
		open     = `listen: ":8080"`
		local    = `listen: "127.0.0.1:8080"`
		variants = `variants: [{name: old, cluster: app}, {name: new, cluster: next, weight: 5%}]`
		groups   = `groups: [{name: a}, {name: b, weight: 10%}]`
		machine  = `on listener "default", which only this machine can reach, that is one for all`
		proxies  = `on listener "default" that is a proxy's own wherever one of trust.forwarded_from does not name its client in X-Forwarded-For`
	)
	for _, c := range []struct{ front, filter, want string }{
		{open, `split: {` + variants + `}`, ""},
		{local, `split: {` + variants + `}`, machine},
		{"listen: \"[::1]:8080\"", `split: {` + variants + `}`, machine},
		{"listen: localhost:8080", `split: {` + variants + `}`, machine},
		{"listeners: [{address: \"127.0.0.1:8080\", proxy_protocol: {from: 127.0.0.1}}]", `split: {` + variants + `}`, ""},
		{open + "\ntrust: {forwarded_from: 10.0.0.0/8}", `split: {` + variants + `}`, proxies},
		{open + "\ntrust: {forwarded_from: 10.0.0.0/8}", `split: {` + variants + `, key: client_address}`, ""},
		{local, `split: {` + variants + `, key: {header: x-user-id}}`, ""},
		{local, `split: {` + variants + `, cookie: group}`, ""},
		{local, `split: {variants: [{name: blue, cluster: app, weight: 100%}, {name: green, cluster: next, weight: 0%}]}`, ""},
		{local, `split: {variants: [{name: blue, cluster: app, weight: 100%}, {name: green, cluster: next, weight: 0%}], canary: {variant: green}}`, machine},
		{local, `colour: {abtest_group: {` + groups + `}}`, machine},
		{local, `colour: {abtest_group: {` + groups + `, key: {header: x-user-id}}}`, ""},
		{local, `colour: {trace_id: on}`, ""},
		{local, `limit: 10/s`, ""},
	} {
		for _, named := range []bool{false, true} {
			filters, use, lines := "", "["+c.filter+"]", "routes[0].filters[0]: "
			if named {
				filters, use, lines = "filters: {one: {"+c.filter+"}}\n", "[one]", "filters.one: "
			}
			document := c.front + "\nclusters: {app: \"127.0.0.1:1\", next: \"127.0.0.1:2\"}\n" + filters +
				"routes: [{path: /a, cluster: app, filters: " + use + "}]\n"
			if named {
				// A second route that uses it is no second warning.
				document = strings.Replace(document, "routes: [", "routes: [{path: /b, cluster: app, filters: [one]}, ", 1)
			}
			plan, report := compileText("sticky.yaml", document)
			if plan == nil {
				t.Fatalf("%s\n%s", document, report)
			}
			text := fmt.Sprint(report)
			n := strings.Count(text, "goes by the client's address")
			switch {
			case c.want == "" && n != 0, c.want != "" && (n != 1 || !strings.Contains(text, c.want) || !strings.Contains(text, lines)):
				t.Errorf("%s, %s, named %v: %d warnings, want %q\n%s", c.front, c.filter, named, n, c.want, text)
			}
		}
	}
}

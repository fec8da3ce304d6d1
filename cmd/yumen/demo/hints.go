package demo

import (
	"fmt"
	"net"
	"strings"
)

// Hints are lines to try, for a terminal. listen and admin are where the gateway really listens; flag is what the yumen
// commands need to find the admin API, empty if nothing.
func Hints(listen, admin, flag string) string {
	base, api := "http://"+reachable(listen), "http://"+reachable(admin)
	yumen := func(command string) string {
		name, rest, _ := strings.Cut(command, " ")
		return strings.TrimSpace("./yumen " + name + flag + " " + rest)
	}
	var b strings.Builder
	say := func(what string, lines ...string) {
		fmt.Fprintf(&b, "\n%s\n", what)
		for _, line := range lines {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	b.WriteString("Three upstreams, apple, banana and cherry, stand behind the gateway. Cherry fails now and then.\n")
	say("A request, and a route with a parameter:",
		"curl -i "+base+"/",
		"curl -i "+base+"/users/42")
	say("The same path for those who send a header; an answer of the gateway itself; a redirect:",
		"curl -H 'X-Env: next' "+base+"/users/42",
		"curl "+base+"/hello",
		"curl -L "+base+"/old")
	say("Thirty requests with nothing done about cherry, then thirty with checks and retries:",
		"for i in $(seq 30); do curl -s -o /dev/null -w '%{http_code} ' "+base+"/bare/$i; done; echo",
		"for i in $(seq 30); do curl -s -o /dev/null -w '%{http_code} ' "+base+"/$i; done; echo")
	say("Eight requests where a client may send five at once, who refused the others, and by which numbers:",
		"for i in $(seq 8); do curl -s -o /dev/null -w '%{http_code} ' "+base+"/few/$i; done; echo",
		yumen("guards"),
		yumen("why --guard few"))
	say("What the gateway thinks of its endpoints, and why a request goes where it goes:",
		yumen("status"),
		yumen("explain GET "+base+"/users/42 -H 'X-Env: next'"),
		"curl "+api+"/api/clusters",
		"curl "+api+"/metrics")
	say("Change the configuration while it runs, and take it back:",
		"curl -s "+api+"/api/config | sed 's/from the gateway itself/from revision two/' > /tmp/demo.yaml",
		"curl -X PUT --data-binary @/tmp/demo.yaml -H 'If-Match: *' "+api+"/api/config && curl "+base+"/hello",
		yumen("rollback")+" && curl "+base+"/hello")
	b.WriteString("\nCtrl-C ends it.\n")
	return b.String()
}

// reachable is where a client on this machine connects to: every address of the machine is no address to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "localhost:" + port
	}
	return address
}

package admin

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
)

// What people read of a record: what a client wrote is quoted, with what is not printable escaped.
func TestRecordsForPeople(t *testing.T) {
	d := gateway.Decision{At: time.Unix(0, 0), RequestID: "1a", Revision: 3, Route: "shop", Client: netip.MustParseAddr("192.0.2.1"), Method: "GET", Path: "/",
		Kind: "jwt", Guard: "users", Outcome: gateway.Refused, Status: 401, Reason: "jwt_issuer", Text: "no",
		Numbers: []gateway.Number{{Name: "clock_skew", Value: 30, Unit: "s"}}, Words: []gateway.Word{{Name: "iss", Value: "\x1b[2J\"\n"}, {Name: "accepted", Value: "a, b"}}}
	const want = "1970-01-01 00:00:00.000  request 1a  GET /  from 192.0.2.1, route shop, revision 3\n" +
		"  jwt users: refused with 401, jwt_issuer: no\n" +
		"    clock skew 30s, iss \"\\x1b[2J\\\"\\n\", accepted \"a, b\"\n"
	if got := decisionsText([]gateway.Decision{d}, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, id := range []string{"", "1a"} {
		if got := decisionsText(nil, id); !strings.HasPrefix(got, "no record ") || !strings.Contains(got, "sample") {
			t.Errorf("of %q: %s", id, got)
		}
	}
}

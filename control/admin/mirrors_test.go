package admin

import (
	flags "flag"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/filters/mirror"
)

var update = flags.Bool("update", false, "rewrite the texts in testdata")

// mirrorsSeen are one mirror that compares, with all that can be said of it, and one that only counts, in shadow mode.
func mirrorsSeen() []control.MirrorStatus {
	at := time.Date(2026, 11, 21, 10, 5, 9, 0, time.UTC)
	price := mirror.Discrepancy{Path: "$.items[].price", Kind: "value", Was: "2", Is: "3", Different: 56, RequestID: "5f0c9a1be0d4f7a20000000000000131", LastSeen: at}
	status := mirror.Discrepancy{Path: "status", Kind: "value", Was: "200", Is: "500", Different: 4, RequestID: "5f0c9a1be0d4f7a20000000000000442", LastSeen: at.Add(-18 * time.Second)}
	return []control.MirrorStatus{
		{Name: "next", Mode: "enforce",
			Numbers: map[string]float64{"sent": 1200, "answered": 1198, "answered_5xx": 4, "failed": 2, "in_flight_full": 7, "body_too_large": 1},
			Report: &mirror.Report{
				Verdicts: map[string]uint64{"equal": 1100, "different": 60, "noise": 20, "uncompared_too_large": 18},
				Old:      mirror.Latency{P50: 4.8, P99: 19}, New: mirror.Latency{P50: 5.7, P99: 22.6},
				Places: []mirror.Discrepancy{price, status,
					{Path: "$.name", Kind: "value", Was: "two\nlines", Is: "", Different: 1, RequestID: "5f0c9a1be0d4f7a20000000000000443", LastSeen: at},
					{Path: "$.at", Kind: "value", Noise: 212}},
				PlacesHidden: 3,
				Examples: []mirror.Example{{At: at, RequestID: price.RequestID, Method: "GET", Path: "/items",
					Differences: []mirror.Discrepancy{{Path: price.Path, Kind: price.Kind, Was: price.Was, Is: price.Is}}, More: 2}},
			}},
		{Name: "home/mirror", Mode: "shadow", Numbers: map[string]float64{"would_send": 31}},
	}
}

// golden holds a text against a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is otherwise:\n%s\ngo test ./control/admin -update rewrites it; read the diff", file, got)
	}
}

// What yumen mirror prints, and what /api/mirrors answers.
func TestMirrorsAreTold(t *testing.T) {
	list := mirrorsSeen()
	golden(t, "testdata/mirrors.txt", mirrorsText(list, 3))
	w := httptest.NewRecorder()
	answerJSON(w, 200, list)
	golden(t, "testdata/mirrors.json", w.Body.String())
	if got := mirrorsText(nil, placesShort); got != "the configuration has no mirrors\n" {
		t.Error(got)
	}
}

// A gateway tells of its mirrors before there is anything to tell.
func TestMirrorsOfAGateway(t *testing.T) {
	api, _ := start(t, "", `listen: 127.0.0.1:0
admin: off
clusters: {old: ["127.0.0.1:1"], new: ["127.0.0.1:1"]}
filters: {next: {mirror: {cluster: new, compare: on}}}
routes: [{path: /*, cluster: old, filters: [next]}, {name: home, path: /home, cluster: old, filters: [mirror: new]}]
`)
	ask(t, api, "GET", "/api/mirrors", "").want(t, 200, `"name": "next"`, `"name": "home/mirror"`, `"verdicts"`)
	ask(t, api, "GET", "/api/mirrors/home%2Fmirror", "", "Accept: text/plain").want(t, 200, "home/mirror: 0 copies, ", "answers are not compared")
	ask(t, api, "GET", "/api/mirrors/none", "").want(t, 404, "there is no mirror")
}

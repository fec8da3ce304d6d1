package compile

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/mirror"
	"github.com/yumen-io/yumen/gateway"
)

// What a document leaves out is what the filter would take by itself.
func TestMirrorSettings(t *testing.T) {
	next := gateway.ClusterRef{Name: "next", Index: 1}
	for _, c := range []struct {
		settings string
		want     mirror.Spec
	}{
		{"next", mirror.Spec{Cluster: next, Share: 1, Methods: []string{"GET", "HEAD"}, BodyBytesMax: mirror.BodyBytesDefault,
			InFlight: mirror.InFlightDefault, Timeout: mirror.TimeoutDefault}},
		{"{cluster: next, share: 25%, methods: [PUT], unsafe_methods: true, max_body: off, in_flight: 3, timeout: 1s, headers: {remove: a, set: {b: c}, add: {d: e}}}",
			mirror.Spec{Cluster: next, Share: 0.25, Methods: []string{"PUT"}, BodyBytesMax: mirror.NoBodies, InFlight: 3, Timeout: time.Second,
				Remove: []string{"a"}, Set: []gateway.Field{{Name: "b", Value: "c"}}, Add: []gateway.Field{{Name: "d", Value: "e"}}}},
	} {
		plan, report := compileText("mirror.yaml", mirrored(c.settings))
		if plan == nil {
			t.Fatal(report)
		}
		doc, _ := config.Parse("mirror.yaml", []byte(mirrored(c.settings)), nil)
		said := doc.Routes[0].Filters[0].Filter.Body.(*config.MirrorFilter)
		got, err := (&compiler{doc: doc, clusters: map[string]int{"old": 0, "next": 1, "bytes": 2}}).mirrorSpec(said)
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", c.settings, err, got, c.want)
		}
	}
}

func mirrored(settings string) string {
	return "listen: \":8080\"\nclusters: {old: \"127.0.0.1:1\", next: \"127.0.0.1:2\", bytes: {endpoints: \"127.0.0.1:3\", protocol: tcp}}\nroutes: [{path: /*, cluster: old, filters: [mirror: " +
		settings + "]}]\n"
}

func TestMirrorsThatLeadNowhere(t *testing.T) {
	for settings, want := range map[string]string{
		"old":                                   `the copies go to cluster "old", which the requests go to themselves`,
		"bytes":                                 `cluster "bytes" takes bytes, and no requests`,
		"{cluster: next, compare: {to: next}}":  `the third copy would go to cluster "next", where the copies go`,
		"{cluster: next, compare: {to: bytes}}": `cluster "bytes" takes bytes`,
	} {
		if plan, report := compileText("mirror.yaml", mirrored(settings)); plan != nil || !strings.Contains(fmt.Sprint(report), want) {
			t.Errorf("%s:\n%s\nwant %s", settings, report, want)
		}
	}
}

// The documents of the guide can be pasted.
func TestMirrorGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/mirroring.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		if plan, report := compileText("mirroring.md", document); plan == nil {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) != 2 {
		t.Error("the guide has no documents")
	}
	for _, word := range mirror.Numbers() {
		if !strings.Contains(string(text), "`"+word+"`") {
			t.Errorf("the guide does not say what %s is", word)
		}
	}
}

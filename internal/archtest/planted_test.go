package archtest

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestPlantedFaultsAreFound puts one file into an otherwise clean tree and names a piece of the fault it must raise; no
// piece means that the file is in order. A text that begins with its package clause is given a package comment, on a
// line of its own before it.
func TestPlantedFaultsAreFound(t *testing.T) {
	const y = `"example.org/house/`
	for _, c := range []struct{ name, file, text, want string }{
		{"down is fine", "gateway/a.go", "package gateway; import _ " + y + `engine"`, ""},
		{"up", "engine/a.go", "package engine; import _ " + y + `gateway"`, "engine/a.go:2: engine imports gateway: engine is an HTTP engine that knows nothing of gateways"},
		{"codec to loop", "engine/h1/a.go", "package h1; import _ " + y + `engine/loop"`, "engine/h1 imports engine/loop: a codec turns bytes into events"},
		{"loop to codec", "engine/loop/a.go", "package loop; import _ " + y + `engine/h1"`, "engine/loop imports engine/h1: the loop moves bytes"},
		{"codec to codec", "engine/h2/a.go", "package h2; import _ " + y + `engine/h1"`, "engine/h2 imports engine/h1"},
		{"block to codec", "engine/h2/block/a.go", "package block; import _ " + y + `engine/h2"`, "engine/h2/block imports engine/h2: engine/h2/block turns header blocks"},
		{"codec to block is fine", "engine/h2/a.go", "package h2; import _ " + y + `engine/h2/block"`, ""},
		{"policy to engine", "policy/a/a.go", "package a; import _ " + y + `engine"`, "policy/a imports engine: policy decides"},
		{"policy to policy is fine", "policy/a/a.go", "package a; import _ " + y + `policy/b"`, ""},
		{"filter to filter", "filters/a/a.go", "package a; import _ " + y + `filters/b"`, "filters/a imports filters/b: a filter meets"},
		{"catalogue to filter is fine", "filters/a.go", "package filters; import _ " + y + `filters/b"`, ""},
		{"kit to gateway", "kit/a/a.go", "package a; import _ " + y + `gateway"`, "kit/a imports gateway"},
		{"suite to program", "conformance/a/a.go", "package a; import _ " + y + `engine/h1"`, "conformance/a imports engine/h1"},
		{"a test may look up", "engine/a_test.go", "package engine; import _ " + y + `gateway"`, ""},
		{"unknown engine room", "engine/spare/a.go", "package spare", "package engine/spare stands on no floor"},
		{"foreign library on a closed floor", "policy/a/a.go", `package a; import _ "example.com/fast"`, "policy/a imports the library example.com/fast"},
		{"its own library", "engine/loop/a.go", `package loop; import _ "golang.org/x/sys/unix"`, ""},

		{"clock in policy", "policy/a/a.go", `package a; import "time"; var Now = time.Now()`, "uses time.Now: policy decides from its arguments"},
		{"our own clock in policy", "policy/a/a.go", `package a; import "github.com/yumen-io/yumen/internal/mono"; var Now = mono.Now()`, "internal/mono.Now: policy"},
		{"renamed clock", "policy/a/a.go", `package a; import hour "time"; var Now = hour.Now`, "uses time.Now"},
		{"duration is fine", "policy/a/a.go", `package a; import "time"; const Long = time.Hour`, ""},
		{"a variable named time", "policy/a/a.go", "package a; import \"time\"\nfunc f(time struct{ Now int }) int { return time.Now }\nvar _ time.Duration", ""},
		{"net in policy", "policy/a/a.go", `package a; import _ "net"`, "imports net: policy"},
		{"net/http in policy", "policy/a/a.go", `package a; import _ "net/http"`, "imports net/http: policy"},
		{"netip in policy is fine", "policy/a/a.go", `package a; import _ "net/netip"`, ""},
		{"lock in policy", "policy/a/a.go", `package a; import _ "sync"`, "imports sync: policy"},
		{"global randomness", "policy/a/a.go", `package a; import "math/rand/v2"; var X = rand.IntN(3)`, "uses math/rand/v2.IntN"},
		{"given randomness is fine", "policy/a/a.go", `package a; import "math/rand/v2"; func f(r *rand.Rand) int { return r.IntN(3) }`, ""},
		{"goroutine in policy", "policy/a/a.go", "package a\nfunc f() { go f() }", "a.go:3: starts a goroutine: policy"},
		{"socket in a codec", "engine/h1/a.go", `package h1; import _ "net"`, "imports net: buffers, messages and codecs"},
		{"clock in a room below a codec", "engine/h2/block/a.go", `package block; import "time"; var Now = time.Now()`, "uses time.Now: buffers, messages and codecs"},
		{"socket in a reader of greetings", "engine/clienthello/a.go", `package clienthello; import _ "net"`, "imports net: buffers, messages and codecs"},
		{"clock in the gateway", "gateway/a.go", `package gateway; import "time"; var Now = time.Now()`, "uses time.Now: a loop reads the clock once per turn"},
		{"clock in control is fine", "control/a.go", `package control; import "time"; var Now = time.Now()`, ""},
		{"sleep in a test", "control/a_test.go", `package control; import "time"; var nap = time.Sleep`, "uses time.Sleep: whoever sleeps is guessing"},
		{"testing in the program", "control/a.go", `package control; import _ "testing"`, "imports testing: test machinery"},
		{"unsafe", "engine/loop/a.go", `package loop; import _ "unsafe"`, "imports unsafe: unsafe code is reviewed"},
		{"old packages", "control/a.go", `package control; import _ "log"`, "imports log: these have successors"},
		{"slog is fine", "control/a.go", `package control; import _ "log/slog"`, ""},

		{"init", "control/a.go", "package control; func init() {}", "has an init function"},
		{"init in generated code is fine", "control/a.go", "// Code generated by gen. DO NOT EDIT.\n\n// Package control is planted.\npackage control; func init() {}", ""},
		{"a promise", "control/a.go", "package control // TO" + "DO: later", "says TO" + "DO"},
		{"another top folder", "helpers/a.txt", "x", "helpers/: is not one of the top-level folders"},
		{"another room of internal", "internal/util/a.txt", "x", "internal/util/: is not one of the rooms of internal"},
		{"a long file", "control/a.go", "package control" + strings.Repeat("\n", linesMax), "lines long, at most"},
		{"no package comment", "control/more/a.go", "package more", "control/more/: has no package comment"},
		{"a package comment about nothing", "control/more/a.go", "// This does more.\npackage more", "should begin with \"Package more\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			house := fstest.MapFS{
				"go.mod":     {Data: []byte("module example.org/house\n")},
				"bench/a.md": {Data: []byte("x")},
			}
			text := c.text
			if bare, ok := strings.CutPrefix(text, "package "); ok && !strings.HasPrefix(c.want, "control/more/:") {
				name := strings.Trim(strings.Fields(bare)[0], ";")
				text = "// Package " + name + " is planted.\n" + text
			}
			house[c.file] = &fstest.MapFile{Data: []byte(text)}
			got := inspect(readTree(t, house))
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("found %q in a tree that is in order", got)
			case c.want != "" && len(got) == 0:
				t.Errorf("found nothing, want %q", c.want)
			case c.want != "" && !strings.Contains(strings.Join(got, "\n"), c.want):
				t.Errorf("found  %q\nwanted %q", got, c.want)
			}
		})
	}
}

// TestFloorsAreConsistent: the picture itself names only floors that exist, and has no way up.
func TestFloorsAreConsistent(t *testing.T) {
	at := map[string]int{}
	for i, f := range floors {
		if _, twice := at[f.name]; twice {
			t.Errorf("floor %q stands in the list twice", f.name)
		}
		at[f.name] = i
		for _, name := range f.may {
			if below, known := at[name]; !known || below > i {
				t.Errorf("floor %q may import %q, which is not below it in the list", f.name, name)
			}
		}
		if f.why == "" {
			t.Errorf("floor %q has no sentence that explains its walls", f.name)
		}
	}
}

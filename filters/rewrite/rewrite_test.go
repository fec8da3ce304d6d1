package rewrite

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/route"
)

// request is a head with a path in normal form.
func request(path string) *message.Head {
	h := &message.Head{}
	h.Authority = h.StoreString("example.com")
	h.Path = h.StoreString(path)
	h.Query = h.StoreString("q=1")
	h.HasQuery = true
	return h
}

// matched is the parameters that a pattern captures.
func matched(t testing.TB, pattern string, h *message.Head) *route.Params {
	table, problems := route.Compile([]route.Spec{{Path: pattern}})
	if table == nil {
		t.Fatal(problems)
	}
	p := &route.Params{}
	if table.Match(&match.Request{Path: h.PathBytes(), Method: []byte("GET")}, p).Index < 0 {
		return nil
	}
	return p
}

func compile(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, message.PathPolicy{})
	if f == nil {
		t.Fatalf("%+v: %v", s, problems)
	}
	return f
}

func TestPathsAreMoved(t *testing.T) {
	f := func(strip, prefix, path, want string) {
		t.Helper()
		h := request(path)
		compile(t, Spec{StripPrefix: strip, Prefix: prefix}).Request(h, &route.Params{})
		if got := string(h.PathBytes()); got != want {
			t.Errorf("strip %q, prefix %q: %s -> %s, want %s", strip, prefix, path, got, want)
		}
		if string(h.QueryBytes()) != "q=1" || string(h.AuthorityBytes()) != "example.com" {
			t.Errorf("query or host changed")
		}
	}
	f("/api", "", "/api/users", "/users")
	f("/api", "", "/api/", "/")
	f("/api", "", "/api", "/")
	f("/api", "", "/apix", "/apix")
	f("/api", "", "/v1/api", "/v1/api")
	f("/api/", "", "/api/users", "/users")
	f("/caf%c3%a9", "", "/caf%C3%A9/x", "/x")
	f("/%61pi", "", "/api/x", "/x")
	f("", "/v2", "/users", "/v2/users")
	f("", "/v2/", "/users", "/v2/users")
	f("", "/v2", "/", "/v2/")
	f("/api", "/v2", "/api/users", "/v2/users")
	f("/api", "/v2", "/api", "/v2")
	f("/api", "/v2", "/api/", "/v2/")
	f("/api", "/v2", "/other", "/v2/other")
}

func TestPathsAreMadeOfParameters(t *testing.T) {
	f := func(pattern, template, path, want string) {
		t.Helper()
		h := request(path)
		filter := compile(t, Spec{Path: template})
		filter.Request(h, matched(t, pattern, h))
		if got := string(h.PathBytes()); got != want {
			t.Errorf("%s %s: %s -> %s, want %s", pattern, template, path, got, want)
		}
	}
	f("/users/:id", "/people/:id", "/users/7", "/people/7")
	f("/users/:id", "/:id/:id/x", "/users/a%3Bb", "/a%3Bb/a%3Bb/x")
	f("/a/:b/:c", "/:c/:b", "/a/1/2", "/2/1")
	f("/static/*rest", "/files/*rest", "/static/a/b/", "/files/a/b/")
	f("/static/*rest", "/files/*rest", "/static/", "/files/")
	f("/static/*", "/*", "/static/x", "/x")
	f("/a", "/b", "/a", "/b")
	f("/a", "/b/", "/a", "/b/")
	f("/a", "/", "/a", "/")
	f("/a", `/jobs\:run/\*`, "/a", "/jobs:run/*")
	f("/a", "/a{b}", "/a", "/a%7Bb%7D")
}

func TestTheHostIsReplaced(t *testing.T) {
	h := request("/a")
	compile(t, Spec{Host: "internal:8080"}).Request(h, &route.Params{})
	if string(h.AuthorityBytes()) != "internal:8080" || string(h.PathBytes()) != "/a" {
		t.Errorf("%s%s", h.AuthorityBytes(), h.PathBytes())
	}
}

func TestParametersThatARouteNeeds(t *testing.T) {
	if got := compile(t, Spec{Path: "/a/:id/:other/*rest"}).Params(); !slices.Equal(got, []string{":id", ":other", "*rest"}) {
		t.Error(got)
	}
	if got := compile(t, Spec{Path: "/a/*"}).Params(); !slices.Equal(got, []string{"*"}) {
		t.Error(got)
	}
}

func TestWhatCannotBeARewriteIsRefused(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		filter, problems := Compile(s, message.PathPolicy{})
		var fields []string
		for _, p := range problems {
			fields = append(fields, p.Field)
		}
		if got := strings.Join(fields, " "); filter != nil || got != want || problems[0].Cause == "" {
			t.Errorf("%+v: problems of %q, want %q: %v", s, got, want, problems)
		}
	}
	f(Spec{}, "")
	f(Spec{StripPrefix: "/"}, "strip_prefix")
	f(Spec{StripPrefix: "api", Prefix: "//"}, "strip_prefix prefix")
	f(Spec{Prefix: "/a/../b"}, "prefix")
	f(Spec{Prefix: "/a/%2e%2E/b"}, "prefix")
	f(Spec{Prefix: "/a/."}, "prefix")
	f(Spec{Prefix: "/..;x/b"}, "prefix")
	f(Spec{Prefix: "/a%2Fb"}, "prefix")
	f(Spec{Prefix: `/a\b`}, "prefix")
	f(Spec{Prefix: "/a%00"}, "prefix")
	f(Spec{Prefix: "/a%"}, "prefix")
	f(Spec{Prefix: "/a?b"}, "prefix")
	f(Spec{Path: "/a#b"}, "path")
	f(Spec{Path: "a"}, "path")
	f(Spec{Path: "/:"}, "path")
	f(Spec{Path: "/:1"}, "path")
	f(Spec{Path: "/a:b"}, "path")
	f(Spec{Path: "/*rest/a"}, "path")
	f(Spec{Path: "/../:id"}, "path")
	f(Spec{Path: "/a", Prefix: "/b"}, "path")
	for _, host := range []string{"http://a", "a/b", "a:b", "a:0", "a:70000", ":80", "a b", "a@b", "a\r\nb", "[::1", "[1.2.3.4]", "[fe80::1%25eth0]", "a..b:x"} {
		f(Spec{Host: host}, "host")
	}
	for _, host := range []string{"a", "a.example.com", "a:80", "[::1]", "[::1]:80", "10.0.0.1:9000", "under_score"} {
		compile(t, Spec{Host: host})
	}
}

// TestARewrittenPathIsInNormalForm (class 5 of the threats: a rule and the upstream see different paths): whatever a client
// sends and a document says, what leaves the filter is what NormalizePath would have left.
func TestARewrittenPathIsInNormalForm(t *testing.T) {
	good := rapid.SampledFrom([]string{"a", "a", "a", "ab", "b", "a.b", "...", "a;x", "%C3%A9", "%3A", "%61"})
	odd := rapid.SampledFrom([]string{"", ".", "..", "%2e", "%2E.", "..;x", "%2F", "a%2fb", "%5C", "%", "%c3", "{", ";", "*", ":", `\:`, "%25", "%252e"})
	reached := 0
	check := func(t *rapid.T) {
		oddOnes := rapid.IntRange(0, 4).Draw(t, "odd ones")
		path := func(name string) string {
			segments := rapid.SliceOfN(good, 0, 3).Draw(t, name)
			if oddOnes == 0 {
				at := rapid.IntRange(0, len(segments)).Draw(t, "place")
				segments = slices.Insert(segments, at, odd.Draw(t, "odd"))
			}
			return "/" + strings.Join(segments, "/")
		}
		policy := message.PathPolicy{
			EncodedSlash: message.EncodedSlash(rapid.IntRange(0, 2).Draw(t, "encoded slash")),
			KeepSlashes:  rapid.Bool().Draw(t, "keep slashes"),
		}
		var s Spec
		if rapid.Bool().Draw(t, "template") {
			s.Path = strings.TrimSuffix(path("path"), "/") + rapid.SampledFrom([]string{"", "/", "/:a", "/:a/x", "/*rest", "/:a/*rest", "/:a/"}).Draw(t, "parameters")
		} else {
			s.StripPrefix, s.Prefix = path("strip"), path("prefix")
			if rapid.Bool().Draw(t, "strip only") {
				s.Prefix = ""
			}
		}
		f, _ := Compile(s, policy)
		h := request(path("request"))
		if f == nil || message.NormalizePath(h, policy) != nil {
			return
		}
		pattern := rapid.SampledFrom([]string{"/:a/*rest", "/a/:a", "/*rest", "/:a"}).Draw(t, "pattern")
		for _, p := range f.Params() {
			if !slices.Contains(strings.Split(pattern, "/"), p) {
				return
			}
		}
		params := &route.Params{}
		table, _ := route.Compile([]route.Spec{{Path: pattern}})
		if table.Match(&match.Request{Path: h.PathBytes(), Method: []byte("GET")}, params).Index < 0 {
			return
		}
		reached++
		before := string(h.PathBytes())
		f.Request(h, params)
		got := string(h.PathBytes())
		if err := message.NormalizePath(h, policy); err != nil {
			t.Fatalf("%+v %+v: %q became %q, which is refused: %v", s, policy, before, got, err)
		}
		if again := string(h.PathBytes()); again != got {
			t.Fatalf("%+v %+v: %q became %q, whose normal form is %q", s, policy, before, got, again)
		}
	}
	for range 30 { // most draws end early
		rapid.Check(t, check)
	}
	if reached < 100 {
		t.Errorf("the property was looked at %d times only", reached)
	}
}

func TestRewritingAllocatesNothing(t *testing.T) {
	h := &message.Head{}
	h.Path = h.StoreString("/users/7/x")
	pattern := matched(t, "/users/:id/*rest", h)
	for _, s := range []Spec{
		{StripPrefix: "/users", Prefix: "/v2", Host: "internal"}, {Path: "/v2/:id/*rest"}, {Host: "internal"},
	} {
		f := compile(t, s)
		rewrite := func() {
			h.Reset()
			h.Path = h.StoreString("/users/7/x")
			f.Request(h, pattern)
		}
		rewrite()
		if n := testing.AllocsPerRun(100, rewrite); n > 0 {
			t.Errorf("%+v: %v allocations", s, n)
		}
	}
}

func TestText(t *testing.T) {
	if got := compile(t, Spec{StripPrefix: "/a", Prefix: "/b", Host: "c"}).String(); got != "strip_prefix /a, prefix /b, host c" {
		t.Error(got)
	}
}

func BenchmarkRequest(b *testing.B) {
	f, h := compile(b, Spec{StripPrefix: "/users", Prefix: "/v2"}), &message.Head{}
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Path = h.StoreString("/users/7/x")
		f.Request(h, nil)
	}
}

// FuzzTemplate: whatever is accepted is made of literals in normal form, joined to parameters at slashes only.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/a/:id/*rest", `/\:a/\*`, "/%2e%2e/:a", "/*", "/a%2Fb", "//:a//", "/..;a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pieces, cause, _ := parseTemplate(s, message.PathPolicy{})
		if cause != "" {
			return
		}
		var b strings.Builder
		for i, p := range pieces {
			if p.param != "" && !strings.HasSuffix(p.literal, "/") || p.param == "" && i != len(pieces)-1 || i > 0 && !strings.HasPrefix(p.literal, "/") {
				t.Fatalf("%q: pieces %+v", s, pieces)
			}
			b.WriteString(p.literal)
			if p.param != "" {
				b.WriteString("x")
			}
		}
		h := request(b.String())
		if err := message.NormalizePath(h, message.PathPolicy{}); err != nil || string(h.PathBytes()) != b.String() {
			t.Fatalf("%q becomes %q, in normal form %q: %v", s, b.String(), h.PathBytes(), err)
		}
	})
}

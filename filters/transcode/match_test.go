package transcode

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// bare makes a Schema of nothing but templates, "GET /v1/*". Equal shapes are left out.
func bare(t interface {
	Helper()
	Fatalf(string, ...any)
}, rules ...string) *Schema {
	t.Helper()
	s := &Schema{methods: map[string]string{}, verbs: map[string]string{}}
	shapes := map[string]bool{}
	for _, r := range rules {
		method, path, _ := strings.Cut(r, " ")
		tp, err := parseTemplate(path)
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		if shapes[method+tp.shape()] {
			continue
		}
		shapes[method+tp.shape()] = true
		b := &Binding{Method: method, Template: path, template: tp}
		for _, v := range tp.variables {
			b.variables = append(b.variables, variable{capture: v})
		}
		s.bindings = append(s.bindings, b)
		s.methods[method] = method
		if tp.verb != "" {
			s.verbs[tp.verb] = tp.verb
		}
		s.table.add(b)
	}
	return s
}

// matched shows what a request matches: "/v1/{x} x=1", or "405 GET,PUT", or "404".
func matched(s *Schema, method, path string) string {
	var c Captures
	b, allow := s.Match([]byte(method), []byte(path), &c)
	switch {
	case b == nil && allow == nil:
		return "404"
	case b == nil:
		return "405 " + strings.Join(allow, ",")
	}
	out := b.Template
	for i, v := range b.variables {
		out += fmt.Sprintf(" %s=%s", v.field, c.Value(i))
	}
	return out
}

func TestMatching(t *testing.T) {
	s := bare(t,
		"GET /",
		"GET /v1/messages/{id}",
		"GET /v1/messages/new",
		"PUT /v1/messages/{id}",
		"POST /v1/messages/{id}:cancel",
		"POST /v1/messages:batch",
		"GET /v1/{name=messages/*}/parts",
		"GET /v1/{name=shelves/*/books/**}",
		"GET /v1/{name=shelves/*/books/**}:read",
		"GET /v2/**",
		"GET /v2/{a}/{b=x/*}/{c}",
		"* /any/{id}",
		"PURGE /any/{id}",
		"GET /caf%c3%a9/{id}",
	)
	f := func(request, want string) {
		t.Helper()
		method, path, _ := strings.Cut(request, " ")
		if got := matched(s, method, path); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
	f("GET /", "/")
	f("GET /v1", "404")
	f("GET /v1/messages/123", "/v1/messages/{id} id=123")
	f("GET /v1/messages/new", "/v1/messages/new")
	f("PUT /v1/messages/new", "/v1/messages/{id} id=new")
	f("DELETE /v1/messages/new", "405 GET,PUT")
	f("GET /v1/messages/", "404")
	f("GET /v1/messages/1/", "404")
	f("GET /v1/messages/1/2", "404")
	f("GET /v1/messages/1/parts", "/v1/{name=messages/*}/parts name=messages/1")
	f("POST /v1/messages/123:cancel", "/v1/messages/{id}:cancel id=123")
	f("POST /v1/messages/a:b:cancel", "/v1/messages/{id}:cancel id=a:b")
	f("POST /v1/messages/123:other", "405 GET,PUT")
	f("GET /v1/messages/123:cancel", "/v1/messages/{id} id=123:cancel")
	f("GET /v1/messages/123:", "/v1/messages/{id} id=123:")
	f("POST /v1/messages:batch", "/v1/messages:batch")
	f("POST /v1/messages/:cancel", "405 GET,PUT")
	f("GET /v1/shelves/1/books/a/b/c", "/v1/{name=shelves/*/books/**} name=shelves/1/books/a/b/c")
	f("GET /v1/shelves/1/books/a:read", "/v1/{name=shelves/*/books/**}:read name=shelves/1/books/a")
	f("GET /v1/shelves/1/books", "/v1/{name=shelves/*/books/**} name=shelves/1/books")
	f("GET /v1/shelves/1/books/", "/v1/{name=shelves/*/books/**} name=shelves/1/books/")
	f("GET /v1/shelves/1/books//a", "404")
	f("GET /v1/shelves/1/books/a//b", "/v1/{name=shelves/*/books/**} name=shelves/1/books/a//b")
	f("GET /v2", "/v2/**")
	f("GET /v2/1/x/2/3", "/v2/{a}/{b=x/*}/{c} a=1 b=x/2 c=3")
	f("GET /v2/1/x/2", "/v2/**")
	f("PURGE /any/1", "/any/{id} id=1")
	f("WHATEVER /any/1", "/any/{id} id=1")
	f("GET /caf%C3%A9/1", "/caf%c3%a9/{id} id=1")
	f("GET /v2/"+strings.Repeat("a/", 100)+"b", "/v2/**")
	f("GET v2", "404")
	f("GET *", "404")
}

func TestCapturesAreShort(t *testing.T) {
	s := bare(t, "GET /{a=**}", "GET /v1/{b=**}:go", "GET /v2/{c=*/**}")
	f := func(path, want string) {
		t.Helper()
		if got := matched(s, "GET", path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	f("/", "/{a=**} a=")
	f("/x", "/{a=**} a=x")
	f("/v1:go", "/v1/{b=**}:go b=")
	f("/v1/:go", "/v1/{b=**}:go b=")
	f("/v1/x/y:go", "/v1/{b=**}:go b=x/y")
	f("/v2/x", "/v2/{c=*/**} c=x")
	f("/v2/x/", "/v2/{c=*/**} c=x/")
	f("/v2", "/{a=**} a=v2")
	long := "/v2" + strings.Repeat("/s", 50)
	f(long, "/v2/{c=*/**} c="+long[4:])
}

// twinMatch tries every template by itself and takes the best: with a verb before without, then by the kinds of segments from
// the left, then by the method.
func twinMatch(s *Schema, method, path string) string {
	var best *Binding
	var bestRank, out string
	var allow []string
	for _, b := range s.bindings {
		captures, ok := twinMatches(b, path)
		if !ok {
			continue
		}
		allow = append(allow, b.Method)
		if b.Method != method && b.Method != "*" {
			continue
		}
		rank := "1"
		if b.template.verb != "" {
			rank = "0"
		}
		for _, seg := range b.template.segments {
			rank += string('1' + rune(seg.kind))
		}
		// The end of a template goes before a ** that takes nothing.
		rank += "0" + map[bool]string{true: "1", false: "0"}[b.Method == "*"]
		if best == nil || rank < bestRank {
			best, bestRank, out = b, rank, b.Template
			for i, v := range b.variables {
				out += fmt.Sprintf(" %s=%s", v.field, captures[i])
			}
		}
	}
	switch {
	case best != nil:
		return out
	case allow == nil:
		return "404"
	}
	slices.Sort(allow)
	return "405 " + strings.Join(slices.Compact(allow), ",")
}

func twinMatches(b *Binding, path string) (captures []string, ok bool) {
	if verb := b.template.verb; verb != "" {
		rest, ok := strings.CutSuffix(path, ":"+verb)
		if !ok || strings.Contains(verb, "/") {
			return nil, false
		}
		path = rest
	}
	var segments []string
	if path != "/" {
		segments = strings.Split(path[1:], "/")
	}
	for i, seg := range b.template.segments {
		switch {
		case seg.kind == restSegment:
			if i < len(segments)-1 && segments[i] == "" {
				return nil, false
			}
		case i >= len(segments) || segments[i] == "" || seg.kind == literalSegment && segments[i] != seg.literal:
			return nil, false
		}
	}
	n := len(b.template.segments)
	if !strings.HasSuffix(b.template.shape(), "**") && b.template.verb == "" || b.template.verb != "" && !strings.HasSuffix(b.template.shape(), "**:"+b.template.verb) {
		if len(segments) != n {
			return nil, false
		}
	}
	for _, v := range b.variables {
		to := v.to
		if b.template.segments[to-1].kind == restSegment {
			to = len(segments)
		}
		captures = append(captures, strings.Join(segments[min(v.from, len(segments)):to], "/"))
	}
	return captures, true
}

func TestMatchAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"a", "b", "c", "{x%d}", "{x%d=*}", "*", "{x%d=a/*}", "{x%d=*/b}"})
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			n := rapid.IntRange(0, 4).Draw(t, "segments")
			path := ""
			for i := range n {
				s := segment.Draw(t, "segment")
				if strings.Contains(s, "%d") {
					s = fmt.Sprintf(s, i)
				}
				path += "/" + s
			}
			path += rapid.SampledFrom([]string{"", "", "/**", "/{r=**}", "/{r=a/**}"}).Draw(t, "rest")
			if path == "" {
				path = "/"
			} else {
				path += rapid.SampledFrom([]string{"", "", ":go", ":a"}).Draw(t, "verb")
			}
			return rapid.SampledFrom([]string{"GET", "GET", "PUT", "*"}).Draw(t, "method") + " " + path
		}), 1, 12).Draw(t, "rules")
		s := bare(t, rules...)
		for range 5 {
			path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "", "a:b", "b:go", "c:a", ":go"}), 1, 6).Draw(t, "path"), "/")
			method := rapid.SampledFrom([]string{"GET", "PUT", "POST"}).Draw(t, "method")
			if got, want := matched(s, method, path), twinMatch(s, method, path); got != want {
				t.Fatalf("%s %s: got %q, want %q\n%s", method, path, got, want, strings.Join(rules, "\n"))
			}
		}
	})
}

func TestAMatchAllocatesNothing(t *testing.T) {
	s := bare(t, "GET /v1/{name=shelves/*/books/*}", "POST /v1/{name=shelves/*}:move")
	var c Captures
	method, path, verb := []byte("GET"), []byte("/v1/shelves/3/books/7"), []byte("/v1/shelves/3:move")
	post := []byte("POST")
	if n := testing.AllocsPerRun(100, func() {
		if b, _ := s.Match(method, path, &c); b == nil {
			t.Fatal("no match")
		}
		if b, _ := s.Match(post, verb, &c); b == nil {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/v1/{name=shelves/*/books/**}:go", "/", "/{a.b.c}", "/a:b/c:d", "/{x=*}", "/%41", "/..", "/{a", "/a//b", "/**:v", "/{a=**}/b"} {
		f.Add(s, "/v1/shelves/1/books/x:go")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		tp, err := parseTemplate(text)
		if err != nil {
			return
		}
		if _, err := parseTemplate(tp.shape()); err != nil {
			t.Fatalf("%q has the shape %q, which is no template: %v", text, tp.shape(), err)
		}
		s := bare(t, "GET "+text)
		if len(path) == 0 || path[0] != '/' || strings.Contains(path, "//") {
			return
		}
		if got, want := matched(s, "GET", path), twinMatch(s, "GET", path); got != want {
			t.Fatalf("%q with %q: got %q, want %q", text, path, got, want)
		}
	})
}

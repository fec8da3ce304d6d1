package compress

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// head makes a head of lines such as "X-A: b".
func head(lines ...string) *message.Head {
	h := &message.Head{Proto: message.HTTP11, Length: message.UnknownLength}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

// lines shows the fields that are there.
func lines(h *message.Head) string {
	var list []string
	for _, f := range h.All() {
		if !f.Gone {
			list = append(list, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(list, ", ")
}

// RFC 9110 12.5.3.
func TestAcceptEncoding(t *testing.T) {
	preferred := []Coding{Zstd, Brotli, Gzip}
	f := func(field, want string) {
		t.Helper()
		var list []string
		if field != "-" {
			for line := range strings.SplitSeq(field, "|") {
				list = append(list, "Accept-Encoding: "+line)
			}
		}
		w := wishOf(&head(list...).Fields)
		best, refuses := w.choose(preferred)
		got := best.String()
		if refuses {
			got += ", no identity"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	f("-", "identity")
	f("", "identity")
	f("gzip", "gzip")
	f("GZip", "gzip")
	f("x-gzip", "gzip")
	f("deflate", "identity")
	f("gzip, deflate, br, zstd", "zstd")
	f("gzip, br", "br")
	f("gzip;q=1.0, br;q=0.9", "gzip")
	f("gzip;q=0.5, br;q=0.50, zstd;q=0.499", "br")
	f("gzip;q=0", "identity")
	f("*", "zstd")
	f("*;q=0.1, zstd;q=0", "br")
	f("*;q=0", "identity, no identity")
	f("*;q=0, gzip", "gzip, no identity")
	f("identity;q=0", "identity, no identity")
	f("identity;q=0, gzip;q=0.001", "gzip, no identity")
	f("*;q=0, identity", "identity")
	f("identity, gzip;q=0.5", "identity")
	f("identity;q=0.5, gzip;q=0.5", "gzip") // equal: the smaller answer
	f("identity;q=0.5, gzip;q=0.6", "gzip")
	f("gzip ; q=0.5", "gzip")
	f("gzip;q=0.5|br", "br")
	f(",, gzip ,", "gzip")
	// What is not well-formed counts for nothing.
	f("gzip;q=1.1", "identity")
	f("gzip;q=0.1234", "identity")
	f("gzip;q=", "identity")
	f("gzip;q=.5", "identity")
	f("gzip;q=-1", "identity")
	f("gzip;level=9", "identity")
	f("gzip;q=1.001, br;q=1.000", "br")
	f("gzip br", "identity")
}

func TestContentTypes(t *testing.T) {
	var list mediaTypes
	for _, name := range []string{"text/*", "application/json", "application/*+json", "Image/SVG+xml"} {
		typ, cause, _ := parseType(name)
		if cause != "" {
			t.Fatal(cause)
		}
		list = append(list, typ)
	}
	f := func(contentType string, want bool) {
		t.Helper()
		if got := list.has([]byte(contentType)); got != want {
			t.Errorf("%q: %v", contentType, got)
		}
	}
	f("text/html", true)
	f("TEXT/HTML; charset=utf-8", true)
	f("text/event-stream", true)
	f("application/json", true)
	f("application/json ;charset=utf-8", true)
	f("application/problem+json", true)
	f("application/+json", false)
	f("application/jsonp", false)
	f("image/svg+xml", true)
	f("image/png", false)
	f("application/octet-stream", false)
	f("text", false)
	f("", false)

	all, _, _ := parseType("*/*")
	list = mediaTypes{all}
	f("image/png", true)
	f("application/grpc", false) // never: it has a compression of its own
	f("application/grpc-web+proto", false)
	f("application/GRPC+proto", false)
}

func TestPatternsOfTypesThatAreNone(t *testing.T) {
	for _, name := range []string{"", "text", "text/", "/html", "text/html; charset=utf-8", "te*t/html", "text/ht*", "text/*x", "*/html", "text/*+", "text/**"} {
		if cause, fix := ParseType(name); cause == "" || fix == "" {
			t.Errorf("%q is accepted", name)
		}
	}
	for _, name := range DefaultTypes {
		if cause, _ := ParseType(name); cause != "" {
			t.Error(cause)
		}
	}
}

func FuzzAcceptEncoding(f *testing.F) {
	for _, s := range []string{"gzip, br;q=0.5", "*;q=0", "identity;q=0.000", ";;,=q"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w := wishOf(&head("Accept-Encoding: " + s).Fields)
		for _, q := range append(w.of[:], w.rest) {
			if q < unsaid || q > 1000 {
				t.Errorf("%q: weight %d", s, q)
			}
		}
		if best, _ := w.choose([]Coding{Zstd, Brotli, Gzip}); best != Identity && !strings.Contains(strings.ToLower(s), best.String()) && !strings.Contains(s, "*") {
			t.Errorf("%q: %v, which it does not name", s, best)
		}
	})
}

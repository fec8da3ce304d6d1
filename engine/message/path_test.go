package message

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func normalized(path string, policy PathPolicy) (string, *Head) {
	h := new(Head)
	h.Path = h.StoreString(path)
	if err := NormalizePath(h, policy); err != nil {
		var r *Refusal
		if !errors.As(err, &r) || string(h.PathBytes()) != path {
			return "changed in spite of " + err.Error(), h
		}
		return r.Reason, h
	}
	return string(h.PathBytes()), h
}

func TestNormalizePathRFC3986_6_2_2(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/", "/"}, {"/a/b", "/a/b"}, {"*", "*"},
		{"/%61%7E%2d%5F%2E5", "/a~-_.5"}, {"/%c3%a9%2b", "/%C3%A9%2B"}, {"/%C3%A9", "/%C3%A9"},
		{"/a;b=c/$!&'()*+,=:@", "/a;b=c/$!&'()*+,=:@"}, {"/%3b%40", "/%3B%40"},
		{"/a|b{c}\"<>^`[", "/a%7Cb%7Bc%7D%22%3C%3E%5E%60%5B"},
		{"/%252e%252e/", "/%252e%252e/"}, {"/%2561", "/%2561"},

		{"/.", "/"}, {"/./", "/"}, {"/a/.", "/a/"}, {"/a/./b", "/a/b"}, {"/a/..", "/"}, {"/a/../", "/"}, {"/a/b/../c", "/a/c"},
		{"/a/%2e%2E/b", "/b"}, {"/a/.%2e/b", "/b"}, {"/%2e/a", "/a"}, {"/.a/..b/...", "/.a/..b/..."}, {"/.well-known/x", "/.well-known/x"},
		{"/..", "above_root"}, {"/../a", "above_root"}, {"/a/../../b", "above_root"}, {"/%2e%2e", "above_root"}, {"/a//../..", "above_root"},
		{"//", "/"}, {"//a", "/a"}, {"/a///b//", "/a/b/"}, {"/.//a", "/a"}, {"/a//../b", "/b"},
		{"/a/..;/b", "dot_parameter"}, {"/.;x", "dot_parameter"}, {"/%2e%2e;/", "dot_parameter"}, {"/..%3bx/", "dot_parameter"},
		{"/a;..", "/a;.."}, {"/..a;", "/..a;"},

		{"/%2f", "encoded_slash"}, {"/a%2Fb", "encoded_slash"}, {"/a%5cb", "encoded_slash"},
		{"/%00", "control_in_path"}, {"/a%0d%0a", "control_in_path"}, {"/%7f", "control_in_path"},
		{"/%", "bad_escape"}, {"/%a", "bad_escape"}, {"/%zz", "bad_escape"}, {"/%%41", "bad_escape"}, {"/%4", "bad_escape"},
		{"/a b", "bad_path"}, {"/a\\b", "bad_path"}, {"/a#b", "bad_path"}, {"/\x80", "bad_path"}, {"/\x00", "bad_path"}, {"/\x7f", "bad_path"},
		{"", "bad_path"}, {"a", "bad_path"}, {"*a", "bad_path"},
	} {
		if got, _ := normalized(c.path, PathPolicy{}); got != c.want {
			t.Errorf("%q: got %q, want %q", c.path, got, c.want)
		}
	}
}

func TestPathPolicies(t *testing.T) {
	keep, decode := PathPolicy{EncodedSlash: KeepEncodedSlash}, PathPolicy{EncodedSlash: DecodeEncodedSlash}
	slashes := PathPolicy{KeepSlashes: true}
	for _, c := range []struct {
		policy     PathPolicy
		path, want string
	}{
		{keep, "/a%2fb%5c", "/a%2Fb%5C"}, {keep, "/a/..%2fb", "/a/..%2Fb"},
		{decode, "/a%2fb", "/a/b"}, {decode, "/a/%2e%2e%2fb", "/b"}, {decode, "/..%2f", "above_root"}, {decode, "/%5c", "encoded_slash"},
		{decode, "/a%2f%2Fb", "/a/b"}, {decode, "/%252f", "/%252f"},
		{slashes, "/a//b//", "/a//b//"}, {slashes, "/a//../b", "/a/b"}, {slashes, "//..", "/"}, {slashes, "//../..", "above_root"},
	} {
		if got, _ := normalized(c.path, c.policy); got != c.want {
			t.Errorf("%q under %+v: got %q, want %q", c.path, c.policy, got, c.want)
		}
	}
}

// The look that finds nothing to do agrees with the work: what it lets pass is what the work would return.
func TestNormalPathIsWhatWorkWouldReturn(t *testing.T) {
	piece := rapid.SampledFrom([]string{"/", "/", "a", ".", "..", ";", "%2e", "%2E", "%2f", "%2F", "%5C", "%41", "%20", "%C3", "%c3", "%3B", "%00", "%", "|", "b c", "\\", "#", "~", "@"})
	rapid.Check(t, func(t *rapid.T) {
		path := "/"
		for range rapid.IntRange(0, 8).Draw(t, "pieces") {
			path += piece.Draw(t, "piece")
		}
		policy := PathPolicy{EncodedSlash(rapid.IntRange(0, 2).Draw(t, "encoded slash")), rapid.Bool().Draw(t, "keep slashes")}
		var h Head
		h.Path = h.StoreString(path)
		start := len(h.raw)
		worked, err := path, h.decodePath(h.Path, policy)
		if err == nil {
			var end int
			end, err = resolve(h.raw[start:], policy)
			worked = string(h.raw[start : start+end])
		}
		if got, want := isNormal([]byte(path), policy), err == nil && worked == path; got != want {
			t.Fatalf("%q under %+v: isNormal says %v; the work makes it %q, %v", path, policy, got, worked, err)
		}
		got, again := normalized(path, policy)
		if err == nil && got != worked {
			t.Fatalf("%q became %q, want %q", path, got, worked)
		}
		if err == nil && (NormalizePath(again, policy) != nil || string(again.PathBytes()) != got) {
			t.Fatalf("%q became %q, and that %q", path, got, again.PathBytes())
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for name, path := range map[string]string{"clean": "/api/v1/users/42/orders", "escaped": "/api/v1/caf%C3%A9/42", "work": "/api/./v1/%7euser//42"} {
		b.Run(name, func(b *testing.B) {
			var h Head
			given := h.StoreString(path)
			b.ReportAllocs()
			for b.Loop() {
				h.raw = h.raw[:given.Len]
				h.Path = given
				if err := NormalizePath(&h, PathPolicy{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

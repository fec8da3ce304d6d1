package jwt

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// request makes a head of a query and lines.
func request(query string, lines ...string) *message.Head {
	h := &message.Head{}
	h.Query, h.HasQuery = h.StoreString(query), query != ""
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

func show(h *message.Head) string {
	list := []string{}
	if h.HasQuery {
		list = append(list, "?"+string(h.QueryBytes()))
	}
	for _, f := range h.All() {
		if !f.Gone {
			list = append(list, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(list, " | ")
}

func TestWhereATokenIsAndWhatIsLeftWithoutIt(t *testing.T) {
	authorization, field, cookie, query := Place{}, Place{InHeader, "x-token"}, Place{InCookie, "session"}, Place{InQuery, "access_token"}
	f := func(places []Place, h *message.Head, want, left string) {
		t.Helper()
		before := show(h)
		token, refused := find(h, places)
		got := string(token)
		switch {
		case refused != nil:
			got = refused.reason
		case token == nil:
			got = "none"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", before, got, want)
		}
		if refused != nil || token == nil {
			return
		}
		strip(h, places, nil)
		if got := show(h); got != left {
			t.Errorf("%s: without the token %q, want %q", before, got, left)
		}
		if token, _ := find(h, places); token != nil {
			t.Errorf("%s: the token is still there", before)
		}
	}
	f([]Place{authorization}, request(""), "none", "")
	f([]Place{authorization}, request("", "Authorization: Bearer abc", "X-A: 1"), "abc", "X-A: 1")
	f([]Place{authorization}, request("", "authorization: bEARER   abc "), "abc", "")
	f([]Place{authorization}, request("", "Authorization: Bearer"), "", "")
	f([]Place{authorization}, request("", "Authorization: Bearer "), "", "")
	f([]Place{authorization}, request("", "Authorization: Bearerabc"), "none", "")
	f([]Place{authorization}, request("", "Authorization: Basic abc"), "none", "")
	f([]Place{authorization}, request("", "Authorization: "), "none", "")
	f([]Place{authorization}, request("", "Authorization: Bearer a", "Authorization: Bearer a"), "jwt_ambiguous", "")
	f([]Place{authorization}, request("", "Authorization: Basic a", "Authorization: Bearer a"), "jwt_ambiguous", "")
	f([]Place{authorization}, request("access_token=abc", "X-Token: abc", "Cookie: session=abc"), "none", "")

	f([]Place{field}, request("", "X-Token: abc", "Authorization: Bearer other"), "abc", "Authorization: Bearer other")
	f([]Place{field}, request("", "x-token: Bearer abc"), "abc", "")
	f([]Place{field}, request("", "X-Token: a", "X-Token: b"), "jwt_ambiguous", "")
	f([]Place{field}, request("", "X-Token: "), "", "")

	f([]Place{cookie}, request("", "Cookie: session=abc"), "abc", "")
	f([]Place{cookie}, request("", "Cookie: a=1; session=abc; b=2"), "abc", "Cookie: a=1; b=2")
	f([]Place{cookie}, request("", "Cookie: session=abc; b=2"), "abc", "Cookie: b=2")
	f([]Place{cookie}, request("", "Cookie: a=1; session=\"abc\""), "abc", "Cookie: a=1")
	f([]Place{cookie}, request("", "Cookie: a=1", "Cookie: session=abc", "Cookie: b=2"), "abc", "Cookie: a=1 | Cookie: b=2") // crumbs (RFC 9113 section 8.2.3)
	f([]Place{cookie}, request("", "Cookie: Session=abc; xsession=abc; session"), "none", "")
	f([]Place{cookie}, request("", "Cookie: session=a; session=b"), "jwt_ambiguous", "")
	f([]Place{cookie}, request("", "Cookie: session=a", "Cookie: session=b"), "jwt_ambiguous", "")

	f([]Place{query}, request("access_token=abc"), "abc", "")
	f([]Place{query}, request("a=1&access_token=abc&b=2"), "abc", "?a=1&b=2")
	f([]Place{query}, request("a=1&access_token=abc"), "abc", "?a=1")
	f([]Place{query}, request("access_token=abc&b=2&&"), "abc", "?b=2&&")
	f([]Place{query}, request("access_token=a&access_token=b"), "jwt_ambiguous", "")
	f([]Place{query}, request("Access_token=abc&access_token&xaccess_token=1"), "none", "")

	all := []Place{authorization, cookie, query}
	f(all, request("a=1", "Cookie: session=abc"), "abc", "?a=1")
	f(all, request("access_token=abc", "Cookie: session=abc"), "jwt_ambiguous", "")
	f(all, request("access_token=abc", "Authorization: Bearer abc"), "jwt_ambiguous", "")
	f(all, request("access_token=abc", "Authorization: Basic abc"), "abc", "Authorization: Basic abc")
}

// FuzzStrip: what is left has no token, and all the rest.
func FuzzStrip(f *testing.F) {
	f.Add("a=1&access_token=x&b=2")
	f.Add("access_token=&&access_token")
	f.Fuzz(func(t *testing.T, query string) {
		var want []string
		parts := strings.Split(query, "&")
		for _, p := range parts {
			if name, _, ok := strings.Cut(strings.Trim(p, " \t"), "="); !ok || name != "access_token" {
				want = append(want, p)
			}
		}
		if len(want) == len(parts) || query == "" {
			return
		}
		got := string(without(nil, []byte(query), '&', "access_token"))
		if strings.Trim(got, "&") != strings.Trim(strings.Join(want, "&"), "&") {
			t.Fatalf("%q: %q, want %q", query, got, strings.Join(want, "&"))
		}
	})
}

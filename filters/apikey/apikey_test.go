package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/identity"
)

func request(query string, lines ...string) *message.Head {
	h := &message.Head{}
	if query != "" {
		h.Query, h.HasQuery = h.StoreString(query), true
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

func text(h *message.Head) string {
	var out []string
	if h.HasQuery {
		out = append(out, "?"+string(h.QueryBytes()))
	}
	for _, f := range h.All() {
		if !f.Gone {
			out = append(out, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(out, " | ")
}

func TestKeysAreFoundAndTakenOff(t *testing.T) {
	header, query, cookie, auth := Place{InHeader, "x-api-key"}, Place{InQuery, "key"}, Place{InCookie, "k"}, Place{InHeader, "authorization"}
	for _, c := range []struct {
		place Place
		in    *message.Head
		found string
		left  string
	}{
		{header, request(""), "0 ", ""},
		{header, request("", "X-Api-Key: s", "A: b"), "1 s", "A: b"},
		{header, request("", "x-api-key: s", "X-API-KEY: t"), "2 s", ""},
		{header, request("", "x_api_key: s"), "0 ", ""}, // no key, and no way past the removal
		{header, request("", "x-api-key: "), "1 ", ""},
		{auth, request("", "Authorization: Bearer s"), "1 s", ""},
		{auth, request("", "Authorization: APIKEY   s"), "1 s", ""},
		{auth, request("", "Authorization: Basic s"), "0 ", "Authorization: Basic s"},
		{auth, request("", "Authorization: Bearer"), "1 ", ""},
		{query, request("a=b&key=s&c"), "1 s", "?a=b&c"},
		{query, request("key=s"), "1 s", ""},
		{query, request("k%65y=%73+%2B%zz"), "1 s +%zz", ""},
		{query, request("key=s&key=t&a=1"), "2 s", "?a=1"},
		{query, request("keys=s&ke=y"), "0 ", "?keys=s&ke=y"},
		{query, request("key"), "1 ", ""},
		{query, request("&&key=s&&"), "1 s", ""},
		{cookie, request("", "Cookie: a=b; k=s; c=d"), "1 s", "Cookie: a=b; c=d"},
		{cookie, request("", "Cookie: k=s"), "1 s", ""},
		{cookie, request("", "Cookie: a=b", "Cookie:  k = s ;k=t"), "2 s", "Cookie: a=b"},
		{cookie, request("", "Cookie: kk=s; =k"), "0 ", "Cookie: kk=s; =k"},
	} {
		var space [KeyBytesMax + 1]byte
		value, n := c.place.find(c.in, space[:])
		if got := fmt.Sprintf("%d %s", n, value); got != c.found {
			t.Errorf("%s: found %q, want %q", text(c.in), got, c.found)
		}
		before := text(c.in)
		if c.place.remove(c.in); text(c.in) != c.left {
			t.Errorf("%s: left %q, want %q", before, text(c.in), c.left)
		}
	}
}

// A query that grows the head's memory while it is stored anew is still read from where it was.
func TestRemovalMovesNothingItReads(t *testing.T) {
	for pad := range 200 {
		h := request(strings.Repeat("a", pad) + "=1&key=s&" + strings.Repeat("b", 100) + "=2&key=t&c=3")
		(&Place{InQuery, "key"}).remove(h)
		if want := "?" + strings.Repeat("a", pad) + "=1&" + strings.Repeat("b", 100) + "=2&c=3"; text(h) != want {
			t.Fatalf("%d: %s", pad, text(h))
		}
		h = request("", "Cookie: "+strings.Repeat("a", pad)+"=1; key=s; "+strings.Repeat("b", 100)+"=2")
		(&Place{InCookie, "key"}).remove(h)
		if want := "Cookie: " + strings.Repeat("a", pad) + "=1; " + strings.Repeat("b", 100) + "=2"; text(h) != want {
			t.Fatalf("%d: %s", pad, text(h))
		}
	}
}

func FuzzRemove(f *testing.F) {
	f.Add("a=b&key=s&k%65y=t", "a=b; key=s;key =t")
	f.Fuzz(func(t *testing.T, query, cookie string) {
		h := request(query, "Cookie: "+cookie)
		for _, p := range []Place{{InQuery, "key"}, {InCookie, "key"}} {
			p.remove(h)
			if _, n := p.find(h, make([]byte, KeyBytesMax+1)); n != 0 {
				t.Errorf("%q %q: %d left in %s", query, cookie, n, text(h))
			}
		}
	})
}

// What the access log shows of a query is where it came: there must be no key, whether the upstream gets one or not.
func TestKeysAreNotWhereTheLogReadsThem(t *testing.T) {
	for _, off := range []bool{false, true} {
		h := request("a=1&key=secret&old=secret&b=2")
		came := h.Query
		f := &Filter{spec: Spec{Places: []Place{{InHeader, "x-api-key"}, {InQuery, "key"}, {InQuery, "old"}}}}
		f.clean(h, off)
		if got := string(h.Bytes(came)); got != "a=1&key=******&old=******&b=2" {
			t.Errorf("the log shows %s", got)
		}
		want := "?a=1&key=secret&old=secret&b=2"
		if off {
			want = "?a=1&b=2"
		}
		if text(h) != want {
			t.Errorf("the upstream gets %s, want %s", text(h), want)
		}
	}
}

func hexSum(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func TestFilesOfKeys(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "0 0"},
		{"acme sha256:" + hexSum("0123456789abcdef") + " plan=gold\nacme plain:0123456789abcdeg", "2 1"},
		{"acme sha256:abcd", "line 1: a SHA-256 sum has 64 hexadecimal digits, found 4 characters"},
		{"acme sha256:" + strings.Repeat("x", 64), "line 1: a SHA-256 sum has hexadecimal digits only"},
		{"acme topsecret", `line 1: the key of "acme" begins neither with sha256: nor with plain:`},
		{"acme plain:short", "line 1: a key has 16 to 512 characters, found 5"}, // key_too_short
		{"a plain:0123456789abcdef\nb sha256:" + hexSum("0123456789abcdef"), `line 2: the key of "b" is there twice`},
	} {
		k, err := ParseFile([]byte(c.text))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(k.Len(), " ", k.Plain)
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("acme sha256:" + hexSum("x") + " plan=gold\nb plain:0123456789abcdef"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := ParseFile(text); err == nil && k.Plain > k.Len() {
			t.Error(k)
		}
	})
}

func TestConsumersOfKeys(t *testing.T) {
	acme, _ := identity.New("acme", nil)
	keys := NewKeys()
	keys.Add(sha256.Sum256([]byte("0123456789abcdef")), acme)
	f, problems := Compile(Spec{Keys: keys}, nil)
	if problems != nil {
		t.Fatal(problems)
	}
	for key, want := range map[string]*identity.Identity{"0123456789abcdef": acme, "0123456789abcde": nil, "": nil, hexSum("0123456789abcdef"): nil} {
		if got := f.consumer([]byte(key)); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
	h := request("", "x-api-key: 0123456789abcdef", "cookie: a=b")
	p := Place{InHeader, "x-api-key"}
	space := make([]byte, KeyBytesMax+1)
	if n := testing.AllocsPerRun(100, func() {
		v, _ := p.find(h, space)
		f.consumer(v)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got, want := f.String(), "API keys from header x-api-key: 1 in the document; taken off the request"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSpecsThatLetNobodyIn(t *testing.T) {
	if _, problems := Compile(Spec{Keys: NewKeys()}, nil); len(problems) != 1 || problems[0].Field != "keys" {
		t.Error(problems)
	}
}

func BenchmarkConsumer(b *testing.B) {
	keys := NewKeys()
	for i := range 10_000 {
		id, _ := identity.New(fmt.Sprint("c", i), nil)
		keys.Add(sha256.Sum256(fmt.Appendf(nil, "key-of-consumer-%08d", i)), id)
	}
	f, _ := Compile(Spec{Keys: keys}, nil)
	key := []byte("key-of-consumer-00004711")
	b.ReportAllocs()
	for b.Loop() {
		f.consumer(key)
	}
}

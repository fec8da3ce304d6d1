package cache

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

// now is a moment of these tests.
const now Unix = 1_700_000_000

// head makes a head of lines, "Name: value", with a status before them for a response.
func head(status int, lines ...string) *message.Head {
	h := &message.Head{Status: status}
	for _, l := range lines {
		if name, value, ok := strings.Cut(l, ":"); ok {
			h.AddString(name, strings.TrimPrefix(value, " "))
		}
	}
	return h
}

// split is head for one text with lines between bars.
func split(status int, text string) *message.Head { return head(status, strings.Split(text, "|")...) }

// date is a field's value so many seconds from now.
func date(offset int64) string { return string(AppendDate(nil, now+offset)) }

func show(h *message.Fields) string {
	var b strings.Builder
	for _, l := range h.All() {
		if !l.Gone {
			b.WriteString(string(h.Bytes(l.Name)) + ": " + string(h.Bytes(l.Value)) + "|")
		}
	}
	return strings.TrimSuffix(b.String(), "|")
}

// RFC 9111 5.2: directives are compared without regard to case, values may be quoted, and what is unknown means nothing.
func TestCacheControl(t *testing.T) {
	s := time.Second
	f := func(value string, want Control) {
		t.Helper()
		lines := strings.Split(value, "|")
		for i, l := range lines {
			lines[i] = "Cache-Control: " + l
		}
		if got := ReadControl(&head(200, lines...).Fields); got != want {
			t.Errorf("%q: %+v, want %+v", value, got, want)
		}
	}
	f("", Control{})
	f("max-age=5", Control{Has: HasMaxAge, MaxAge: 5 * s})
	f("MAX-AGE=5, No-Store", Control{Has: HasMaxAge | NoStore, MaxAge: 5 * s})
	f(`max-age="5"`, Control{Has: HasMaxAge, MaxAge: 5 * s})
	f("max-age=005", Control{Has: HasMaxAge, MaxAge: 5 * s})
	f("max-age=99999999999999999999", Control{Has: HasMaxAge, MaxAge: secondsMax * s}) // RFC 9111 1.2.2
	for _, bad := range []string{"-1", "5.0", "a5", "5a", "'5'", "", " 5", "5 5"} {    // RFC 9111 4.2.1: rather stale
		f("max-age="+bad, Control{Has: HasMaxAge})
	}
	f("max-age =5", Control{Has: HasMaxAge})
	f("max-age", Control{Has: HasMaxAge})
	f("max-age=1, max-age=5", Control{Has: HasMaxAge, MaxAge: s})
	f("max-age=1|s-maxage=5", Control{Has: HasMaxAge | HasSMaxAge, MaxAge: s, SMaxAge: 5 * s})
	f(`x="max-age=5, no-store", max-age=1`, Control{Has: HasMaxAge, MaxAge: s})
	f(`x="a\", no-store", public`, Control{Has: Public})
	f(`x="a, public`, Control{Has: NoStore}) // its end is not there: it may hide anything
	f("no-cache, private", Control{Has: NoCache | Private})
	f(`no-cache="a, b", private="c"`, Control{Has: NoCacheFields | PrivateFields})
	f(`no-cache=""`, Control{Has: NoCache})
	f("no-cache=a", Control{Has: NoCacheFields})
	f("must-revalidate,proxy-revalidate,must-understand", Control{Has: MustRevalidate | ProxyRevalidate | MustUnderstand})
	f("stale-while-revalidate=3, stale-if-error=4", Control{Has: HasStaleWhileRevalidate | HasStaleIfError,
		StaleWhileRevalidate: 3 * s, StaleIfError: 4 * s})
	f("max-stale", Control{Has: HasMaxStale, MaxStale: Any})
	f("max-stale=4, min-fresh=2, only-if-cached", Control{Has: HasMaxStale | HasMinFresh | OnlyIfCached, MaxStale: 4 * s, MinFresh: 2 * s})
	f(",, ,public,", Control{Has: Public})
	f("public no-store", Control{})
}

// RFC 9111 5.4
func TestPragmaStandsInForARequestsCacheControl(t *testing.T) {
	f := func(text string, want Directive) {
		t.Helper()
		if got := ReadRequest(&split(0, text).Fields); got.Has != want {
			t.Errorf("%s: %b, want %b", text, got.Has, want)
		}
	}
	f("Pragma: no-cache", NoCache)
	f("Pragma: foo", 0)
	f("Pragma: no-cache|Cache-Control: only-if-cached", OnlyIfCached)
}

// RFC 9213 2.1, RFC 8941
func TestTargetedFields(t *testing.T) {
	names := []string{"yumen-cache-control", "cdn-cache-control"}
	f := func(text, want string) {
		t.Helper()
		c, ok := ReadTargeted(&split(200, text).Fields, names)
		got := "none"
		if ok {
			got = strconv.FormatUint(uint64(c.Has), 2) + " " + c.MaxAge.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	flags := func(d Directive, age string) string { return strconv.FormatUint(uint64(d), 2) + " " + age }
	f("Cache-Control: max-age=1", "none")
	f("CDN-Cache-Control: max-age=60", flags(HasMaxAge, "1m0s"))
	f("CDN-Cache-Control: max-age=60|Yumen-Cache-Control: max-age=1", flags(HasMaxAge, "1s"))
	f("CDN-Cache-Control: max-age=60|Yumen-Cache-Control: ", flags(HasMaxAge, "1m0s"))
	f("CDN-Cache-Control: max-age=1, max-age=60", flags(HasMaxAge, "1m0s")) // the last counts
	f("CDN-Cache-Control: no-store;a;b=1, public=?1", flags(NoStore|Public, "0s"))
	f("CDN-Cache-Control: no-store=?0, x", flags(0, "0s"))
	f("CDN-Cache-Control: max-age=\"60\"", flags(0, "0s")) // of another type: ignored
	f("CDN-Cache-Control: max-age=6.5, no-store", flags(NoStore, "0s"))
	f(`CDN-Cache-Control: no-cache="a"`, flags(NoCache, "0s"))
	for _, bad := range []string{"max-age=60,", "Max-Age=60", "max-age=60 public", "max-age==", `a="`, "=1", "a;", "a=?2", "a;b=", ","} {
		f("CDN-Cache-Control: "+bad, "none")
	}
}

// RFC 9110 5.6.7: one form to send, three to read.
func TestDates(t *testing.T) {
	f := func(text string, want string) {
		t.Helper()
		at, ok := ParseDate([]byte(text), now)
		got := "none"
		if ok {
			got = time.Unix(at, 0).UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	const third = "1994-11-06T08:49:37Z"
	f("Sun, 06 Nov 1994 08:49:37 GMT", third)
	f("Sunday, 06-Nov-94 08:49:37 GMT", third)
	f("Sun Nov  6 08:49:37 1994", third)
	f(" SUN, 06 NOV 1994 08:49:37 gmt ", third)
	f("Sunday, 06-Nov-70 08:49:37 GMT", "2070-11-06T08:49:37Z")
	f("Sunday, 06-Nov-74 08:49:37 GMT", "1974-11-06T08:49:37Z") // more than fifty years ahead: it was in the past
	f("Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z")
	f("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z")
	for _, bad := range []string{"", "0", "-1", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 94 08:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT x",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06  Nov 1994 08:49:37 GMT"} {
		f(bad, "none")
	}
}

// Every cut of a date is none, and every date comes back as it went.
func TestDatesThereAndBack(t *testing.T) {
	for at := Unix(-1e9); at < 1e11; at += 86399*97 + 13 {
		text := AppendDate(nil, at)
		if want := time.Unix(at, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"); at < 253402300800 && string(text) != want {
			t.Fatalf("%d: %s, want %s", at, text, want)
		}
		if back, ok := ParseDate(text, now); (!ok || back != at) && at < 253402300800 {
			t.Fatalf("%s: %d, %v, want %d", text, back, ok, at)
		}
	}
	text := AppendDate(nil, now)
	for i := range text {
		if _, ok := ParseDate(text[:i], now); ok {
			t.Errorf("%q is taken for a date", text[:i])
		}
	}
}

func TestLifetime(t *testing.T) {
	f := func(r Rules, status int, text, want string) {
		t.Helper()
		fresh := r.Fresh(split(status, text), now, 2*time.Second, false)
		got := fresh.Lifetime.String()
		if !fresh.Explicit {
			got += " guessed"
		}
		if got != want {
			t.Errorf("%d %s: %s, want %s", status, text, got, want)
		}
	}
	r := Rules{}
	f(r, 200, "", "0s guessed")
	f(r, 200, "Cache-Control: max-age=60", "1m0s") // RFC 9111 4.2.1
	f(r, 200, "Cache-Control: max-age=60, s-maxage=5", "5s")
	f(r, 200, "Cache-Control: s-maxage=0, max-age=60|Expires: "+date(50), "0s")
	f(r, 200, "Expires: "+date(50)+"|Date: "+date(0), "50s")
	f(r, 200, "Expires: "+date(50)+"|Date: "+date(-10), "1m0s")
	f(r, 200, "Expires: "+date(50), "50s")
	f(r, 200, "Expires: 0", "0s") // RFC 9111 5.3: no date is in the past
	f(r, 200, "Cache-Control: max-age=60|Expires: 0", "1m0s")
	f(r, 200, "Last-Modified: "+date(-1000)+"|Date: "+date(0), "0s guessed")
	r.Heuristic = 0.1 // RFC 9111 4.2.2
	f(r, 200, "Last-Modified: "+date(-1000)+"|Date: "+date(0), "1m40s guessed")
	f(r, 200, "Last-Modified: "+date(1000)+"|Date: "+date(0), "0s guessed")
	f(r, 200, "Last-Modified: "+date(-1e8)+"|Date: "+date(0), "24h0m0s guessed")
	f(r, 503, "Last-Modified: "+date(-1000)+"|Date: "+date(0), "0s guessed")
	f(r, 599, "Cache-Control: public|Last-Modified: "+date(-1000)+"|Date: "+date(0), "1m40s guessed")
	r = Rules{DefaultLifetime: time.Minute, NegativeLifetime: time.Second, LifetimeMax: time.Hour}
	f(r, 200, "", "1m0s guessed")
	f(r, 404, "", "1s guessed")
	f(r, 403, "", "0s guessed")
	f(r, 200, "Cache-Control: max-age=7200", "1h0m0s")
	r = Rules{Targeted: []string{"cdn-cache-control"}} // RFC 9213 2.2
	f(r, 200, "CDN-Cache-Control: max-age=9|Cache-Control: no-store, max-age=1|Expires: "+date(50), "9s")
	f(r, 200, "CDN-Cache-Control: public|Cache-Control: max-age=1|Expires: "+date(50), "0s guessed")
	f(r, 200, "CDN-Cache-Control: &|Cache-Control: max-age=1", "1s")
}

// RFC 9111 4.2.3, 5.1
func TestAge(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		fresh := (&Rules{}).Fresh(split(200, text), now, 2*time.Second, false)
		if fresh.Age != want {
			t.Errorf("%s: %v, want %v", text, fresh.Age, want)
		}
		if got := fresh.AgeAt(10 * time.Second); got != want+10*time.Second {
			t.Errorf("%s: %v later", text, got)
		}
	}
	f("", 2*time.Second)
	f("Age: 30", 32*time.Second)
	f("Date: "+date(-60), time.Minute)
	f("Date: "+date(-60)+"|Age: 90", 92*time.Second)
	f("Date: "+date(60), 2*time.Second)
	f("Date: nonsense|Age: 1", 3*time.Second)
	f("Age: 7200, 0", 7202*time.Second) // the first counts
	f("Age: 0|Age: 7200", 2*time.Second)
	f("Age: -5", 2*time.Second) // and what is no number is ignored
	f("Age: 5.0", 2*time.Second)
}

// RFC 9111 3
func TestWhatMayBeKept(t *testing.T) {
	f := func(r Rules, method, request string, identified bool, status int, text string, want Refusal) {
		t.Helper()
		h, c := split(status, text), ReadRequest(&split(0, request).Fields)
		fresh := r.Fresh(h, now, 0, identified)
		if got := r.Storable([]byte(method), &c, identified, h, &fresh); got != want {
			t.Errorf("%s %s (%v) -> %d %s: %q, want %q", method, request, identified, status, text, got, want)
		}
	}
	var r Rules
	const fresh = "Cache-Control: max-age=60"
	f(r, "GET", "", false, 200, fresh, Kept)
	f(r, "POST", "", false, 200, fresh, RefusedMethod)
	f(r, "GET", "Cache-Control: no-store", false, 200, fresh, RefusedRequest)
	f(r, "GET", "", false, 200, "", RefusedLifetime)
	f(r, "GET", "", false, 200, "ETag: \"a\"", RefusedLifetime)
	for _, status := range []int{201, 302, 400, 404, 500, 503, 599} {
		f(r, "GET", "", false, status, fresh, Kept)
	}
	for _, status := range []int{206, 304, 101, 412, 416, 600} {
		f(r, "GET", "", false, status, fresh, RefusedStatus)
	}
	f(r, "GET", "", false, 200, "Cache-Control: max-age=60, no-store", RefusedNoStore)
	f(r, "GET", "", false, 200, "Cache-Control: max-age=60, no-store, must-understand", Kept) // RFC 9111 5.2.2.3
	f(r, "GET", "", false, 599, "Cache-Control: max-age=60, must-understand", RefusedStatus)
	f(r, "GET", "", false, 200, "Cache-Control: max-age=60, private", RefusedPrivate)
	f(r, "GET", "", false, 200, `Cache-Control: max-age=60, private="set-cookie"`, Kept)
	f(r, "GET", "", true, 200, fresh, RefusedAuth) // RFC 9111 3.5
	f(r, "GET", "", true, 200, fresh+", public", Kept)
	f(r, "GET", "", true, 200, fresh+", must-revalidate", Kept)
	f(r, "GET", "", true, 200, "Cache-Control: s-maxage=60", Kept)
	f(r, "GET", "", false, 200, fresh+"|Set-Cookie: a=b", RefusedSetCookie)
	f(Rules{StoreSetCookie: true}, "GET", "", false, 200, fresh+"|Set-Cookie: a=b", Kept)
	f(r, "GET", "", false, 200, fresh+"|Vary: *", RefusedVary)
	f(r, "GET", "", false, 200, fresh+"|Vary: a, *", RefusedVary)
	f(r, "GET", "", false, 200, fresh+"|Vary: |Vary: *", RefusedVary)
	f(r, "GET", "", false, 200, fresh+"|Vary: a, b", Kept)
	f(r, "GET", "", false, 200, fresh+"|Vary: "+strings.Repeat("a,", VaryMax), Kept)
	f(r, "GET", "", false, 200, fresh+"|Vary: "+strings.Repeat("a,", VaryMax+1), RefusedVary)
	f(r, "GET", "", false, 200, "Cache-Control: no-cache", RefusedStale)
	f(r, "GET", "", false, 200, "Cache-Control: no-cache|ETag: \"a\"", Kept)
	f(r, "GET", "", false, 200, "Cache-Control: max-age=0", RefusedStale)
	f(r, "GET", "", false, 200, "Cache-Control: max-age=0|Last-Modified: "+date(-9), Kept)
	f(r, "GET", "", false, 200, "Cache-Control: max-age=1, stale-if-error=60|Age: 5", Kept)
	f(Rules{DefaultLifetime: time.Minute}, "GET", "", false, 200, "", Kept)
	f(Rules{DefaultLifetime: time.Minute}, "GET", "", true, 200, "", RefusedAuth)
}

// RFC 9111 4.2, 4.2.4, 5.2.1; RFC 5861 3
func TestWhatIsKeptIsGoodFor(t *testing.T) {
	s := time.Second
	f := func(response string, age time.Duration, request string, want Use) {
		t.Helper()
		fresh := (&Rules{}).Fresh(head(200, "Cache-Control: "+response), now, 0, false)
		c := ReadControl(&head(0, "Cache-Control: "+request).Fields)
		if got := Decide(&fresh, age, &c); got != want {
			t.Errorf("%s, %v old, asked with %q: %d, want %d", response, age, request, got, want)
		}
	}
	f("max-age=60", 59*s, "", Fresh)
	f("max-age=60", 60*s, "", Validate)
	f("max-age=60, no-cache", 0, "", Validate)
	f("max-age=60", 5*s, "no-cache", Validate)
	f("max-age=60", 5*s, "max-age=5", Fresh)
	f("max-age=60", 6*s, "max-age=5", Validate)
	f("max-age=60", 0, "max-age=0", Validate)
	f("max-age=60", 30*s, "min-fresh=30", Fresh)
	f("max-age=60", 31*s, "min-fresh=30", Validate)
	f("max-age=60", 70*s, "max-stale", StaleAllowed)
	f("max-age=60", 70*s, "max-stale=10", StaleAllowed)
	f("max-age=60", 71*s, "max-stale=10", Validate)
	f("max-age=60, must-revalidate", 70*s, "max-stale", Validate)
	f("s-maxage=60", 70*s, "max-stale", Validate) // RFC 9111 5.2.2.10
	f("max-age=60, stale-while-revalidate=10", 69*s, "", Revalidate)
	f("max-age=60, stale-while-revalidate=10", 70*s, "", Validate)
	f("s-maxage=60, stale-while-revalidate=10", 65*s, "", Revalidate)
	f("max-age=60, stale-while-revalidate=10, must-revalidate", 65*s, "", Validate)
	f("max-age=60, stale-while-revalidate=10", 65*s, "max-age=90", Validate)
}

// RFC 5861 4
func TestWhoStandsInForAnError(t *testing.T) {
	f := func(r Rules, response string, age time.Duration, request string, want bool) {
		t.Helper()
		fresh := r.Fresh(head(200, "Cache-Control: "+response), now, 0, false)
		c := ReadControl(&head(0, "Cache-Control: "+request).Fields)
		if got := StandsIn(&fresh, age, &c); got != want {
			t.Errorf("%s, %v old: %v", response, age, got)
		}
	}
	configured := Rules{StaleIfError: time.Minute}
	f(Rules{}, "max-age=60", 61*time.Second, "", false)
	f(Rules{}, "max-age=60, stale-if-error=5", 64*time.Second, "", true)
	f(Rules{}, "max-age=60, stale-if-error=5", 65*time.Second, "", false)
	f(configured, "max-age=60", 119*time.Second, "", true)
	f(configured, "max-age=60, stale-if-error=0", 61*time.Second, "", false)
	f(configured, "max-age=60, must-revalidate", 61*time.Second, "", false)
	f(configured, "max-age=60, proxy-revalidate, stale-if-error=9", 61*time.Second, "", false)
	f(configured, "s-maxage=60", 61*time.Second, "", false)
	f(configured, "max-age=60", 61*time.Second, "no-cache", false)
	for status, want := range map[int]bool{200: false, 404: false, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false} {
		if IsError(status) != want {
			t.Errorf("IsError(%d) is %v", status, !want)
		}
	}
}

// RFC 9111 4.1
func TestVarySelects(t *testing.T) {
	f := func(vary, a, b string, same bool) {
		t.Helper()
		names := string(AppendVary(nil, &split(200, vary).Fields))
		x := AppendSelector(nil, names, &split(0, a).Fields)
		y := AppendSelector(nil, names, &split(0, b).Fields)
		if bytes.Equal(x, y) != same {
			t.Errorf("%s: %q and %q, of %s and %s", vary, x, y, a, b)
		}
	}
	f("", "Foo: 1", "Foo: 2", true)
	f("Vary: Foo", "Foo: 1", "foo: 1", true)
	f("Vary: Foo", "Foo: 1", "Foo: 2", false)
	f("Vary: Foo", "", "Foo: ", false)
	f("Vary: Foo", "", "Bar: 1", true)
	f("Vary: Foo", "Foo: 1, 2", "Foo: 1|Foo: 2", true)
	f("Vary: Foo", "Foo: 1,2", "Foo: 1 ,  2", true)
	f("Vary: Foo", `Foo: "1,2"`, `Foo: "1, 2"`, false)
	f("Vary: Foo", "Foo: a", "Foo: A", false)
	f("Vary: Foo, Bar", "Foo: 1|Bar: 2", "Bar: 2|Foo: 1", true)
	f("Vary: Foo|Vary: Bar", "Foo: 1|Bar: 2", "Foo: 12", false)
	f("Vary: Foo, Bar", "Foo: 1", "Bar: 1", false)
	f("Vary: Accept-Language", "Accept-Language: en, de", "Accept-Language: De,EN", true)
	f("Vary: Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: br, gzip", true)
	f("Vary: Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: br", false)
	f("Vary: Accept", "Accept: b, a, c", "Accept: c, b, a", true)
	many := strings.Repeat("a,", membersMax)
	f("Vary: Accept", "Accept: "+many+"b", "Accept: b,"+many, false) // too many are left as they are
}

// Members in any order come out in one.
func TestMembersAreSorted(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {"b", "b"}, {"b,a", "a,b"}, {"ccc,b,aa", "aa,b,ccc"}, {",b,,a", ",,a,b"}, {"b,a,b", "a,b,b"}} {
		b := []byte(c[0])
		if sortMembers(b); string(b) != c[1] {
			t.Errorf("%q: %q, want %q", c[0], b, c[1])
		}
	}
}

// RFC 9110 13, RFC 9111 4.3.2
func TestConditionsOfRequests(t *testing.T) {
	f := func(request, kept string, want Condition) {
		t.Helper()
		r, k := split(0, request), split(200, kept)
		if got := Evaluate(&r.Fields, &k.Fields, now-30, now); got != want {
			t.Errorf("%s about %s: %d, want %d", request, kept, got, want)
		}
		if Conditional(&r.Fields) != (request != "" && !strings.HasPrefix(request, "Range")) {
			t.Errorf("%s: conditional is wrong", request)
		}
	}
	f("", "ETag: \"a\"", Whole)
	f("Range: bytes=0-1", "ETag: \"a\"", Whole)
	f(`If-None-Match: "a"`, `ETag: "a"`, NotModified)
	f(`If-None-Match: W/"a"`, `ETag: "a"`, NotModified) // weak comparison
	f(`If-None-Match: "a"`, `ETag: W/"a"`, NotModified)
	f(`If-None-Match: "b"`, `ETag: "a"`, Whole)
	f(`If-None-Match: "x", "a"`, `ETag: "a"`, NotModified)
	f(`If-None-Match: "x,a", "b"`, `ETag: "a"`, Whole)
	f(`If-None-Match: "x"|If-None-Match: "a"`, `ETag: "a"`, NotModified)
	f(`If-None-Match: a`, `ETag: "a"`, Whole)
	f(`If-None-Match: *`, ``, NotModified)
	f(`If-None-Match: "a"`, ``, Whole)
	f(`If-None-Match: "b"|If-Modified-Since: `+date(0), `ETag: "a"|Last-Modified: `+date(-60), Whole)
	f("If-Modified-Since: "+date(-60), "Last-Modified: "+date(-60), NotModified)
	f("If-Modified-Since: "+date(-50), "Last-Modified: "+date(-60), NotModified)
	f("If-Modified-Since: "+date(-61), "Last-Modified: "+date(-60), Whole)
	f("If-Modified-Since: nonsense", "Last-Modified: "+date(-60), Whole)
	f("If-Modified-Since: "+date(-60), "Date: "+date(-60), NotModified) // RFC 9111 4.3.2: or the date, or when it came
	f("If-Modified-Since: "+date(-31), "", Whole)
	f("If-Modified-Since: "+date(-30), "", NotModified)
	f(`If-Match: "a"`, `ETag: "a"`, Upstreams)
	f("If-Unmodified-Since: "+date(0), "", Upstreams)
	for fields, want := range map[string]bool{"": false, `If-None-Match: "a"`: false, `If-Match: "a"`: true, "if-unmodified-since: x": true, "Range: bytes=0-": false} {
		if got := ForUpstream(&split(0, fields).Fields); got != want {
			t.Errorf("%s: for the upstream alone: %v", fields, got)
		}
	}
}

// RFC 9111 4.3.1, 4.3.4
func TestAskingAbout(t *testing.T) {
	r := split(0, `A: 1|If-None-Match: "z"|Range: bytes=0-1|If-Range: "z"`)
	if !AskAbout(&r.Fields, &split(200, `ETag: W/"a"|Last-Modified: x`).Fields) {
		t.Error("there is something to ask with")
	}
	if got, want := show(&r.Fields), `A: 1|If-None-Match: W/"a"|If-Modified-Since: x`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if AskAbout(&r.Fields, &split(200, "A: b").Fields) {
		t.Error("there is nothing to ask with")
	}
	f := func(answer, kept string, want bool) {
		t.Helper()
		if got := Confirms(split(304, answer), &split(200, kept).Fields); got != want {
			t.Errorf("%s about %s: %v", answer, kept, got)
		}
	}
	f("", `ETag: "a"`, true)
	f(`ETag: "a"`, `ETag: "a"`, true)
	f(`ETag: W/"a"`, `ETag: "a"`, true)
	f(`ETag: "b"`, `ETag: "a"`, false)
	f(`ETag: "b"`, `Last-Modified: x`, false)
	f(`Last-Modified: y`, `Last-Modified: x`, false)
	f(`Last-Modified: y`, `ETag: "a"|Last-Modified: x`, true)
}

// RFC 9111 3.2
func TestWhatA304Changes(t *testing.T) {
	kept := split(200, `A: 1|B: 2|B: 3|Content-Type: t|Content-Encoding: gzip|ETag: "a"|Cache-Control: max-age=1`)
	answer := split(304, `B: 4|Cache-Control: max-age=9, no-cache="d"|Content-Encoding: br|Content-Length: 0|Connection: x|D: 5|C: 6|Age: 3|ETag: W/"a"`)
	var out message.Fields
	Merge(&out, &kept.Fields, answer)
	want := `A: 1|Content-Type: t|Content-Encoding: gzip|ETag: "a"|B: 4|Cache-Control: max-age=9, no-cache="d"|C: 6`
	if got := show(&out); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// RFC 9111 3.1, 5.2.2.4, 5.2.2.7
func TestWhichFieldsAreKept(t *testing.T) {
	h := split(200, `A: 1|Connection: close|Keep-Alive: 1|Transfer-Encoding: chunked|Content-Length: 3|Age: 2|B: 2|C: 3|Proxy-Authenticate: x|Proxy-Authentication-Info: y|`+
		`Cache-Control: no-cache="b", private="Set-Cookie"|Set-Cookie: a=b`)
	var kept []string
	for i := range h.All() {
		if l := &h.All()[i]; StoresField(h, l, Qualified(h)) {
			kept = append(kept, string(h.Bytes(l.Name)))
		}
	}
	if got := strings.Join(kept, " "); got != "A C Cache-Control" {
		t.Errorf("kept are %s", got)
	}
}

// RFC 9110 14.2, 13.1.5
func TestRanges(t *testing.T) {
	f := func(request, kept string, size int64, want string) {
		t.Helper()
		s, part := ReadRange(&split(0, request).Fields, &split(200, kept).Fields, size, now)
		got := [...]string{All: "all", Nothing: "nothing", Some: strconv.FormatInt(s.From, 10) + "-" + strconv.FormatInt(s.To, 10)}[part]
		if got != want {
			t.Errorf("%s of %d: %s, want %s", request, size, got, want)
		}
	}
	f("", "", 10, "all")
	f("Range: bytes=0-1", "", 10, "0-2")
	f("Range: Bytes=0-1", "", 10, "0-2")
	f("Range: bytes=3-", "", 10, "3-10")
	f("Range: bytes=-3", "", 10, "7-10")
	f("Range: bytes=-30", "", 10, "0-10")
	f("Range: bytes=9-99999999999999999999999", "", 10, "9-10")
	f("Range: bytes=10-", "", 10, "nothing")
	f("Range: bytes=-0", "", 10, "nothing")
	f("Range: bytes=0-", "", 0, "nothing")
	for _, ignored := range []string{"bytes=0-1,3-4", "bytes=2-1", "bytes=", "bytes=-", "bytes=a-b", "bytes=1", "lines=0-1", "bytes", "bytes=1-b", "bytes=+1-2"} {
		f("Range: "+ignored, "", 10, "all")
	}
	f("Range: bytes=0-1|Range: bytes=0-1", "", 10, "all")
	f(`Range: bytes=0-1|If-Range: "a"`, `ETag: "a"`, 10, "0-2")
	f(`Range: bytes=0-1|If-Range: W/"a"`, `ETag: W/"a"`, 10, "all") // strong comparison
	f(`Range: bytes=0-1|If-Range: "b"`, `ETag: "a"`, 10, "all")
	f("Range: bytes=0-1|If-Range: "+date(-100), "Last-Modified: "+date(-100)+"|Date: "+date(0), 10, "0-2")
	f("Range: bytes=0-1|If-Range: "+date(-100), "Last-Modified: "+date(-100)+"|Date: "+date(-99), 10, "all") // a weak date
	f("Range: bytes=0-1|If-Range: "+date(-99), "Last-Modified: "+date(-100)+"|Date: "+date(0), 10, "all")
	f("Range: bytes=0-1|If-Range: x", "ETag: \"a\"", 10, "all")
}

// RFC 9111 4.4
func TestWhatAnUnsafeRequestMakesDoubtful(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		var got []string
		EachTarget(split(201, answer), "http", []byte("a.example:80"), []byte("/dir/x"), nil, func(p []byte) { got = append(got, string(p)) })
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", answer, s, want)
		}
	}
	f("", "")
	f("Location: /a?b", "/a?b")
	f("Location: http://a.example:80/a#c|Content-Location: y", "/a /dir/y")
	f("Location: //A.example:80/a", "/a")
	f("Location: http://a.example:80", "/")
	f("Location: http://b.example/a", "")
	f("Location: https://a.example:80/a", "")
	f("Location: http://a.example/a", "")
	f("Location: ../a|Content-Location: ", "")
	f("Location: a:b/c", "")
	for status, want := range map[int]bool{200: true, 204: true, 301: true, 400: false, 500: false} {
		if Invalidates(status) != want {
			t.Errorf("Invalidates(%d) is %v", status, !want)
		}
	}
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "POST": false, "PUT": false, "DELETE": false, "PATCH": false, "M-SEARCH": false} {
		if IsSafe([]byte(method)) != want {
			t.Errorf("IsSafe(%s) is %v", method, !want)
		}
	}
}

// RFC 9211
func TestCacheStatus(t *testing.T) {
	for _, c := range []struct {
		said Said
		want string
	}{
		{Said{}, "yumen"},
		{Said{Hit: true, HasTTL: true, TTL: 30 * time.Second}, "yumen; hit; ttl=30"},
		{Said{Hit: true, HasTTL: true, TTL: -1500 * time.Millisecond, Detail: "connect_failed"}, "yumen; hit; ttl=-2; detail=connect_failed"},
		{Said{Forward: "stale", Status: 304, Stored: true, Shared: true}, "yumen; fwd=stale; fwd-status=304; stored; collapsed"},
	} {
		if got := string(c.said.Append(nil, "yumen")); got != c.want {
			t.Errorf("%+v: %s, want %s", c.said, got, c.want)
		}
	}
	if got := string(AppendAge(nil, 90*time.Second)) + " " + string(AppendAge(nil, -time.Second)); got != "90 0" {
		t.Errorf("ages %s", got)
	}
}

// What a hit asks of this package allocates nothing.
func TestDecidingAllocatesNothing(t *testing.T) {
	kept := split(200, `Cache-Control: max-age=60|ETag: "a"|Last-Modified: `+date(-100)+"|Vary: accept-encoding, accept-language")
	request := split(0, `Accept-Encoding: gzip, br|Accept-Language: en, de|If-None-Match: "b", "a"|Range: bytes=0-1|If-Modified-Since: `+date(0))
	fresh := (&Rules{}).Fresh(kept, now, 0, false)
	vary := string(AppendVary(nil, &kept.Fields))
	var b []byte
	said := Said{Hit: true, HasTTL: true}
	if n := testing.AllocsPerRun(100, func() {
		c := ReadRequest(&request.Fields)
		b = AppendSelector(b[:0], vary, &request.Fields)
		Evaluate(&request.Fields, &kept.Fields, now, now)
		ReadRange(&request.Fields, &kept.Fields, 10, now)
		Decide(&fresh, time.Second, &c)
		b = said.Append(b[:0], "yumen")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzHead has the package judge what two peers say; nothing may panic, and some things must hold whatever they say.
func FuzzHead(f *testing.F) {
	f.Add("Cache-Control: max-age=5|Accept: a, b", "Cache-Control: max-age=60, no-cache=\"a\"|Vary: accept|ETag: \"a\"|Expires: "+date(9), 200, int64(100))
	f.Add("Range: bytes=1-2|If-Range: \"a\"|If-None-Match: \"a\", W/\"b\"", "CDN-Cache-Control: max-age=5;a=1, b=\"c\"|Date: "+date(0)+"|Age: 4", 404, int64(10))
	f.Fuzz(func(t *testing.T, request, response string, status int, size int64) {
		q, h := split(0, request), split(status, response)
		r := Rules{Targeted: []string{"cdn-cache-control"}, Heuristic: 0.1}
		c := ReadRequest(&q.Fields)
		fresh := r.Fresh(h, now, 0, false)
		why := r.Storable([]byte("GET"), &c, false, h, &fresh)
		if control := ReadControl(&h.Fields); why == Kept && control.Is(NoStore|Private) && !control.Is(MustUnderstand) {
			if _, targeted := ReadTargeted(&h.Fields, r.Targeted); !targeted {
				t.Errorf("kept: %q", response)
			}
		}
		if fresh.Age < 0 {
			t.Errorf("%q is %v old", response, fresh.Age)
		}
		vary := string(AppendVary(nil, &h.Fields))
		one := AppendSelector(nil, vary, &q.Fields)
		if two := AppendSelector(nil, vary, &q.Fields); !bytes.Equal(one, two) {
			t.Errorf("%q selects %q and %q", request, one, two)
		}
		size = max(size, 0)
		if s, part := ReadRange(&q.Fields, &h.Fields, size, now); part == Some && (s.From < 0 || s.From >= s.To || s.To > size) {
			t.Errorf("%q: %+v of %d", request, s, size)
		}
		Evaluate(&q.Fields, &h.Fields, now, now)
		EachTarget(h, "http", []byte("a"), []byte("/b"), nil, func(p []byte) {
			if len(p) == 0 || p[0] != '/' {
				t.Errorf("%q is doubtful for %q", p, response)
			}
		})
		var out message.Fields
		Merge(&out, &h.Fields, h)
		AskAbout(&q.Fields, &h.Fields)
		Confirms(h, &q.Fields)
	})
}

// FuzzDate: what is read is written as it was, or was one of the two other forms.
func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := ParseDate([]byte(text), now)
		if !ok {
			return
		}
		if back, ok := ParseDate(AppendDate(nil, at), now); !ok || back != at {
			t.Errorf("%q is %d, and comes back as %d", text, at, back)
		}
	})
}

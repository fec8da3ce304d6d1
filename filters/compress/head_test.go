package compress

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

func compiled(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, nil)
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

func TestWhichAnswersMayBeEncoded(t *testing.T) {
	filter := compiled(t, Spec{})
	f := func(status int, length int64, fields string, want bool) {
		t.Helper()
		h := head(strings.Split(fields, "; ")...)
		h.Status, h.Length = status, length
		if got := filter.mayEncode(h, &choice{coding: Gzip}); got != want {
			t.Errorf("%d, %d bytes, %s: %v", status, length, fields, got)
		}
	}
	const json = "Content-Type: application/json"
	f(200, 5000, json, true)
	f(404, 5000, json, true)
	f(200, message.UnknownLength, json, true)
	f(200, 1024, json, true)
	f(200, 1023, json, false)
	f(200, 0, json, false)
	f(200, 5000, "X-A: b", false) // of no type
	f(200, 5000, "Content-Type: image/png", false)
	f(200, 5000, "Content-Type: application/grpc", false)
	f(101, message.UnknownLength, json, false)
	f(204, message.UnknownLength, json, false)
	f(205, message.UnknownLength, json, false)
	f(206, 5000, json, false)
	f(200, 5000, json+"; Content-Range: bytes 0-5/10", false)
	f(200, 5000, json+"; Content-Encoding: gzip", false)
	f(200, 5000, json+"; Content-Encoding: identity", true)
	f(200, 5000, json+"; Cache-Control: public; Cache-Control: max-age=1, No-Transform", false) // RFC 9111 5.2.2.6
	f(200, 5000, json+"; Content-Digest: sha-256=:x:", false)                                   // RFC 9530 2
	f(200, 5000, json+"; Repr-Digest: sha-256=:x:", false)
	f(200, 5000, json+"; Content-MD5: x", false)

	small := head(json)
	small.Status, small.Length = 200, 10
	if !filter.mayEncode(small, &choice{coding: Gzip, refusesIdentity: true}) {
		t.Error("a client that takes nothing without a coding gets a small answer without one")
	}
}

func TestWhoIsOfferedACoding(t *testing.T) {
	filter := compiled(t, Spec{})
	f := func(fields string, proto message.Proto, want Coding) {
		t.Helper()
		h := head(strings.Split(fields, "; ")...)
		h.Proto = proto
		if got := filter.choose(h).coding; got != want {
			t.Errorf("%s: %v, want %v", fields, got, want)
		}
	}
	const accept = "Accept-Encoding: br"
	f(accept, message.HTTP11, Brotli)
	f(accept, message.HTTP2, Brotli)
	f(accept, message.HTTP10, Identity)
	f(accept+"; Cache-Control: no-transform", message.HTTP11, Identity) // RFC 9111 5.2.1.6
	f(accept+"; Sec-Fetch-Site: cross-site", message.HTTP11, Brotli)
	f(accept+"; Sec-Fetch-Site: cross-site; Cookie: a=b", message.HTTP11, Identity)
	f(accept+"; Sec-Fetch-Site: cross-site; Authorization: Basic x", message.HTTP11, Identity)
	f(accept+"; Sec-Fetch-Site: same-site; Cookie: a=b", message.HTTP11, Brotli)
	filter = compiled(t, Spec{CrossSite: true})
	f(accept+"; Sec-Fetch-Site: cross-site; Cookie: a=b", message.HTTP11, Brotli)
}

func TestTheHeadOfAnEncodedAnswer(t *testing.T) {
	f := func(before, want string) {
		t.Helper()
		h := head(strings.Split(before, ", ")...)
		h.Length = 5000
		vary(h)
		announce(h, Zstd, nil)
		if got := lines(h); got != want || h.Length != message.UnknownLength {
			t.Errorf("%s -> %s, length %d, want %s", before, got, h.Length, want)
		}
	}
	f(`X-A: b`, `X-A: b, Vary: Accept-Encoding, Content-Encoding: zstd`)
	f(`Content-Encoding: identity`, `Vary: Accept-Encoding, Content-Encoding: zstd`)
	f(`ETag: "x"`, `Vary: Accept-Encoding, Content-Encoding: zstd, ETag: W/"x"`)
	f(`ETag: W/"x"`, `ETag: W/"x", Vary: Accept-Encoding, Content-Encoding: zstd`)
	f(`ETag: x`, `ETag: x, Vary: Accept-Encoding, Content-Encoding: zstd`) // is none
	f(`Accept-Ranges: bytes`, `Vary: Accept-Encoding, Content-Encoding: zstd`)
	f(`Vary: Origin`, `Vary: Origin, Vary: Accept-Encoding, Content-Encoding: zstd`)
	f(`Vary: accept-encoding`, `Vary: accept-encoding, Content-Encoding: zstd`)
	f(`Vary: *`, `Vary: *, Content-Encoding: zstd`)
}

// RFC 9110 13.1.2, RFC 9111 4.3.4: the client knows the answer by the validator it got.
func TestNotModifiedHasTheValidatorThatTheClientKnows(t *testing.T) {
	f := func(condition, tag, want string) {
		t.Helper()
		h := head("ETag: " + tag)
		weakenUnmodified(head("If-None-Match: "+condition), h, nil)
		if got := lines(h); got != want {
			t.Errorf("%s and %s: %s, want %s", condition, tag, got, want)
		}
	}
	f(`W/"x"`, `"x"`, `Vary: Accept-Encoding, ETag: W/"x"`)
	f(`"y", W/"x"`, `"x"`, `Vary: Accept-Encoding, ETag: W/"x"`)
	f(`"x"`, `"x"`, `ETag: "x"`)
	f(`*`, `"x"`, `ETag: "x"`)
	f(`W/"x"`, `W/"x"`, `ETag: W/"x"`)
}

// RFC 9110 13.1.1: If-Match compares strongly, and the client has a weak validator from us.
func TestAChangeOfWhatWasReadEncodedStillMatches(t *testing.T) {
	f := func(before, want string) {
		t.Helper()
		h := head(strings.Split(before, "; ")...)
		strengthen(h, nil)
		if got := lines(h); got != want {
			t.Errorf("%s -> %s, want %s", before, got, want)
		}
	}
	f(`If-Match: W/"x"`, `If-Match: "x"`)
	f(`If-Match: "x"`, `If-Match: "x"`)
	f(`If-Match: *`, `If-Match: *`)
	f(`If-Match: W/"x", W/"y W/", "z"`, `If-Match: "x", "y W/", "z"`)
	f(`If-Match: W/"x"; If-Match: W/"y"`, `If-Match: "x", "y"`)
	f(`If-Match: W/`, `If-Match: W/`)
	f(`If-Match: W/"x"; Range: bytes=5-`, `If-Match: W/"x", Range: bytes=5-`)
	f(`If-Range: W/"x"`, `If-Range: W/"x"`)
	f(`If-None-Match: W/"x"`, `If-None-Match: W/"x"`)
}

func TestEveryProblemIsTold(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		_, problems := Compile(s, nil)
		var fields []string
		for _, p := range problems {
			if p.Cause == "" || p.Fix == "" {
				t.Errorf("%+v", p)
			}
			fields = append(fields, p.Field)
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("problems of %q, want %q", got, want)
		}
	}
	f(Spec{}, "")
	f(Spec{Levels: Levels{Gzip: 9, Brotli: 11, Zstd: -1}}, "levels.br levels.gzip levels.zstd")
	f(Spec{Types: []string{"text", "text/html", "*"}}, "types types")
	f(Spec{Levels: Levels{Zstd: 3}, LoopBytesMax: 4 << 20}, "memory")
	f(Spec{Encodings: []Coding{Gzip}, Levels: Levels{Zstd: 3}, LoopBytesMax: 4 << 20}, "")
}

func TestText(t *testing.T) {
	want := "zstd level 1, br level 2, gzip level 3 from 1024 B for 14 content types, with at most 64 MiB for each loop"
	if got := compiled(t, Spec{}).String(); got != want {
		t.Error(got)
	}
}

package h1

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// seedCorpus gives a fuzz target the hostile samples: of requests, or of responses.
func seedCorpus(f *testing.F, responses bool) {
	file, err := os.Open("testdata/http1-cases.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c corpusCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			f.Fatal(err)
		}
		segments := c.Raw
		if responses {
			segments = c.Up
		}
		if s := strings.Join(pieces(segments), ""); s != "" && len(s) < 2000 {
			f.Add([]byte(s), uint16(len(s)/2))
		}
	}
}

// Whatever a client sends: no panic, the same story in one piece and in two, and what is accepted goes out clean and is
// read back as what it was.
func FuzzRequest(f *testing.F) {
	seedCorpus(f, false)
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		s, at := string(b), min(int(cut), len(b))
		whole := serverStory(t, standard, false, s)
		for _, apart := range []bool{false, true} {
			if halves := serverStory(t, standard, apart, s[:at], s[at:]); withoutCutBody(halves) != withoutCutBody(whole) {
				t.Errorf("cut at %d (apart: %v)\n%s\nwhole\n%s", at, apart, halves, whole)
			}
		}
		requests, _ := receive(t, []string{s})
		for i := range requests {
			if requests[i].done {
				checkForwarded(t, &requests[i])
			}
		}
	})
}

// Whatever an upstream sends: no panic, and the same story in one piece and in two.
func FuzzResponse(f *testing.F) {
	seedCorpus(f, true)
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		s, at := string(b), min(int(cut), len(b))
		for _, methods := range [][]string{{"GET", "HEAD", "GET"}, {"switch"}} {
			whole := clientStory(t, standard, false, true, methods, s)
			for _, apart := range []bool{false, true} {
				if halves := clientStory(t, standard, apart, true, methods, s[:at], s[at:]); withoutCutBody(halves) != withoutCutBody(whole) {
					t.Errorf("%v, cut at %d (apart: %v)\n%s\nwhole\n%s", methods, at, apart, halves, whole)
				}
			}
		}
	})
}

// Whatever path a request has: no panic, the result is its own normal form, and holds nothing that another reader could
// resolve, split or strip.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "/a/../b", "/%2e%2e/b", "//a//", "/a%2fb", "/..;/a", "/%zz", "/a|b", "*", "/a/."} {
		f.Add(path, uint8(0), false)
	}
	f.Fuzz(func(t *testing.T, path string, slashes uint8, keep bool) {
		policy := message.PathPolicy{EncodedSlash: message.EncodedSlash(slashes % 3), KeepSlashes: keep}
		h := request("GET", "x", path)
		if message.NormalizePath(h, policy) != nil {
			return
		}
		got := string(h.PathBytes())
		if got == "*" && path == "*" {
			return
		}
		for _, segment := range strings.Split(got, "/")[1:] {
			if segment == "." || segment == ".." || strings.HasPrefix(segment, "..;") || strings.HasPrefix(segment, ".;") {
				t.Errorf("%q became %q", path, got)
			}
		}
		if got[0] != '/' || !keep && strings.Contains(got, "//") || strings.ContainsAny(got, " \\#?{}|\"<>^`\x00\r\n\x7f") || targetEnd([]byte(got), 0) != len(got) {
			t.Errorf("%q became %q", path, got)
		}
		if err := message.NormalizePath(h, policy); err != nil || string(h.PathBytes()) != got {
			t.Errorf("%q became %q, and that %q, %v", path, got, h.PathBytes(), err)
		}
	})
}

package grpcweb

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
)

// decodePieces decodes what comes in these pieces.
func decodePieces(t testing.TB, pieces ...string) (got string, ok bool) {
	t.Helper()
	p := buf.NewPool(0)
	var d decoder
	var in, out buf.Chain
	ok = true
	for _, piece := range pieces {
		in.AppendString(p, piece)
		ok = ok && d.decode(&in, len(piece), &out, p)
		in.Release(p)
	}
	if n := out.Len(); n > 0 {
		got = string(out.Pull(p, n))
	}
	if out.Release(p); p.InUse() != 0 {
		t.Fatalf("%d bytes are held", p.InUse())
	}
	return got, ok && d.ended()
}

// slowly decodes group by group: the twin.
func slowly(text string) (out string, ok bool) {
	for ; len(text) >= 4; text = text[4:] {
		if strings.ContainsAny(text[:4], "\r\n") {
			return out, false
		}
		b, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			return out, false
		}
		out += string(b)
	}
	return out, text == ""
}

func TestBase64IsCutAtEachPlace(t *testing.T) {
	for _, text := range []string{"", "QUJD", "QQ==", "QUI=", "QQ==QUI=QUJD", "QUJDQUI=QQ==QUJDQUJD", "AAAAAAAA", "QQ=", "Q", "Q===", "====", "Q=Q=",
		"QUJD\nQUJ", "QUJ\n", "\n\n\n\n", "QQ==\r\n\r\n", "QUJ~", "QQ==QQ=="} {
		want, wantOK := slowly(text)
		f := func(pieces ...string) {
			t.Helper()
			if got, ok := decodePieces(t, pieces...); ok != wantOK || ok && got != want {
				t.Errorf("%q: %q %v, want %q %v", pieces, got, ok, want, wantOK)
			}
		}
		f(text)
		f(strings.Split(text, "")...)
		for i := range len(text) {
			f(text[:i], text[i:])
			for j := range i {
				f(text[:j], text[j:i], text[i:])
			}
		}
	}
}

// What is encoded at once is one run of base64, whatever the chunks it lies in.
func TestChunksAreEncodedAsOne(t *testing.T) {
	p := buf.NewPool(0)
	for _, sizes := range [][]int{{1}, {2}, {3}, {0, 1}, {1, 1, 1}, {4096, 1, 4096}, {encodedRun + 1}, {70_000, 5}, {200_001}} {
		var in, out buf.Chain
		var all []byte
		for i, n := range sizes {
			part := bytes.Repeat([]byte{byte(i + 'a')}, n)
			all = append(all, part...)
			b := p.Get(n) // a chunk of its own
			b.Fill(copy(b.Room(), part))
			in.Push(b)
		}
		encode(&in, in.Len(), &out, p)
		if got := string(out.Pull(p, out.Len())); got != base64.StdEncoding.EncodeToString(all) || in.Len() != 0 {
			t.Errorf("%v: %d bytes, want %d", sizes, len(got), base64.StdEncoding.EncodedLen(len(all)))
		}
		out.Release(p)
	}
	if p.InUse() != 0 {
		t.Errorf("%d bytes are held", p.InUse())
	}
}

func TestFramesAreWalkedAtEachCut(t *testing.T) {
	body := []byte("\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01x")
	between := map[int]bool{0: true, 8: true, 13: true, 19: true}
	for i := range len(body) + 1 {
		for j := range i + 1 {
			var w frameWalk
			w.walk(body[:j])
			w.walk(body[j:i])
			if w.between() != between[i] {
				t.Errorf("at %d, cut at %d: %v", i, j, w.between())
			}
		}
	}
}

// FuzzText: the decoder agrees with its twin, however the text is cut, and reads what the encoder writes.
func FuzzText(f *testing.F) {
	f.Add("QQ==QUI=QUJD", 3, 7)
	f.Add("QUJ\nQ", 1, 1)
	f.Fuzz(func(t *testing.T, text string, i, j int) {
		i, j = min(max(i, 0), len(text)), min(max(j, 0), len(text))
		i, j = min(i, j), max(i, j)
		want, wantOK := slowly(text)
		if got, ok := decodePieces(t, text[:i], text[i:j], text[j:]); ok != wantOK || ok && got != want {
			t.Fatalf("%q at %d and %d: %q %v, want %q %v", text, i, j, got, ok, want, wantOK)
		}
		p := buf.NewPool(0)
		var in, out buf.Chain
		in.AppendString(p, text)
		encode(&in, in.Len(), &out, p)
		var back string
		if n := out.Len(); n > 0 {
			back = string(out.Pull(p, n))
		}
		if got, ok := slowly(back); !ok || got != text {
			t.Fatalf("%q became %q", text, back)
		}
	})
}

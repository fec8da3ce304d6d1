package control

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/upgrade"
)

// splitDocument is a split of two, of which the second has 5 %.
const splitDocument = `listen: 127.0.0.1:0
clusters: {blue: ["127.0.0.1:1"], green: ["127.0.0.1:1"]}
filters: {shop: {split: {variants: [{name: blue, cluster: blue}, {name: green, cluster: green, weight: 5%}]}}}
routes: [{path: /*, cluster: blue, filters: [shop]}]
`

// life is one process after the other, with one file.
type life struct {
	t    *testing.T
	file string
	c    *Controller
}

func newLife(t *testing.T, document string) *life {
	t.Helper()
	l := &life{t: t, file: filepath.Join(t.TempDir(), "gateway.yaml")}
	l.write(l.file, document)
	l.begin()
	return l
}

func (l *life) write(path, text string) {
	l.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) begin() {
	l.t.Helper()
	c, err := New(Options{File: l.file, Loops: 1})
	if err != nil {
		l.t.Fatal(err)
	}
	l.c = c
	l.t.Cleanup(func() { _ = c.Stop() })
	if r, err := c.Start(l.t.Context()); err != nil {
		l.t.Fatalf("%v\n%s", err, r.Report)
	}
}

func (l *life) state() string {
	return filepath.Join(filepath.Dir(l.file), ".yumen", filepath.Base(l.file), splitsName)
}

func (l *life) order(green float64) {
	l.t.Helper()
	if _, err := l.c.OrderSplit("shop", SplitOrder{Weights: map[string]float64{"green": green}}); err != nil {
		l.t.Fatal(err)
	}
}

// want compares the weight of the second variant, and whose it is.
func (l *life) want(weight, source string) SplitStatus {
	l.t.Helper()
	s := l.c.Splits()[0]
	if got := s.Variants[1].Weight; got != weight || s.Source != source || s.Since.IsZero() || s.SetAt.IsZero() != (source == fromDocument) {
		l.t.Errorf("got %s of %s, want %s of %s: %+v", got, s.Source, weight, source, s)
	}
	return s
}

// What was set is in the file when the order is answered: whatever ends the process then.
func TestWeightsOutliveARestart(t *testing.T) {
	l := newLife(t, splitDocument)
	l.want("5%", fromDocument)
	if _, err := os.Stat(l.state()); err == nil {
		t.Error("a file of nothing")
	}
	l.order(0.5)
	l.order(1)
	was := l.want("100%", fromOperator)
	if info, err := os.Stat(l.state()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	l.begin() // the first one knows nothing of its end: it was killed
	if s := l.want("100%", fromOperator); !s.Since.Equal(was.Since) || s.Before != 2 || s.SetBy != operator || s.NotKept != "" {
		t.Errorf("%+v, was %+v", s, was)
	}
	if _, err := l.c.OrderSplit("shop", SplitOrder{Back: true}); err != nil {
		t.Fatal(err)
	}
	l.begin()
	l.want("50%", fromOperator)
	if _, err := l.c.OrderSplit("shop", SplitOrder{Document: true}); err != nil {
		t.Fatal(err)
	}
	l.begin()
	l.want("5%", fromDocument)

	l.order(0.5)
	l.write(l.file, strings.Replace(splitDocument, "5%", "6%", 1))
	l.begin()
	l.want("6%", fromDocument)
	if err := l.c.Stop(); err != nil {
		t.Fatal(err)
	}
	l.write(l.file, splitDocument)
	l.begin()
	l.want("5%", fromDocument)
}

// Whatever is in the file, the gateway starts, says so, and serves the document.
func TestABrokenFileOfSplitsIsSaid(t *testing.T) {
	l := newLife(t, splitDocument)
	l.order(1)
	good, err := os.ReadFile(l.state())
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(good) {
		if kept, err := decodeSplits(good[:cut]); err == nil {
			t.Fatalf("cut at %d: %v", cut, kept)
		}
	}
	if kept, err := decodeSplits(good); err != nil || len(kept["shop"].Set) != 1 {
		t.Fatalf("%v, %v", kept, err)
	}
	_ = l.c.Stop()
	flipped := bytes.Clone(good)
	flipped[len(flipped)-5] ^= 1
	for name, c := range map[string]struct{ content, want string }{
		"empty":          {"", "not as it was written"},
		"cut":            {string(good[:len(good)/2]), "not as it was written"},
		"flipped":        {string(flipped), "not as it was written"},
		"of the future":  {string(encodeSplits([]byte(`{"version":2,"splits":7}`))), "of version 2"},
		"no JSON":        {string(encodeSplits([]byte(`{"version":1,"splits":[7}`))), "invalid character"},
		"something else": {string(encodeSplits([]byte(`{"version":1,"splits":[7]}`))), "cannot unmarshal"},
		"nothing of us":  {string(encodeSplits([]byte(`{"version":1,"splits":{"shop":null,"gone":{}}}`))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := &life{t: t, file: filepath.Join(t.TempDir(), "gateway.yaml")}
			l.write(l.file, splitDocument)
			if err := os.MkdirAll(filepath.Dir(l.state()), 0o700); err != nil {
				t.Fatal(err)
			}
			l.write(l.state(), c.content)
			if _, err := decodeSplits([]byte(c.content)); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			l.begin()
			l.want("5%", fromDocument)
			l.order(1) // and it is written over
			l.begin()
			l.want("100%", fromOperator)
		})
	}
}

// splits_bytes: a file that is too long is not read.
func TestALongFileOfSplitsIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), splitsName)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, splitsBytesMax+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readBounded(path, splitsBytesMax); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
}

// A disk that takes nothing: the weights are set, and whoever set them is told that they will not last.
func TestSplitsThatCannotBeWritten(t *testing.T) {
	l := newLife(t, splitDocument)
	if err := os.MkdirAll(filepath.Join(l.state()+".unfinished", "in-the-way"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := l.c.OrderSplit("shop", SplitOrder{Weights: map[string]float64{"green": 1}})
	if err != nil || s.NotKept == "" || s.Variants[1].Weight != "100%" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.RemoveAll(l.state() + ".unfinished"); err != nil {
		t.Fatal(err)
	}
	if s, err = l.c.OrderSplit("shop", SplitOrder{Weights: map[string]float64{"green": 0.5}}); err != nil || s.NotKept != "" {
		t.Errorf("%+v, %v", s, err)
	}

	g := start(t, splitDocument, Options{}) // without a file
	if s, err = g.OrderSplit("shop", SplitOrder{Weights: map[string]float64{"green": 0.5}}); err != nil || s.NotKept != errNotKept.Error() {
		t.Errorf("%+v, %v", s, err)
	}
}

// What is passed to a successor is not changed any more, unless the successor fails.
func TestPassedSplitsStay(t *testing.T) {
	l := newLife(t, splitDocument)
	l.order(0.5)
	passed := l.c.passSplits()
	if len(passed) > upgrade.StateBytesMax || bytes.ContainsRune(passed, '\n') {
		t.Errorf("%q", passed)
	}
	if _, err := l.c.OrderSplit("shop", SplitOrder{Weights: map[string]float64{"green": 1}}); !errors.Is(err, ErrStopping) {
		t.Error(err)
	}
	l.want("50%", fromOperator)
	l.c.takeBackSplits()
	l.order(1)
	l.want("100%", fromOperator)

	other := newLife(t, splitDocument)
	other.c.restorePassed(nil)
	other.c.restorePassed([]byte(`{"version":1`))
	other.c.restorePassed([]byte(`{"version":1}`))
	other.want("5%", fromDocument)
	other.c.restorePassed(passed)
	other.want("50%", fromOperator)
}

// FuzzSplits: whatever a file says, reading it ends with what was kept or with an error.
func FuzzSplits(f *testing.F) {
	f.Add([]byte(`{"version":1,"splits":{"shop":{"set":[{"for":"a=1","weights":[0.5,0.5]}]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		kept, err := decodeSplits(encodeSplits(text))
		if err != nil && kept != nil {
			t.Error("both")
		}
		_, _ = decodeSplits(text)
	})
}

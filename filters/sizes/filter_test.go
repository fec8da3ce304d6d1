package sizes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// request makes a head: "POST /path?query", fields "a: b, c: d", and a declared length.
func request(line, list string, length int64) *message.Head {
	h := &message.Head{Length: length}
	method, target, _ := strings.Cut(line, " ")
	path, query, has := strings.Cut(target, "?")
	h.Method, h.Path, h.Query, h.HasQuery = h.StoreString(method), h.StoreString(path), h.StoreString(query), has
	h.Authority = h.StoreString("exam.test")
	for f := range strings.SplitSeq(list, ", ") {
		if name, value, ok := strings.Cut(f, ": "); ok {
			h.AddString(name, value)
		}
	}
	return h
}

func TestWhatIsOverABound(t *testing.T) {
	f := func(s Spec, line, list string, length int64, want string) {
		t.Helper()
		b, seen, most := s.exceeded(request(line, list, length))
		got := ""
		if b != nil {
			got = fmt.Sprintf("%d %s: %d of %d", b.failure.Status, b.failure.Reason, seen, most)
		}
		if got != want {
			t.Errorf("%+v, %s, %s, %d bytes: %q, want %q", s, line, list, length, got, want)
		}
	}
	f(Spec{TargetBytesMax: 8}, "GET /2345678", "", 0, "")
	f(Spec{TargetBytesMax: 8}, "GET /23456789", "", 0, "414 long_target: 9 of 8")
	f(Spec{TargetBytesMax: 8}, "GET /2345?78", "", 0, "")
	f(Spec{TargetBytesMax: 8}, "GET /2345?789", "", 0, "414 long_target: 9 of 8")
	f(Spec{TargetBytesMax: 8}, "GET /234567?", "", 0, "")
	f(Spec{TargetBytesMax: 8}, "GET /2345678?", "", 0, "414 long_target: 9 of 8")
	f(Spec{FieldsMax: 2}, "GET /", "a: 1, b: 2", 0, "")
	f(Spec{FieldsMax: 2}, "GET /", "a: 1, b: 2, a: 3", 0, "431 many_fields: 3 of 2")
	const text = "GET / HTTP/1.1\r\nHost: exam.test\r\na: 1\r\nbc: 23\r\n\r\n"
	f(Spec{HeadBytesMax: len(text)}, "GET /", "a: 1, bc: 23", 0, "")
	f(Spec{HeadBytesMax: len(text) - 1}, "GET /", "a: 1, bc: 23", 0, fmt.Sprintf("431 large_head: %d of %d", len(text), len(text)-1))
	f(Spec{BodyBytesMax: 10}, "POST /", "", 10, "")
	f(Spec{BodyBytesMax: 10}, "POST /", "", 11, "413 body_too_large: 11 of 10")
	f(Spec{BodyBytesMax: 10}, "POST /", "", message.UnknownLength, "")
	f(Spec{TargetBytesMax: 1, BodyBytesMax: 10}, "POST /a", "", 11, "414 long_target: 2 of 1") // the first that is seen
}

func TestFieldsThatAreGoneDoNotCount(t *testing.T) {
	h := request("GET /", "a: 1, b: 2", 0)
	h.RemoveField([]byte("a"))
	if count, _ := measure(h); count != 1 {
		t.Errorf("%d fields", count)
	}
}

// A body of unknown length: nothing of the part that is over the bound goes on.
func TestABodyIsCountedAsItPasses(t *testing.T) {
	p := buf.NewPool(0)
	f := &Filter{spec: Spec{BodyBytesMax: 10}, guard: &gateway.Guard{}}
	var pool meters
	m := pool.open(f, nil)
	var in, out buf.Chain
	give := func(s string) error {
		in.AppendString(p, s)
		return m.Data(&in, len(s), &out, p)
	}
	if err := give("12345"); err != nil {
		t.Error(err)
	}
	if err := give("67890"); err != nil {
		t.Error(err)
	}
	if err := give("1"); err != body.failure {
		t.Error(err)
	}
	if err := give("2"); err != body.failure {
		t.Error(err)
	}
	if got := string(out.Front()); got != "1234567890" || in.Len() != 0 {
		t.Errorf("%q went on, %d bytes were left", got, in.Len())
	}
	out.Release(p)
	m.Release(p, false)
	if again := pool.open(f, nil); again != m || again.came != 0 || again.over {
		t.Error("the meter is not as new")
	}
}

func TestAFilterWithoutBoundsIsAMistake(t *testing.T) {
	if f, problems := Compile(Spec{}, nil); f != nil || len(problems) != 1 || problems[0].Fix == "" {
		t.Error(problems)
	}
}

func TestText(t *testing.T) {
	f, _ := Compile(Spec{TargetBytesMax: 1000, HeadBytesMax: 4000, FieldsMax: 30, BodyBytesMax: 1e6}, nil)
	if got, want := f.String(), "at most a target of 1000 B, a head of 4000 B, 30 fields, a body of 1000000 B"; got != want {
		t.Error(got)
	}
}

func TestJudgingAHeadAllocatesNothing(t *testing.T) {
	s := Spec{TargetBytesMax: 1000, HeadBytesMax: 4000, FieldsMax: 30, BodyBytesMax: 1e6}
	h := request("POST /a/b/c?d=e", "a: 1, b: 2, c: 3", 100)
	if n := testing.AllocsPerRun(100, func() { s.exceeded(h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkJudge(b *testing.B) {
	s := Spec{TargetBytesMax: 1000, HeadBytesMax: 4000, FieldsMax: 30, BodyBytesMax: 1e6}
	h := request("POST /a/b/c?d=e", strings.Repeat("name: some value, ", 15), 100)
	b.ReportAllocs()
	for b.Loop() {
		s.exceeded(h)
	}
}

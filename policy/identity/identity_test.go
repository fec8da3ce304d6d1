package identity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

func TestClaimsOfAConsumer(t *testing.T) {
	id, err := New("acme", []Attribute{{"plan", "gold"}, {"tenant", ""}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, want string }{{"sub", "acme true"}, {"plan", "gold true"}, {"tenant", " true"}, {"Plan", " false"}, {"", " false"}} {
		v, ok := id.Claim(c.name)
		if got := fmt.Sprintf("%s %v", v, ok); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { id.Claim("plan") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConsumersThatCannotBe(t *testing.T) {
	many := make([]Attribute, AttributesMax+1)
	for i := range many {
		many[i].Name = fmt.Sprint("a", i)
	}
	for _, c := range []struct {
		name       string
		attributes []Attribute
		want       string
	}{
		{"", nil, "a consumer has no name"},
		{"a b", nil, `the consumer's name "a b" holds a space, a control character or a letter beyond ASCII`},
		{"ä", nil, `the consumer's name "ä" holds a space, a control character or a letter beyond ASCII`},
		{strings.Repeat("x", 129), nil, `the consumer's name "` + strings.Repeat("x", 64) + `"... is longer than 128 bytes`}, // name_too_long
		{"a", many, `"a" has more than 16 attributes`},                                                                       // attributes_max
		{"a", []Attribute{{"b c", ""}}, `"b c" is not the name of an attribute: write letters, digits, dashes and underscores`},
		{"a", []Attribute{{"sub", "x"}}, `the attribute "sub" is the consumer's own name already`},
		{"a", []Attribute{{"b", ""}, {"b", ""}}, `the attribute "b" is there twice`},
		{"a", []Attribute{{"b", "x\ny"}}, `the attribute "b" holds what a header field cannot`},
		{"a", []Attribute{{"b", strings.Repeat("x", 257)}}, `the attribute "b" is longer than 256 bytes`}, // attribute_too_long
	} {
		if _, err := New(c.name, c.attributes); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func head(lines ...string) *message.Head {
	h := &message.Head{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

func lines(h *message.Head) string {
	var out []string
	for _, f := range h.All() {
		if !f.Gone {
			out = append(out, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(out, "\n")
}

// threats, class 6: what a client says of itself must not be taken for what the gateway knows, in any spelling.
func TestWhatAClientSaysOfItselfIsDropped(t *testing.T) {
	f, err := NewForward([]Field{{"X-Consumer", "sub"}, {"X-Plan", "plan"}, {"X-Tenant", "tenant"}})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := New("acme", []Attribute{{"plan", "gold"}})
	for _, c := range []struct {
		in   []string
		want string
	}{
		{nil, "X-Consumer: acme\nX-Plan: gold"},
		{[]string{"Accept: a", "X-Consumer: root", "x-consumer: root", "X_Consumer: root", "x_CONSUMER: root", "X-Consumers: b"},
			"Accept: a\nX-Consumers: b\nX-Consumer: acme\nX-Plan: gold"},
		{[]string{"X-Tenant: root", "x_tenant: root"}, "X-Consumer: acme\nX-Plan: gold"}, // a claim that is not there
	} {
		h := head(c.in...)
		f.Apply(h, id.Claim)
		if got := lines(h); got != c.want {
			t.Errorf("%v: got\n%s\nwant\n%s", c.in, got, c.want)
		}
		h = head(c.in...)
		f.Repeat(h, f.Tell(id.Claim))
		if got := lines(h); got != c.want {
			t.Errorf("%v: repeated\n%s\nwant\n%s", c.in, got, c.want)
		}
	}
}

func TestValuesThatNoFieldCanHoldAreLeftOut(t *testing.T) {
	f, _ := NewForward([]Field{{"X-Name", "n"}})
	for _, v := range []string{"a\r\nb: c", "ä", "a\x00", " a", "a ", "\x7f"} {
		h := head("X-Name: mine")
		f.Apply(h, func(string) ([]byte, bool) { return []byte(v), true })
		if got := lines(h); got != "" {
			t.Errorf("%q became %q", v, got)
		}
	}
	for _, bad := range []Field{{"a b", "c"}, {"", "c"}, {"X-A", ""}} {
		if _, err := NewForward([]Field{bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestApplyAllocatesNothing(t *testing.T) {
	f, _ := NewForward([]Field{{"X-Consumer", "sub"}})
	id, _ := New("acme", nil)
	h := &message.Head{}
	claim := id.Claim
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.AddString("X-Consumer", "root")
		f.Apply(h, claim)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is repeated lies in a head as what is added does: a codec sends neighbours at once.
func TestWhatIsRepeatedLiesAsItIsSent(t *testing.T) {
	f, _ := NewForward([]Field{{"X-Consumer", "sub"}, {"X-Real-IP", "address"}, {"X-Plan", "plan"}})
	id, _ := New("acme", []Attribute{{"plan", "gold"}, {"address", "192.0.2.1"}})
	added, repeated := head("A: b"), head("A: b")
	f.Apply(added, id.Claim)
	told := f.Tell(id.Claim)
	f.Repeat(repeated, told)
	if got, want := fmt.Sprint(repeated.All()), fmt.Sprint(added.All()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := repeated.RawLen(), added.RawLen(); got != want || told.Len() != want-len("A: b\r\n") {
		t.Errorf("%d bytes, want %d; told are %d", got, want, told.Len())
	}
	if n := testing.AllocsPerRun(100, func() {
		repeated.Reset()
		f.Repeat(repeated, told)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRulesAreEqualForThoseThatTellTheSame(t *testing.T) {
	f := func(fields ...Field) string {
		made, err := NewForward(fields)
		if err != nil {
			t.Fatal(err)
		}
		return made.Rules()
	}
	one := f(Field{"X-A", "b"}, Field{"X-C", "d"})
	if again := f(Field{"X-A", "b"}, Field{"X-C", "d"}); again != one {
		t.Errorf("%s and %s", one, again)
	}
	for _, other := range []string{f(), f(Field{"X-A", "b"}), f(Field{"X-C", "d"}, Field{"X-A", "b"}), f(Field{"X-A", `b""X-C""d`}), f(Field{"x-a", "b"}, Field{"X-C", "d"})} {
		if other == one {
			t.Errorf("%s is said of others too", one)
		}
	}
}

func TestListsOfConsumers(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"a s", "1 a s"},
		{"\xef\xbb\xbfa s\r\n# b t\n\n  c\tu  x=1 y=2=3 # no z\n", "1 a s;4 c u x=1 y=2=3"},
		{"a s#t", "1 a s#t"},
		{"a", "line 1: the line has one word only: write the consumer's name and its secret"},
		{"a s\nb t u", "line 2: word 3 is not an attribute: write name=value"},
		{"a s sub=b", `line 1: the attribute "sub" is the consumer's own name already`},
	} {
		rows, err := ParseList([]byte(c.text))
		var out []string
		for _, r := range rows {
			one := fmt.Sprint(r.Line, " ", r.Identity.Name(), " ", r.Secret)
			for _, a := range r.Identity.attributes {
				one += fmt.Sprintf(" %s=%s", a.name, a.value)
			}
			out = append(out, one)
		}
		got := strings.Join(out, ";")
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

// consumers_max
func TestListIsBounded(t *testing.T) {
	rows, err := ParseList([]byte(strings.Repeat("a s\n", ConsumersMax)))
	if err != nil || len(rows) != ConsumersMax {
		t.Fatal(len(rows), err)
	}
	if _, err := ParseList([]byte(strings.Repeat("a s\n", ConsumersMax+1))); err == nil {
		t.Error("one more was taken")
	}
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte("acme sha256:00 plan=gold\n# x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := ParseList(text)
		if err != nil {
			return
		}
		for _, r := range rows {
			if CheckName(r.Identity.Name()) != nil || r.Secret == "" || r.Line < 1 {
				t.Errorf("%+v", r)
			}
		}
	})
}

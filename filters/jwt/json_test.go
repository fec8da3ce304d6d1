package jwt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// shown is what lies where, in the order of the text.
func shown(text string) string {
	var r reader
	if !r.read([]byte(text)) {
		return "refused"
	}
	var b strings.Builder
	for _, v := range r.values {
		fmt.Fprintf(&b, "%s=%s", r.bytes(v.path), r.bytes(v.text))
		switch {
		case v.kind == isObject:
			b.WriteString("{}")
		case v.kind == isNull:
			b.WriteString("null")
		case v.kind == isList && v.plain:
			fmt.Fprintf(&b, "[%d]", v.to-v.from)
		case v.kind == isList:
			fmt.Fprintf(&b, "[?%d]", v.to-v.from)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSuffix(b.String(), " ")
}

func TestWhatLiesWhere(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{}`, ""},
		{" \t\r\n{ } \n", ""},
		{`{"a":"b"}`, "a=b"},
		{`{"a":1,"b":-1.5e-10,"c":true,"d":false,"e":null,"f":""}`, "a=1 b=-1.5e-10 c=true d=false e=null f="},
		{`{"a":{"b":{"c":1},"d":2},"e":3}`, "a={} a.b={} a.b.c=1 a.d=2 e=3"},
		{`{"a":["x",1,true]}`, "a=x,1,true[3]"},
		{`{"a":[]}`, "a=[0]"},
		{`{"a":["x,y"]}`, "a=x,y[?1]"},
		{`{"a":["x",null]}`, "a=x,[?2]"},
		{`{"a":["",""]}`, "a=[?2]"},
		{`{"a":[{"b":1},"x"]}`, "a=x[?2]"},
		{`{"a":[["x"]]}`, "a=[?1]"},
		{`{"a.b":1,"a":{"b":2}}`, "a.b=1 a={} a.b=2"},
		{`{"\u0061":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, "a=\"\\/\b\f\n\r\té😀"},
		{`{"a":"é😀"}`, "a=é😀"},
		{`{"":1}`, "=1"},
		{`{"a":{"a":1},"b":{"a":2}}`, "a={} a.a=1 b={} b.a=2"}, // one name in two objects

		{``, "refused"}, {`[]`, "refused"}, {`1`, "refused"}, {`"a"`, "refused"}, {`null`, "refused"}, {`{`, "refused"},
		{`{}{}`, "refused"}, {`{}x`, "refused"}, {"{}\x00", "refused"}, {"\ufeff{}", "refused"},
		{`{"a":1,}`, "refused"}, {`{,}`, "refused"}, {`{"a"}`, "refused"}, {`{"a":}`, "refused"}, {`{a:1}`, "refused"}, {`{'a':1}`, "refused"},
		{`{"a":[1,]}`, "refused"}, {`{"a":[,]}`, "refused"}, {`{"a":[1 2]}`, "refused"}, {`{"a":1 "b":2}`, "refused"}, {`{"a":1]`, "refused"},
		{`{"a":1/**/}`, "refused"}, {`{"a":NaN}`, "refused"}, {`{"a":Infinity}`, "refused"}, {`{"a":TRUE}`, "refused"}, {`{"a":nul}`, "refused"}, {`{"a":truer}`, "refused"},

		// A name twice: two readers could take one each.
		{`{"a":1,"a":1}`, "refused"}, {`{"a":1,"\u0061":2}`, "refused"}, {`{"a":{"b":1,"b":2}}`, "refused"}, {`{"a":[{"b":1,"b":2}]}`, "refused"},
		{`{"aud":"x","b":1,"aud":"y"}`, "refused"},

		// Numbers.
		{`{"a":01}`, "refused"}, {`{"a":+1}`, "refused"}, {`{"a":.5}`, "refused"}, {`{"a":5.}`, "refused"}, {`{"a":-}`, "refused"}, {`{"a":1e}`, "refused"}, {`{"a":1e+}`, "refused"},
		{`{"a":0x10}`, "refused"}, {`{"a":-0}`, "a=-0"}, {`{"a":0.0e+0}`, "a=0.0e+0"},
		{`{"a":1e99}`, "a=1e99"}, {`{"a":1e999}`, "refused"},
		{`{"a":` + strings.Repeat("9", numberBytesMax) + `}`, "a=" + strings.Repeat("9", numberBytesMax)}, {`{"a":` + strings.Repeat("9", numberBytesMax+1) + `}`, "refused"},

		// Strings.
		{"{\"a\":\"\n\"}", "refused"}, {"{\"a\":\"\x00\"}", "refused"}, {`{"a":"\x41"}`, "refused"}, {`{"a":"\u12g4"}`, "refused"}, {`{"a":"\u12`, "refused"}, {`{"a":"`, "refused"},
		{`{"a":"\ud800"}`, "refused"}, {`{"a":"\udc00"}`, "refused"}, {`{"a":"\ud800\ud800"}`, "refused"}, {`{"a":"\ud800x"}`, "refused"}, {`{"a":"\ud800\n"}`, "refused"},
		{"{\"a\":\"\xff\"}", "refused"}, {"{\"a\":\"\xc0\xaf\"}", "refused"}, {"{\"a\":\"\xed\xa0\x80\"}", "refused"}, // not UTF-8, overlong, a surrogate
	} {
		if got := shown(c.text); got != c.want {
			t.Errorf("%.60q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestBoundsOfTheReader(t *testing.T) {
	nested := func(open, shut string, n int) string {
		return `{"a":` + strings.Repeat(open, n) + `1` + strings.Repeat(shut, n) + `}`
	}
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"n%d":%d`, i, i)
		}
		return `{` + strings.TrimPrefix(b.String(), ",") + `}`
	}
	list := func(n int) string { return `{"a":[` + strings.TrimSuffix(strings.Repeat("1,", n), ",") + `]}` }
	for _, c := range []struct {
		name string
		text func(n int) string
		most int
	}{
		{"depthMax, of objects", func(n int) string { return nested(`{"b":`, `}`, n-1) }, depthMax},
		{"depthMax, of lists", func(n int) string { return nested(`[`, `]`, n-1) }, depthMax},
		{"namesMax", many, namesMax},
		{"elementsMax", list, elementsMax},
	} {
		if got := shown(c.text(c.most)); got == "refused" {
			t.Errorf("%s: %d are refused", c.name, c.most)
		}
		if got := shown(c.text(c.most + 1)); got != "refused" {
			t.Errorf("%s: %d are accepted", c.name, c.most+1)
		}
	}
	if got := shown(strings.Repeat(`{"a":`, 100000)); got != "refused" {
		t.Error("deep nesting is accepted")
	}
	// pathBytesMax: what lies at a longer path is read and has none.
	long := strings.Repeat("p", pathBytesMax-2)
	if got, want := shown(`{"`+long+`":{"a":1,"bc":2}}`), long+"={} "+long+".a=1"; got != want {
		t.Errorf("got %.300s", got)
	}
}

// Each claim that is asked for, through the path.
func TestClaimsByTheirPaths(t *testing.T) {
	var r reader
	const text = `{"sub":"alice","n":1.50,"yes":true,"no":null,"o":{"a":{"b":"deep"},"l":["x","y"]},"roles":["r1","r2"],"odd":["a,b"],
		"mixed":[{"a":1}],"https://idp.test/tenant":"t1","a.b":"literal","a":{"b":"path"},"empty":[]}`
	if !r.read([]byte(text)) {
		t.Fatal("refused")
	}
	c := newClaims(&r)
	for _, want := range []string{"sub=alice", "n=1.50", "yes=true", "o.a.b=deep", "o.l=x,y", "roles=r1,r2", "https://idp.test/tenant=t1", "a.b=literal", "empty="} {
		name, value, _ := strings.Cut(want, "=")
		if got, ok := c.Claim(name); !ok || string(got) != value {
			t.Errorf("%s: got %q %v, want %q", name, got, ok, value)
		}
	}
	for _, name := range []string{"", "none", "no", "o", "o.a", "a", "odd", "mixed", "mixed.a", "sub.x", "o.", ".o", "Sub", "o.l.0"} {
		if got, ok := c.Claim(name); ok {
			t.Errorf("%s: is %q", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Claim("o.a.b"); c.Claim("none") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzReader compares with encoding/json: whatever is read is JSON, and says what that says.
func FuzzReader(f *testing.F) {
	f.Add([]byte(goodClaims))
	f.Add([]byte(`{"a":{"b":["c",1,null,{"d":[]}]},"e":"\ud83d\ude00","f":1.5e-9}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r reader
		if !r.read(text) {
			return
		}
		var all map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&all); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q is read and is no JSON: %v", text, err)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("%q has something behind it", text)
		}
		for name, v := range all {
			if len(name) > pathBytesMax {
				continue
			}
			got := r.member(name)
			if got == nil {
				t.Fatalf("%q: %q is not there", text, name)
			}
			var want string
			switch v := v.(type) {
			case string:
				want = v
			case json.Number:
				want = v.String()
			case bool:
				want = fmt.Sprint(v)
			default:
				continue
			}
			if string(r.bytes(got.text)) != want {
				t.Fatalf("%q: %q is %q, want %q", text, name, r.bytes(got.text), want)
			}
		}
		c := newClaims(&r)
		for i := range c.values {
			if c.find(string(c.bytes(c.values[i].path))) != &c.values[i] {
				t.Fatalf("%q: %q is not found", text, c.bytes(c.values[i].path))
			}
		}
	})
}

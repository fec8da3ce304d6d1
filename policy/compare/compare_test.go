package compare

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func patterns(tb testing.TB, list ...string) []Pattern {
	tb.Helper()
	var out []Pattern
	for _, s := range list {
		p, err := ParsePattern(s)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func text(list []Difference) string {
	var parts []string
	for _, d := range list {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s->%s", d.Path, d.Kind, d.Was, d.Is)))
	}
	return strings.Join(parts, "; ")
}

func TestJSONByItsStructure(t *testing.T) {
	f := func(c Config, was, is, want string) {
		t.Helper()
		got := text(c.Answers(&Answer{JSON: true, Body: []byte(was)}, &Answer{JSON: true, Body: []byte(is)}))
		if got != want {
			t.Errorf("%s\n%s\n%s\nwant %s", was, is, got, want)
		}
	}
	exact := Config{}
	f(exact, `{"a":1,"b":[true,null]}`, ` { "b" : [ true , null ] , "a" : 1.0 } `, "")
	f(exact, `1`, `2`, "$ value 1->2")
	f(exact, `{"a":1}`, `{"a":"1"}`, `$.a type 1->"1"`)
	f(exact, `{"a":null}`, `{"a":false}`, "$.a type null->false")
	f(exact, `{"a":false}`, `{"a":null}`, "$.a type false->null")
	f(exact, `{"a":1,"b":2}`, `{"b":2,"c":{"d":1}}`, "$.a missing 1->; $.c added ->an object of 1")
	f(exact, `{"a":null}`, `{}`, "$.a missing null->")
	f(exact, `[1,2,3]`, `[1,3]`, "$[] length an array of 3->an array of 2; $[] value 2->3")
	f(exact, `{"l":[{"p":1},{"p":2},{"p":3}]}`, `{"l":[{"p":1},{"p":4},{"p":5}]}`, "$.l[].p value 2->4")
	f(exact, `{"a b":1,"":2}`, `{"a b":2,"":3}`, `$[""] value 2->3; $["a b"] value 1->2`)
	f(exact, `{"access_token":"abc","user":{"passWord":{"x":1}}}`, `{"access_token":"def","user":{"passWord":{"x":2}}}`,
		"$.access_token value ***->***; $.user.passWord.x value ***->***")
	f(exact, `{"Api-Key":"a"}`, `{}`, "$.Api-Key missing ***->")
	f(exact, `{"a":1}`, `{"a":1`, "body value 7 bytes, other from byte 6 on->6 bytes, other from byte 6 on")
	f(exact, `{"a":1}`, `{"a":1}x`, "body value 7 bytes, other from byte 7 on->8 bytes, other from byte 7 on")
	f(exact, `9007199254740993`, `9007199254740992`, "$ value 9007199254740993->9007199254740992") // no float64 tells them apart
	f(exact, `-0`, `0e9`, "")
	f(exact, `100`, `1E+2`, "")
	f(exact, `1e99999999999999999999`, `1e99999999999999999998`, "$ value 1e99999999999999999999->1e99999999999999999998")
	near := Config{Tolerance: 0.01}
	f(near, `[100, -1]`, `[101, -1.01]`, "")
	f(near, `[100, 1]`, `[102, -1]`, "$[] value 100->102")
	some := Config{Ignore: patterns(t, "$.ts", "$..id", "$.items[].at", "$.by.*.n", `$["a b"]`, "$.all[]")}
	f(some, `{"ts":1,"id":1,"x":{"id":{"y":1}},"items":[{"at":1,"z":1}],"by":{"u":{"n":1}},"a b":1,"all":[1,2]}`,
		`{"id":2,"x":{"id":3},"items":[{"at":2,"z":2}],"by":{"u":{"n":2}},"all":[3]}`, "$.items[].z value 1->2")
	unordered := Config{AnyOrder: true, Ignore: patterns(t, "$..id")}
	f(unordered, `[1,{"a":[2,3],"id":1},1]`, `[{"id":2,"a":[3.0,2]},1,1]`, "")
	f(unordered, `[{"a":1,"id":1},{"a":2}]`, `[{"a":2},{"a":1}]`, "")
	f(unordered, `[1,1,2]`, `[2,2,1]`, "$[] value 1->2")
	f(unordered, `[1,2]`, `[2,1,1]`, "$[] length an array of 2->an array of 3")
}

func TestHeads(t *testing.T) {
	c := Config{Fields: []string{"content-type", "set-cookie", "etag", "vary"}}
	a := Answer{Status: 200, Fields: [][]byte{[]byte("a"), []byte("x=1"), []byte("e"), nil}, Body: []byte("one two")}
	b := Answer{Status: 201, Fields: [][]byte{[]byte("b"), []byte("x=2"), nil, []byte("v")}, Body: []byte("one three")}
	want := "status value 200->201; header.content-type value a->b; header.set-cookie value ***->***; header.etag missing e->; header.vary added ->v; " +
		"body value 7 bytes, other from byte 5 on->9 bytes, other from byte 5 on"
	if got := text(c.Answers(&a, &b)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if !Equal(&a, &a) || Equal(&a, &b) {
		t.Error("Equal")
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, s := range []string{"", "a", "$a", "$.", "$..", "$.a.", "$.a[", "$.a[1]", `$["a`, `$["a"`, "$.a b", "$..a..b..c..d", "$." + strings.Repeat("a", 300)} {
		if _, err := ParsePattern(s); err == nil {
			t.Errorf("%q is a pattern", s)
		}
	}
}

// depth_max: a deeper text is no JSON here.
func TestDepthIsBounded(t *testing.T) {
	nested := func(n int, v string) []byte {
		return []byte(strings.Repeat("[", n) + v + strings.Repeat("]", n))
	}
	c := Config{AnyOrder: true}
	for n, want := range map[int]string{depthMax: "$[]", depthMax + 1: "body"} {
		list := c.Answers(&Answer{JSON: true, Body: nested(n, "1")}, &Answer{JSON: true, Body: nested(n, "2")})
		if len(list) != 1 || !strings.HasPrefix(list[0].Path, want) {
			t.Errorf("%d: %s", n, text(list))
		}
	}
}

// differences_max, places_max, and lengths: what is said of two answers is bounded, whatever they are.
func TestWhatIsSaidIsBounded(t *testing.T) {
	var was, is strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&was, `"%d":%d,`, i, i)
		fmt.Fprintf(&is, `"%d":%d,`, i, i+1)
	}
	long := strings.Repeat("é", 1000)
	nest := strings.Repeat(`{"name":`, 2000)
	end := strings.Repeat("}", 2000)
	var c Config
	var table Table
	for _, two := range [][2]string{
		{"{" + was.String() + `"z":0}`, "{" + is.String() + `"z":0}`},
		{`{"` + long + `":"` + long + `"}`, `{"` + long + `":"` + long + `x"}`},
		{nest + "1" + end, nest + "2" + end},
		{strings.Repeat("[", 9000) + strings.Repeat("]", 9000), strings.Repeat("[", 9000) + "1" + strings.Repeat("]", 9000)},
	} {
		list := c.Answers(&Answer{JSON: true, Body: []byte(two[0])}, &Answer{JSON: true, Body: []byte(two[1])})
		if len(list) == 0 || len(list) > DifferencesMax {
			t.Errorf("%d differences", len(list))
		}
		for _, d := range list {
			if len(d.Path) > pathMax+3 || len(d.Was) > 2*textMax || len(d.Is) > 2*textMax {
				t.Errorf("%d, %d, %d bytes", len(d.Path), len(d.Was), len(d.Is))
			}
		}
	}
	for i := range 2 * RowsMax {
		table.Judge([]Difference{{Path: "$." + strconv.Itoa(i)}}, nil)
	}
	if rows, hidden := table.Rows(); len(rows) != RowsMax || hidden != RowsMax {
		t.Errorf("%d rows, %d hidden", len(rows), hidden)
	}
}

func TestNoise(t *testing.T) {
	at := func(paths ...string) (list []Difference) {
		for _, p := range paths {
			list = append(list, Difference{Path: p})
		}
		return list
	}
	f := func(found, noise []Difference, want string) {
		t.Helper()
		var got []string
		for _, d := range Without(found, noise) {
			got = append(got, d.Path)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s, want %s", s, want)
		}
	}
	f(at("$.a", "$.b"), at("$.a"), "$.b")
	f(at("$.a.x", "$.a[].y", "$.ab"), at("$.a"), "$.ab")
	f(at("$.a"), at("$.a.x"), "$.a")
	f(at("status", "$.a"), at("status"), "")
	f(at("$.a"), at("$"), "")

	// A coin in the old version's answers falls the same way twice now and then: it is known by then.
	var table Table
	for range 10 {
		table.Judge(at("$.coin"), at("$.coin"))
	}
	if left := table.Judge(at("$.coin", "$.real"), nil); len(left) != 1 || left[0].Path != "$.real" {
		t.Errorf("%v", left)
	}
	// A mistake of the new version in a place that was noise once is still seen.
	for range 100 {
		table.Judge(at("$.price"), nil)
	}
	table.Judge(at("$.price"), at("$.price"))
	if left := table.Judge(at("$.price"), nil); len(left) != 1 {
		t.Error("one old answer that differed hides a hundred new ones")
	}
	rows, _ := table.Rows()
	if rows[0].Path != "$.price" || rows[0].Count != 101 || rows[0].Noise != 1 {
		t.Errorf("%+v", rows[0])
	}
}

// The slow twin of numbers is exact arithmetic.
func TestNumbersAgreeWithRationals(t *testing.T) {
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?([eE][+-]?[0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if same := normal(a) == normal(b); same != (x.Cmp(y) == 0) {
			t.Fatalf("%s and %s: %v", a, b, same)
		}
	})
}

// value makes a text of JSON of few different values, so that two are often alike.
func value(t *rapid.T, depth int) any {
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return json.Number(strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "number")))
	case 3:
		return rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "string")
	case 4:
		m := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			m[rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")] = value(t, depth-1)
		}
		return m
	}
	list := []any{}
	for range rapid.IntRange(0, 3).Draw(t, "elements") {
		list = append(list, value(t, depth-1))
	}
	return list
}

// The slow twin of equality writes both down again in one form: encoding/json sorts members.
func TestEqualTextsAreThoseThatAreWrittenAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := value(t, 3), value(t, 3)
		if rapid.Bool().Draw(t, "shuffled") { // the same elements in another order
			b = turned(a)
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		f := func(c Config, equal bool) {
			found := c.Answers(&Answer{JSON: true, Body: x}, &Answer{JSON: true, Body: y})
			back := c.Answers(&Answer{JSON: true, Body: y}, &Answer{JSON: true, Body: x})
			if (len(found) == 0) != equal || (len(back) == 0) != equal {
				t.Fatalf("%s and %s: %s, %s", x, y, text(found), text(back))
			}
		}
		f(Config{}, string(x) == string(y))
		p, _ := json.Marshal(sorted(a))
		q, _ := json.Marshal(sorted(b))
		f(Config{AnyOrder: true}, string(p) == string(q))
		f(Config{Ignore: []Pattern{{}}}, true) // $ itself
	})
}

func turned(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[len(v)-1-i] = turned(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = turned(v[k])
		}
		return out
	}
	return v
}

// sorted puts all arrays into one order.
func sorted(v any) any {
	switch v := v.(type) {
	case []any:
		texts := []string{}
		for i := range v {
			b, _ := json.Marshal(sorted(v[i]))
			texts = append(texts, string(b))
		}
		slices.Sort(texts)
		return texts
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = sorted(v[k])
		}
		return out
	}
	return v
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.0]}`), []byte(`{"a":[2,1]}`), "$..a", true)
	f.Add([]byte(`[1e400]`), []byte(`[-1e-400]`), "$[]", false)
	f.Fuzz(func(t *testing.T, a, b []byte, pattern string, anyOrder bool) {
		c := Config{AnyOrder: anyOrder, Tolerance: 0.1}
		if p, err := ParsePattern(pattern); err == nil {
			c.Ignore = []Pattern{p}
		}
		list := c.Answers(&Answer{JSON: true, Body: a}, &Answer{JSON: true, Body: b})
		if len(list) > DifferencesMax {
			t.Fatal(len(list))
		}
		for _, d := range list {
			if len(d.Path) > pathMax+3 || d.Path == "" {
				t.Fatalf("%q", d.Path)
			}
		}
		if self := c.Answers(&Answer{JSON: true, Body: a}, &Answer{JSON: true, Body: a}); self != nil {
			t.Fatalf("differs from itself: %v", self)
		}
		if left := Without(list, list); left != nil {
			t.Fatalf("its own noise leaves %v", left)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add(`$.a[]["b c"]..d.*`)
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePattern(s); err == nil && p.String() != s {
			t.Fatalf("%q", p)
		}
	})
}

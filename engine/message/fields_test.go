package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every known name is found in any case, and no other name is taken for one.
func TestIdentify(t *testing.T) {
	known := map[string]ID{}
	for id := OtherField + 1; id < idCount; id++ {
		name := id.String()
		known[strings.ToLower(name)] = id
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Identify([]byte(spelling)); got != id {
				t.Errorf("Identify(%q) = %v", spelling, got)
			}
		}
		for i := range name {
			wrong := []byte(name)
			wrong[i] ^= 0x01
			if got := Identify(wrong); got != known[strings.ToLower(string(wrong))] {
				t.Errorf("Identify(%q) = %v", wrong, got)
			}
		}
		for _, wrong := range []string{name[1:], name + "s", strings.ReplaceAll(name, "-", "_") + "x", " " + name} {
			if got := Identify([]byte(wrong)); got != OtherField {
				t.Errorf("Identify(%q) = %v", wrong, got)
			}
		}
	}
	for _, wrong := range []string{"", "X_Forwarded_For", "Content_Length", "X-Forwarded-Hosts"} {
		if got := Identify([]byte(wrong)); got != OtherField {
			t.Errorf("Identify(%q) = %v", wrong, got)
		}
	}
}

// Fields hold what a plain list of pairs would, through additions, removals and replacements.
func TestFieldsAgainstPlainList(t *testing.T) {
	type pair struct{ name, value string }
	name := rapid.SampledFrom([]string{"Host", "host", "HOST", "Via", "X-A", "x-a", "X-B", "Content-Length"})
	rapid.Check(t, func(t *rapid.T) {
		var (
			f    Fields
			list []pair
		)
		without := func(name string) (left []pair) {
			for _, p := range list {
				if !strings.EqualFold(p.name, name) {
					left = append(left, p)
				}
			}
			return left
		}
		values := func(name string) (all []string) {
			for _, p := range list {
				if strings.EqualFold(p.name, name) {
					all = append(all, p.value)
				}
			}
			return all
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := pair{name.Draw(t, "name"), rapid.StringMatching("[a-z]{0,3}").Draw(t, "value")}
				f.AddString(p.name, p.value)
				list = append(list, p)
			},
			"set": func(t *rapid.T) {
				p := pair{name.Draw(t, "name"), "set"}
				f.SetField([]byte(p.name), []byte(p.value))
				list = append(without(p.name), p)
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				if id := Identify([]byte(n)); id != OtherField && rapid.Bool().Draw(t, "by id") {
					f.Remove(id)
				} else {
					f.RemoveField([]byte(n))
				}
				list = without(n)
			},
			"reset": func(t *rapid.T) {
				f.Reset()
				list = nil
			},
			"": func(t *rapid.T) {
				var left []pair
				for _, l := range f.All() {
					if !l.Gone {
						left = append(left, pair{string(f.Bytes(l.Name)), string(f.Bytes(l.Value))})
					}
				}
				if fmt.Sprint(left) != fmt.Sprint(list) {
					t.Fatalf("holds %v, want %v", left, list)
				}
				for _, n := range []string{"host", "X-a", "content-length"} {
					var all []string
					f.EachField([]byte(n), func(v []byte) bool { all = append(all, string(v)); return true })
					want := values(n)
					first, has := f.Field([]byte(n))
					if fmt.Sprint(all) != fmt.Sprint(want) || has != (want != nil) || has && string(first) != want[0] {
						t.Fatalf("%s: %q, first %q; want %q", n, all, first, want)
					}
					if id := Identify([]byte(n)); id != OtherField {
						if v, ok := f.Get(id); ok != has || string(v) != string(first) || f.Has(id) != has {
							t.Fatalf("%s by its ID: %q, %v", n, v, ok)
						}
					}
				}
			},
		})
	})
}

func TestEachFieldStopsWhenTold(t *testing.T) {
	var f Fields
	f.AddString("A", "1")
	f.AddString("a", "2")
	n := 0
	f.EachField([]byte("A"), func([]byte) bool { n++; return false })
	if n != 1 {
		t.Errorf("called %d times", n)
	}
}

// A head that was used is as good as new, but for memory it keeps; one that was huge does not keep that.
func TestResetKeepsALittleMemory(t *testing.T) {
	var h Head
	h.Path = h.StoreString("/a")
	h.AddString("A", "b")
	h.Status = 200
	h.Reset()
	if h.Path != (Span{}) || h.Status != 0 || len(h.All()) != 0 || h.RawLen() != 0 || cap(h.raw) == 0 {
		t.Errorf("after Reset: %+v", h)
	}
	h.StoreString(strings.Repeat("a", rawKept+1))
	for range listKept + 1 {
		h.AddString("", "")
	}
	h.Reset()
	if cap(h.raw) != 0 || cap(h.list) != 0 {
		t.Errorf("keeps %d bytes and %d fields", cap(h.raw), cap(h.list))
	}
}

// Reset names every part of a head by hand: this finds one that was added and forgotten there.
func TestResetForgetsNoPart(t *testing.T) {
	span := Span{1, 2}
	h := Head{Method: span, Authority: span, Path: span, Query: span, HasQuery: true, Status: 200, Reason: span,
		Proto: HTTP11, Length: 3, Upgrade: span}
	for i, v := 0, reflect.ValueOf(h); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; name != "Fields" && v.Field(i).IsZero() {
			t.Errorf("the test sets no %s", name)
		}
	}
	h.Reset()
	for i, v := 0, reflect.ValueOf(h); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; name != "Fields" && !v.Field(i).IsZero() {
			t.Errorf("%s is %v after Reset", name, v.Field(i))
		}
	}
}

func TestCopyIsIndependent(t *testing.T) {
	var f, c Fields
	f.AddString("A", "b")
	f.CopyTo(&c)
	f.Reset()
	f.StoreString("overwritten")
	if v, _ := c.Field([]byte("a")); string(v) != "b" {
		t.Errorf("the copy has %q", v)
	}
}

func TestPoolGivesEmptyHeads(t *testing.T) {
	var p Pool
	h := p.Get()
	h.AddString("A", "b")
	p.Put(h)
	if again := p.Get(); again != h || len(again.All()) != 0 {
		t.Errorf("got %+v", again)
	}
}

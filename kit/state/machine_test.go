package state

import (
	"slices"
	"strings"
	"testing"
)

// letter and digit are states A, B, C... and events e0, e1... of tests.
type letter uint8

func (l letter) String() string {
	if l < 26 {
		return string(rune('A' + l))
	}
	return ""
}

type digit uint8

func (d digit) String() string {
	if d < 10 {
		return "e" + string(rune('0'+d))
	}
	return "e 1" // not a name
}

const (
	a letter = iota
	b
	c
	d
	e
)

// table reads "A0B B1C" as transitions.
func table(text string) (all []Transition[letter, digit]) {
	for _, word := range strings.Fields(text) {
		all = append(all, Transition[letter, digit]{letter(word[0] - 'A'), digit(word[1] - '0'), letter(word[2] - 'A')})
	}
	return all
}

func machine(t testing.TB, text string, final ...letter) *Machine[letter, digit] {
	t.Helper()
	m, err := New(Config[letter, digit]{Name: "test", Final: final, Transitions: table(text)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTablesThatAreRefused(t *testing.T) {
	f := func(text string, final []letter, want ...string) {
		t.Helper()
		_, err := New(Config[letter, digit]{Name: "test", Final: final, Transitions: table(text)})
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q in it", text, err, w)
			}
		}
	}
	f("", nil, "there are 0 transitions")
	f("A0B A0C B1C", []letter{c}, "e0 in A leads to B and to C")
	f("A0B A0B", []letter{b}, "e0 in A leads to B and to B")
	f("A0B C0B", []letter{b}, "C cannot be reached from the initial state")
	f("A0B A1C", []letter{b}, "nothing leaves C, and it is not final")
	f("A0B A1C C0D D0C", []letter{b}, "no final state can be reached from C", "no final state can be reached from D")
	f("A0B B0A", []letter{b}, "B is final and left by a transition")
	f("A0B", []letter{b, d}, "final state 3 is known to no transition")
	f("B0C", []letter{c}, "Initial is 0, which no transition knows")
	f("A0A", nil, "Final is empty")
	f("A0[", []letter{26}, `state 26 has the name ""`)
	f("A:B", []letter{b}, `event 10 has the name "e 1"`)
	// All of it is told at once.
	f("A0B A0C", []letter{b, d}, "leads to B and to C", "final state 3", "nothing leaves C")
	if _, err := New(Config[letter, digit]{Name: "two words", Final: []letter{b}, Transitions: table("A0B")}); err == nil ||
		!strings.Contains(err.Error(), `Name is "two words"`) {
		t.Error(err)
	}
	if _, err := New(Config[twins, digit]{Name: "test", Final: []twins{1}, Transitions: []Transition[twins, digit]{{0, 0, 1}}}); err == nil ||
		!strings.Contains(err.Error(), `states 0 and 1 have the same name "TWIN"`) {
		t.Error(err)
	}
}

type twins uint8

func (twins) String() string { return "TWIN" }

func TestWhatATableSays(t *testing.T) {
	m := machine(t, "A0B A1C B0C", c)
	for s := range 256 {
		for ev := range 256 {
			to, ok := m.Next(letter(s), digit(ev))
			i := slices.IndexFunc(table("A0B A1C B0C"), func(t Transition[letter, digit]) bool {
				return int(t.From) == s && int(t.Event) == ev
			})
			if ok != (i >= 0) || ok && to != table("A0B A1C B0C")[i].To {
				t.Errorf("Next(%d, %d) = %d, %t", s, ev, to, ok)
			}
		}
	}
	if got := m.Events(a); !slices.Equal(got, []digit{0, 1}) {
		t.Errorf("Events(A) = %v", got)
	}
	if !m.Final(c) || m.Final(a) || m.Initial() != a || m.Name() != "test" || !slices.Equal(m.States(), []letter{a, b, c}) {
		t.Error("Final, Initial, Name or States are wrong")
	}
	if s, ok := m.State("B"); s != b || !ok {
		t.Error("State(B)")
	}
	if _, ok := m.State("D"); ok {
		t.Error("State(D) is known")
	}
}

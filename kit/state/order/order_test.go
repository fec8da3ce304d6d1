package order

import (
	"os"
	"testing"
)

// TestDrawing compares the drawing with testdata/order.mmd, which can be shown by whatever shows Mermaid.
func TestDrawing(t *testing.T) {
	want, err := os.ReadFile("testdata/order.mmd")
	if err != nil {
		t.Fatal(err)
	}
	if got := Machine().Drawing(); got != string(want) {
		t.Errorf("the drawing is\n%s\nand testdata/order.mmd has\n%s", got, want)
	}
}

// TestEveryPath walks all paths of an order: each ends, after at most four steps, and money that came in has gone to
// goods or back.
func TestEveryPath(t *testing.T) {
	m := Machine()
	paths := 0
	var walk func(s State, path []Event)
	walk = func(s State, path []Event) {
		events := m.Events(s)
		if m.Final(s) != (len(events) == 0) || len(path) > 4 {
			t.Fatalf("%v leads to %s, which allows %v", path, s, events)
		}
		if len(events) == 0 {
			paths++
			paid := path[0] == Pay
			if (s == Cancelled) == paid {
				t.Errorf("%v ends in %s", path, s)
			}
		}
		for _, e := range events {
			to, ok := m.Next(s, e)
			if !ok {
				t.Fatalf("%s is listed and not allowed in %s", e, s)
			}
			walk(to, append(path[:len(path):len(path)], e))
		}
	}
	walk(m.Initial(), nil)
	if paths != 4 {
		t.Errorf("%d paths, want 4", paths)
	}
	if s, e := State(99), Event(99); s.String() != "" || e.String() != "" {
		t.Errorf("unknown numbers have the names %q and %q", s, e)
	}
}

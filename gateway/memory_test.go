package gateway_test

import (
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

// bucket is a thing that is remembered.
type bucket struct{ started, closed, ticks int }

func (b *bucket) Start()                    { b.started++ }
func (b *bucket) Close()                    { b.closed++ }
func (b *bucket) Tick(mono.Time, time.Time) { b.ticks++ }

type kettle struct{ bucket }

func recall(r *gateway.Recollection, key string) *bucket {
	return gateway.Recall(r, key, func() *bucket { return new(bucket) })
}

func TestWhatIsRememberedOutlivesItsConfiguration(t *testing.T) {
	m := gateway.NewMemory()
	first := m.Recollect()
	a := recall(first, "a")
	if recall(first, "a") != a {
		t.Error("one configuration has two things under one key")
	}
	m.Tick(0, time.Time{})
	if a.started+a.ticks != 0 {
		t.Error("a configuration that is only looked at starts something")
	}
	first.Hold()
	second := m.Recollect()
	if recall(second, "a") != a {
		t.Error("the next configuration does not find what is in force")
	}
	b := recall(second, "b")
	second.Hold()
	first.Drop()
	if a.started != 1 || a.closed != 0 || b.started != 1 {
		t.Errorf("a %+v, b %+v: want both started once", *a, *b)
	}
	m.Tick(0, time.Time{})
	if a.ticks != 1 || b.ticks != 1 {
		t.Errorf("ticks: %d and %d, want one each", a.ticks, b.ticks)
	}
	// The third has no use for b; a is asked for as something else, and made anew.
	third := m.Recollect()
	gateway.Recall(third, "a", func() *kettle { return new(kettle) })
	third.Hold()
	second.Drop()
	if a.closed != 1 || b.closed != 1 {
		t.Errorf("a %+v, b %+v: want both closed once", *a, *b)
	}
	// Compiled while it was in force, and put into force when it was not any more.
	late := m.Recollect()
	k := gateway.Recall(late, "a", func() *kettle { return new(kettle) })
	third.Drop()
	late.Hold()
	if k.started != 2 || k.closed != 1 {
		t.Errorf("what comes back is started again: %+v", *k)
	}
	n := 0
	m.Each(func(string, gateway.Remembered) { n++ })
	if n != 1 {
		t.Errorf("%d things are in force, want 1", n)
	}
	late.Drop()
	var none *gateway.Recollection
	none.Hold()
	if one, other := recall(none, "a"), recall(none, "a"); one == other {
		t.Error("no memory remembers")
	}
	none.Drop()
}

package config

import (
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Priority is where the importance of a request is read from.
type Priority struct {
	Pos
	By      GuardKey
	Values  []PriorityValue // none: the words themselves
	Default PriorityClass
}

// PriorityValue says what a value means.
type PriorityValue struct {
	Pos
	Name  string
	Class PriorityClass
}

// PriorityClass is how important a request is.
type PriorityClass string

// The priorities, the most important first.
const (
	PriorityCritical PriorityClass = "critical"
	PriorityHigh     PriorityClass = "high"
	PriorityNormal   PriorityClass = "normal"
	PriorityLow      PriorityClass = "low"
)

const priorityAbout = `How important a request is: critical, high, normal or low. Without it all are normal. {by: {header: x-priority}} takes the word that is there; values say what others mean.`

func priorityClass() kind[PriorityClass] {
	return choice("priority", PriorityCritical, PriorityHigh, PriorityNormal, PriorityLow)
}

// priority is one that may be left out.
func priority() kind[*Priority] {
	inner := section(priorityObject)
	k := pointer(inner)
	k.read = func(d *decoder, n *yaml.Node, v **Priority) {
		one := new(Priority)
		inner.fill(d, one)
		before := d.errors
		if inner.read(d, n, one); d.errors == before {
			*v = one
		}
	}
	return k
}

var priorityObject = sync.OnceValue(func() *object[Priority] {
	type T = Priority
	return &object[T]{
		name: "priority", article: "a",
		about: "How important a request is: critical, high, normal or low.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("by", guardKeyPart(), func(v *T) *GuardKey { return &v.By },
				`Where the word stands: {claim: plan}, {header: x-priority}, host, route. Clients can write what they like in a header: have a guard before this one remove or verify it.`),
			may("values", priorityValues(), func(v *T) *[]PriorityValue { return &v.Values },
				`What values mean: {gold: high, batch: low}. Without it critical, high, normal and low mean themselves; with it only what is listed means something.`),
			def("default", priorityClass(), func(v *T) *PriorityClass { return &v.Default }, PriorityNormal,
				`The priority of requests with no word, or another. normal by default: who says nothing asks for nothing.`),
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			if g.clean && v.By.Source == GuardClientAddress && len(v.Values) == 0 {
				d.fail(g.key("by"), "add values, such as {10.0.0.1: high}", "no address is called critical, high, normal or low")
			}
		},
	}
})

func priorityValues() kind[[]PriorityValue] {
	class := priorityClass()
	k := part(class, func(v *PriorityValue) *PriorityClass { return &v.Class })
	k.word = "priority"
	return mapOf(k, func(v *PriorityValue) *string { return &v.Name }, func(v *PriorityValue) *Pos { return &v.Pos },
		func(*decoder, *yaml.Node, string) bool { return true }, asWritten)
}

// Meanings returns what words mean, in the order in which they were written.
func (p *Priority) Meanings() []PriorityValue {
	if len(p.Values) > 0 {
		return slices.Clone(p.Values)
	}
	var list []PriorityValue
	for _, c := range []PriorityClass{PriorityCritical, PriorityHigh, PriorityNormal, PriorityLow} {
		list = append(list, PriorityValue{Name: string(c), Class: c})
	}
	return list
}

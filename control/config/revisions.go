package config

import "sync"

// Revisions is the history of configurations.
type Revisions struct {
	Directory string // empty: .yumen beside the document
	Keep      int
}

var revisionsObject = sync.OnceValue(func() *object[Revisions] {
	type T = Revisions
	return &object[T]{
		name: "revisions", article: "a",
		about: "The numbered history of configurations, for rollback.",
		keys: []key[T]{
			may("directory", text("path"), func(v *T) *string { return &v.Directory },
				`Where they are kept. By default .yumen beside the document.`),
			def("keep", integer(1, 10_000), func(v *T) *int { return &v.Keep }, 20,
				`How many are kept: a busy day of changes.`),
		},
	}
})

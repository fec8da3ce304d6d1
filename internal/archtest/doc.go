// Package archtest holds the rules of the house that a compiler cannot check: which package may import which, what each
// part must never call, which folders there are, and which packages the program links. They stand here as data, each
// with the sentence that says why the wall is there, and the tests of this package compare them with the source.
//
// To move a wall, change the data and say why in the same commit. An exception names its file and its reason; one that
// nothing needs any more is reported too. Nothing imports this package: it is all tests.
//
//	floors_test.go      who may import whom
//	walls_test.go       what must not be imported, called or written where
//	tree_test.go        the source as these tests see it
//	inspect_test.go     the comparison
//	planted_test.go     planted faults, each found
//	deps_test.go        what cmd/yumen links, against cmd/yumen/deps.txt (-update rewrites it)
package archtest

// Package compile turns a configuration document into a [Plan]: what the document asks for, worked out as far as possible
// without touching anything that runs. What the parser cannot see by looking at one value is found here, all of it at once:
// routes that are duplicates, ambiguous or never reached, each with a request that shows it; conditions no request can
// meet; templates that name parameters their route does not have; settings that do not go together. A [Report] holds it
// together with what the parser found, in the order of the text.
//
// The package owns the translation of the document's words into those of the data plane, and nothing else does it. Every
// place where zero means one thing in a document (none) and another in a Go configuration (the default) is settled here.
//
// [Plan.Explain] tells what the plan would do with a request. It asks the same code that the data plane asks.
//
// The package starts nothing and reads no clock: addresses are bound, names resolved and clusters brought to life by package
// control. The only files it reads are the lists that filters name (followedFile); a document is wrong if they are.
package compile

// Package split is the filter that divides a route's requests among variants, each a cluster: by rules (testers,
// networks), else by weight, sticky by a key or a cookie (policy/split).
//
// The document says the weights. An operator, or a judge of canaries, can set others while the document stays
// (SetWeights, Back, Reset): blue-green is a weight of 100 %. Those last while the process runs and the document's own
// weights stay what they were: a document with other weights was written later, and is right.
//
// What belongs to a configuration is in a Filter, frozen. What outlives it is in a State: who is in force, which
// weights were set, and what became of the requests of each variant.
//
// A variant can be a canary (canary.go), judged by policy/canary: the State, which is called several times a second,
// hands it what became of the requests since the last time, and sets the weight it says. An operator who sets weights
// stops that.
package split

package config

import "sync"

// PathPolicy is how the paths of requests are brought to the one spelling that is routed, logged and forwarded, where
// servers disagree about it.
type PathPolicy struct {
	EncodedSlash EncodedSlash
	MergeSlashes bool
}

// EncodedSlash is what becomes of %2F and %5C in a path.
type EncodedSlash string

// What can become of an encoded slash.
const (
	RejectEncodedSlash EncodedSlash = "reject" // answered with 400
	KeepEncodedSlash   EncodedSlash = "keep"   // part of its segment, forwarded encoded
	DecodeEncodedSlash EncodedSlash = "decode" // %2F is a slash; %5C is answered with 400
)

var pathPolicyObject = sync.OnceValue(func() *object[PathPolicy] {
	type T = PathPolicy
	return &object[T]{
		name: "path_policy", article: "a",
		about:     "How the paths of requests are brought to one spelling, where servers disagree about it. It holds for every route: a path is read once, before its route is known.",
		elsewhere: `the path of a route stands on the route: routes: [{path: /*, cluster: app}]`,
		keys: []key[T]{
			def("encoded_slash", choice("policy for encoded slashes", RejectEncodedSlash, KeepEncodedSlash, DecodeEncodedSlash),
				func(v *T) *EncodedSlash { return &v.EncodedSlash }, RejectEncodedSlash,
				`What becomes of %2F and %5C. reject answers 400: an upstream that decodes before it splits sees segments no route saw. keep forwards them as part of their segment, for APIs that put whole names into one (/packages/@scope%2Fname). decode makes %2F a slash before the path is routed; %5C is still refused.`),
			def("merge_slashes", boolean(), func(v *T) *bool { return &v.MergeSlashes }, true,
				`Whether // becomes /, as nearly every server reads it. Off only for upstreams that tell them apart, such as object stores with such keys.`),
		},
	}
})

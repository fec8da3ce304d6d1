// Package decompress is the filter that decodes the bodies of requests (gzip, deflate, br, zstd) for upstreams that cannot.
//
// What a client sends small may be large when it is decoded, a thousand times and more. So everything is bounded while it is
// decoded and not afterwards: the decoded bytes, their ratio to the encoded ones, how far back a decoder must remember, the codings
// upon each other, and the memory of all decoders of a loop. A body that ends too early, or goes on behind its end, is found before
// the upstream is told that it is complete.
//
// The decoders of the libraries read when they want to; a loop gives them bytes when they have come. Between the two stands a
// coroutine for each coding: it runs within the call that brings bytes, on the loop's thread, and stops where it would have to wait.
package decompress

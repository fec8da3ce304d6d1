// Package compress is the filter that encodes answers as their clients can read them: gzip, brotli or zstd.
//
// It decides on the head of an answer and encodes the body as it passes, in the parts in which it comes: nothing is held until the
// answer is complete, and what a turn of the loop brought leaves with that turn. Encoders are kept for each loop; how much memory
// they may take together is bounded, and an answer for which none is left passes as it is.
//
// An encoded answer is another representation than the upstream's. So its validator is a weak one, ranges of it are not offered,
// and caches are told what it was chosen by. What may not be changed (RFC 9111 5.2.2.6), is a part only, has a coding or a digest
// already, or is no representation at all (calls of gRPC, tunnels) passes untouched.
package compress

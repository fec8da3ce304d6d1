// Package hmacauth is the guard that knows clients by signatures over their requests: HTTP Message Signatures (RFC 9421) with
// hmac-sha256, and Content-Digest (RFC 9530) for bodies.
//
// Of RFC 9421 it takes what one shared secret needs and refuses the rest by name:
//
//   - components: @method, @authority, @path, @query, and header fields as they are, without parameters;
//   - parameters: created and keyid, which have to be there; expires and nonce; alg, which may only be hmac-sha256; tag, which
//     is signed and not looked at;
//   - the settings say which components have to be signed. A signature over less is refused, whoever made it.
//
// The path is signed in the gateway's normal form, which is that of RFC 9110 4.2.3, and the filter judges the request as the
// filters before it left it: it belongs before those that rewrite.
//
// A body is signed by its digest. The whole of it is held until the digest is known to be right, and no upstream sees any of it
// before; so its size is bounded. Without a body there is no waiting.
//
// A signature is good for a short time around its creation. Within it a nonce keeps it from being used twice on this node: see
// nonces.go. Nothing is shared between nodes.
package hmacauth

// Package grpcweb lets browsers call gRPC services: towards the client it speaks gRPC-Web (PROTOCOL-WEB.md of grpc), in binary
// or in base64, and towards the upstream plain gRPC.
//
// Messages have the same frames in both, so bodies pass as they come and nothing is collected. What differs is the content
// type, the base64 of application/grpc-web-text, and that browsers see no trailers: they go out as a last frame of the body.
// A status that the upstream put into its head ("Trailers-Only") goes into that frame too. There a script can read it whatever
// the page's origin is, which is not so for fields of a head; so one form serves every client.
//
// The filter is not about CORS: which origins may call, and what they may read, is not its business.
package grpcweb

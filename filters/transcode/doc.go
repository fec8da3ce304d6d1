// Package transcode lets HTTP/JSON clients call gRPC services: it finds the method that a request means by the
// google.api.http rules of a descriptor set, makes the gRPC message of path, query and JSON body, and makes JSON of what
// comes back. Nobody generates code: everything is driven by descriptors.
//
//	descriptor set --Compile--> Schema (frozen, shared by all loops)
//
//	GET /v1/shelves/3?view=FULL --Schema.Match--> Binding, Captures
//	  Binding, captures, query, JSON body --Converter.Request--> gRPC frame
//	  gRPC frames --Frames--> messages --Converter.Response, .Event--> JSON, lines, or server-sent events
//	  grpc-status, grpc-message, details --Converter.Error--> HTTP status and JSON
//
// A Converter is scratch memory that belongs to one loop; a Schema is never written after Compile.
//
// # JSON straight to the wire
//
// The plain way is protojson on dynamicpb messages: bytes to tokens, tokens to a tree of maps, the tree to bytes. For the
// message of 200 bytes in BenchmarkUnary it takes more than ten times as long both ways, and 150 allocations; its errors
// do not say where in the document they are; and a malformed answer of an upstream can make it panic. Compile makes
// a table of each message instead: the encoder walks the JSON once and writes wire format as it goes, the printer walks
// the wire format and writes JSON. Neither allocates. The plain way lives on in the tests, as the twin that both must agree
// with.
//
// # What is not there
//
// Client streaming and bidirectional methods are refused with 501: HTTP/1.1 clients and browsers cannot answer while they
// are being answered. Required fields of proto2 are left to the server to check. Message sets are not known.
// Rules from a service configuration (selectors in YAML) are not read.
package transcode

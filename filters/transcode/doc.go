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
// Filter puts that between a route's requests and its upstream. A request is converted when it is whole, so that what is wrong
// with it is found before the upstream hears of it. The messages of a stream are converted as they come and leave at once, as
// lines or server-sent events. The head of an answer is kept back until the first message of a stream, or the status of
// the call, tells what status of HTTP it has.
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
// # What it costs a loop
//
// A call of 200 bytes takes the gateway less than half again as much as the same bytes do when they are proxied
// (BenchmarkTranscode in package filters). Conversions run on the loop, which serves nobody else meanwhile: a megabyte of JSON
// takes 2 ms if it is one text, 13 ms as small objects, 34 ms as numbers of one digit, and half as long back. The default bound of
// 4 MiB so lets one request hold up a loop for up to 140 ms. A gateway whose clients are hostile and whose messages are small
// does well to set a lower one. Moving large bodies to goroutines was not worth it yet: they would need a bound and an owner, and
// every exchange a further state.
//
// # What is not there
//
// Client streaming and bidirectional methods are refused with 501: HTTP/1.1 clients and browsers cannot answer while they
// are being answered. Trailing metadata is dropped: few clients of HTTP could see it. Required fields of proto2 are left to the server to check. Message sets are not known.
// Rules from a service configuration (selectors in YAML) are not read.
package transcode

// Package headers is the filter that sets, adds and removes header fields of requests and of responses.
//
// In each direction fields are removed first, then set, then added, whatever their order in the document. Values are
// literal text. Fields that frame a message or belong to one connection cannot be touched: a configuration that could
// write a second Content-Length could split a message in two, and one that removed Connection would pass on what
// was meant for the gateway. The host is not a field here either: the filter rewrite changes it, for all protocols alike.
package headers

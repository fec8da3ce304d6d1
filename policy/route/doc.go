// Package route decides which of many routes a request takes. [Compile] turns specs into an immutable [Table] and
// reports, each with a request that shows it, the routes that are duplicates, ambiguous or never reached. [Table.Match]
// finds the winner without allocating; [Table.Explain] tells the same walk as a story.
//
// It owns patterns, their order and the table. It does not normalise: host and path arrive in the one form that is
// also forwarded upstream, so that rule and upstream cannot see different requests. It knows nothing of what a route
// leads to.
//
// # Host patterns
//
//	shop.example.com   this host
//	*.example.com      every host below it at any depth (a.example.com, b.a.example.com), not example.com itself
//	*  or nothing      every host, and requests without one
//
// Case does not matter, one trailing dot is dropped in pattern and request, ports are refused, an international name
// is written in its xn-- form, an IPv6 address in brackets.
//
// # Path patterns
//
// A pattern begins with '/' and is read by segments, the parts between slashes:
//
//	/a/b          exactly this path; /a/b/ is another one
//	/users/:id    :name stands for one segment that is not empty
//	/static/*rest *name, only as the last segment, stands for all that follows the slash, nothing and slashes included:
//	              /static/ and /static/a/b, not /static. A bare * is captured under the name "*"
//	/*            every path
//
// So a prefix is written /static/*. A ':' or '*' anywhere else in a segment is refused, since it looks like a mixture of
// text and parameter, which there is not; \: and \* are the plain characters, as in /v1/jobs/:id and /v1/jobs\:purge.
// Literals are compared byte for byte with a path in the normal form of RFC 3986 section 6.2.2: unreserved characters
// plain, every other escape with capital digits. Patterns are brought to that form when they are compiled, so that
// /caf%c3%a9, /café and /%63af%C3%A9 are one pattern. A path that does not begin with '/' (the asterisk of OPTIONS, the
// authority of CONNECT) is matched by no route.
//
// # The order
//
// Of the routes that match a request, the most specific wins. The order is total and the order of the file has no part
// in it. The first of these that tells two matching routes apart decides:
//
//  1. Host: exact before wildcard, a longer wildcard before a shorter, any host last.
//  2. Path: at the first segment in which the patterns differ, text before :parameter before *wildcard.
//  3. Listener: a route that names one before a route for all.
//  4. Methods: fewer before more, all methods last (GET counts as two, with HEAD).
//  5. Predicates: more before fewer.
//  6. Predicates: the stronger and then the longer first, as [match.Compare] says.
//  7. The canonical text of the match, in byte order, if nothing else decides.
//
// A route that fails in any part simply does not match, and the next in this order is tried, on the next less specific
// path and then host too: /a/:x catches what /a/b refused because of a header. If every route on a request's path
// fails and one fails by its methods alone, the answer is "method not allowed" with the methods of all such routes.
//
// Two routes that only step 7 can tell apart, and that one request without repeated names can match, are ambiguous: an
// error, because the winner would depend on spelling. Repeated names are left out of that judgement: "x-env: dev" and
// "x-env: prod" both hold for a request that sends both fields, and a table with a route for each is nevertheless what
// everyone means. Such a request takes the first by step 7.
//
// # The table
//
// One flat hash table each for hosts, for paths without parameters and for those edges of the tries that a node does not
// hold itself; nodes and routes are numbers into slices, and what a lookup touches is kept small and together, since at
// 100,000 routes it costs what it misses in the caches. Exact paths need one probe, as they come before everything else on
// their host. A map for each node was the first idea: clearer, but a map is some hundred bytes before its first child.
//
// Routes on one host and path are asked one after the other. Where very many of them ask for an exact value of one name,
// a tenant in a header, that value is looked up and the others are not asked.
//
// A lookup may try text, parameter and wildcard at each segment and come back, so its worst case is the number of trie
// nodes that match a prefix of the path: at most 2^n for n segments, and only if the table holds that many. It is the
// author of the table who decides that, never the client.
package route

// Package match holds predicates over the head of a request: its method, header fields, query parameters and cookies.
// A [Spec] is compiled once into a [Matcher]; its predicates are then asked about any number of requests, from any number
// of goroutines, without allocating.
//
// # What is looked at
//
//   - Header names are compared without regard to ASCII case, values byte for byte. A dash and an underscore are
//     different bytes here; whoever parses the head refuses names that upstreams could confuse.
//   - Query parameters are the parts between '&' (a ';' separates nothing), cut at the first '='. Name and value are
//     compared decoded: %XX becomes its byte and '+' a space; an escape that is not two hex digits stands for itself.
//     Names are case-sensitive.
//   - Cookies are the parts between ';' of every Cookie field of the head, cut at the first '='; blanks around name
//     and value, and one pair of double quotes around a value, are not part of it (RFC 6265 section 4.1.1). A part
//     without '=' is a cookie with an empty value. Names are case-sensitive.
//   - A regex is RE2 and must match the whole value, so that "admin" does not let "notadmin" through.
//
// # Several values under one name
//
// A client may send a field, a parameter or a cookie twice, and then the upstream may not read the same one as a rule
// that stops at the first. Every value is therefore looked at. A predicate holds when at least one value meets it, and with
// [Condition.Not] when no value does: putting a harmless value in front of a forbidden one does not get around a rule
// that refuses. Where a rule grants something and somebody else appends to what the client sent, [Condition.Every] is
// the safe form: the name must be there and every value must meet the predicate. The values of one field line are not
// cut at commas: only some fields are lists (RFC 9110 section 5.6.1), and cutting a date or a user agent would invent
// values nobody sent. Ask for [Contains] or [Regex] there.
//
// # Methods
//
// Methods are a set of case-sensitive names; GET in it stands for HEAD as well, as in Go's ServeMux, since RFC 9110
// section 9.3.2 makes HEAD a GET whose content is left out. An empty set is every method.
//
// The package also reasons about predicates, for whoever compiles rules: [Compare] ranks matchers by how specific they
// are and [Solve] looks for a request that meets some and breaks others. It does not look at host or path, which are
// the business of policy/route, and it normalises nothing.
package match

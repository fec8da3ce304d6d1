// Package sizes is the filter that bounds requests of one route: the target, the head, the number of fields, the body.
//
// A listener has such bounds for all that it takes, and has held a request against them before a route is chosen; so a filter can
// only be stricter. It sees a request as the filters before it have made it, and a body whose length was not declared as it passes.
package sizes

// Package colour is the filter that marks requests at the edge, so that everything behind it can go by the marks: a trace's id, the
// group of an experiment, the user, the kind of device. They are header fields, so they reach the upstream, and rules of splits, keys of guards and
// the access log can name them.
//
// What clients send under these names is dropped, unless the document says to accept it, and then it has to be of the right form.
package colour

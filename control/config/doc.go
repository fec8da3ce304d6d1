// Package config is the configuration document of Yumen: one YAML text (JSON is a subset) in, one typed,
// normalised and fully defaulted Document out, or every reason why not, each with its place and the likely fix.
//
// It owns the vocabulary. Each key is described once, in the tables of [object] values next to the type it fills
// (listener.go, route.go, cluster.go ...): its name, what it takes, its default and why. The parser, the renderer of
// the effective configuration, the JSON Schema and the reference page are all read from those tables, so they cannot
// disagree.
//
// Three rules keep a document readable by a machine and by a person alike:
//
//   - Strict. An unknown key, a wrong type, a duplicate key, a dangling reference is an error, and all of them are
//     reported at once. Nothing is silently ignored.
//   - One meaning. Short forms exist for the common case (listen: ":8080"), and are gone after Parse: a Document holds
//     the long form only, and says every default.
//   - Text is not structure. ${NAME} is replaced inside scalar values after the YAML has been read, so that a value
//     from the environment can never add a key, end a string or open a list.
//
// It deliberately does not compile anything: whether a path pattern is well formed, two routes collide or a route can
// never be reached is found by the compiler, which points into the text with the Pos every part of a Document carries.
// It does no I/O beyond reading the file it is told to read, resolves no name and starts nothing.
package config

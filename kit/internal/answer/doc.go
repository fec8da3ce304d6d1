// Package answer is what the middlewares of the kit have in common about answers: the writer that remembers one, and the form
// of a refusal.
package answer

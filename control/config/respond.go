package config

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Respond is an answer of the gateway itself.
type Respond struct {
	Pos
	Status  int
	Body    string
	Headers []Field
}

// respondBodyMax keeps documents small: an answer is a sentence, files are for file servers.
const respondBodyMax = 1 << 20

var respondObject = sync.OnceValue(func() *object[Respond] {
	type T = Respond
	return &object[T]{
		name: "respond", article: "a",
		about: "An answer of the gateway itself.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			def("status", integer(200, 599), func(v *T) *int { return &v.Status }, 200, `The status.`),
			may("body", text("body", func(s string) (cause, fix string) {
				if len(s) > respondBodyMax {
					return "the body is longer than " + formatSize(respondBodyMax), "let a server send it"
				}
				return "", ""
			}), func(v *T) *string { return &v.Body }, `The body.`),
			may("headers", fields(), func(v *T) *[]Field { return &v.Headers },
				`Header fields. Content-Type is text/plain; charset=utf-8 unless given.`),
		},
		short: &short[T]{
			about:  "a status",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { integer(200, 599).read(d, n, &v.Status) },
			schema: func(b *schemaBuilder) map[string]any { return integer(200, 599).schema(b) },
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			// RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
			if v.Body != "" && (v.Status == 204 || v.Status == 205 || v.Status == 304) {
				d.fail(g.key("body"), "remove the body, or answer with 200", "an answer with status %d has no body", v.Status)
			}
		},
	}
})

// Redirect is an answer that sends the client elsewhere.
type Redirect struct {
	Pos
	To     string
	Status int
}

// redirectStatuses are those with a Location (RFC 9110 section 15.4).
var redirectStatuses = []int{301, 302, 303, 307, 308}

var redirectObject = sync.OnceValue(func() *object[Redirect] {
	type T = Redirect
	return &object[T]{
		name: "redirect", article: "a",
		about: "An answer that sends the client elsewhere.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("to", text("target", isTarget), func(v *T) *string { return &v.To },
				`Where to: a URL (https://example.com/new), or a path on the same host (/new). :name and *rest as whole segments are the parameters of the route's path: /new/:id/*rest. In braces stand parts of the request: {scheme}, {host} without its port, {path} with its slash, {query} with its question mark, empty without one: https://{host}{path}{query}.`),
			def("status", redirectStatus(), func(v *T) *int { return &v.Status }, 302,
				`301, 302, 303, 307 or 308. Found: browsers remember 301 and 308 for good, which is for those who are sure.`),
		},
		short: &short[T]{
			about:  "a target",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { text("target", isTarget).read(d, n, &v.To) },
			schema: func(*schemaBuilder) map[string]any { return map[string]any{"type": "string"} },
		},
	}
})

func redirectStatus() kind[int] {
	k := integer(100, 599)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *int) {
		status := *v
		read(d, n, &status)
		if !slices.Contains(redirectStatuses, status) {
			d.fail(n, "use 301, 302, 303, 307 or 308", "status %d does not send a client elsewhere", status)
			return
		}
		*v = status
	}
	k.schema = func(*schemaBuilder) map[string]any {
		enum := make([]any, 0, 2*len(redirectStatuses))
		for _, s := range redirectStatuses {
			enum = append(enum, s, strconv.Itoa(s))
		}
		return orVariable(map[string]any{"enum": enum})
	}
	return k
}

func isTarget(s string) (cause, fix string) {
	if cause, fix = fieldValue(s); cause != "" {
		return "the target is not a URL: " + cause, fix
	}
	for _, start := range []string{"/", "http://", "https://"} {
		if strings.HasPrefix(s, start) && !strings.ContainsAny(s, " \"<>\\") {
			return "", ""
		}
	}
	return quote(s) + " is not a target", "write a URL (https://example.com/new) or a path (/new)"
}

package config

import (
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// CORSFilter tells browsers which pages of other origins may use a route.
type CORSFilter struct {
	Pos
	Origins        []CORSOrigin
	Methods        []string
	Headers        []string
	Expose         []string
	Credentials    bool
	MaxAge         time.Duration // 0: none
	PrivateNetwork bool
	Guard          GuardMode
}

func (v *CORSFilter) guardMode() GuardMode { return v.Guard }

// CORSOrigin is an origin of pages, or an expression for some.
type CORSOrigin struct {
	Pos
	Text  string
	Regex bool
}

var corsFilterObject = sync.OnceValue(func() *object[CORSFilter] {
	type T = CORSFilter
	return &object[T]{
		name: "cors", article: "a",
		about: "Tells browsers which pages of other origins may use a route (CORS of the Fetch standard). Preflights are answered here; what the upstream says in Access-Control-* fields is replaced. Put it before guards that ask for credentials: a preflight has none.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("origins", oneOrMore(corsOrigin()), func(v *T) *[]CORSOrigin { return &v.Origins }, `Origins whose pages may: https://example.com, https://*.example.com for all below it, {regex: ...} for those it matches as a whole, or "*" for any. With "*" there are no credentials.`),
			def("methods", oneOrMore(text("method", anyOr(isMethod))), func(v *T) *[]string { return &v.Methods }, []string{"GET", "HEAD", "POST"}, `Methods they may use, or "*" for any. By default what browsers let every page use; GET, HEAD and POST need no leave.`),
			def("headers", oneOrMore(text("header name", anyOr(fieldNameText))), func(v *T) *[]string { return &v.Headers }, []string{"Content-Type"}, `Header fields they may send, or "*" for any. By default Content-Type, which JSON needs. With "*" a page may send whatever the upstream believes.`),
			may("expose", oneOrMore(text("header name", anyOr(fieldNameText))), func(v *T) *[]string { return &v.Expose }, `Header fields of answers that pages may read, beside the few that the standard lets them read.`),
			def("credentials", boolean(), func(v *T) *bool { return &v.Credentials }, false, `Let pages send the visitor's cookies and read what comes back: they act for whoever visits them. Off for that reason.`),
			def("max_age", orOff(duration(time.Second, 24*time.Hour)), func(v *T) *time.Duration { return &v.MaxAge }, 10*time.Minute, `How long a browser may keep the answer to a preflight, or off to say nothing, which means 5 seconds. Browsers have bounds of their own, from ten minutes on: a longer time does little, and a change of the settings takes that long.`),
			def("private_network", boolean(), func(v *T) *bool { return &v.PrivateNetwork }, false, `Let public pages use this although it is in a private network (Access-Control-Allow-Private-Network). Off: it opens what stands behind a firewall.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, `enforce, shadow (preflights are judged and counted, and go to the upstream; answers stay as they are) or off. Enforced by default.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			refuseTwiceAt(d, g, "methods", v.Methods)
			refuseTwiceAt(d, g, "headers", v.Headers)
			refuseTwiceAt(d, g, "expose", v.Expose)
			if g.clean && len(v.Origins) == 0 {
				d.fail(n, "write origins: https://example.com", "there are no origins")
			}
		},
	}
})

// corsOrigin is an origin as it is, or a map with an expression.
func corsOrigin() kind[CORSOrigin] {
	inner := section(corsOriginObject)
	return kind[CORSOrigin]{word: "origin", read: inner.read, schema: inner.schema, inside: inner.inside,
		write: func(v *CORSOrigin) *yaml.Node {
			if v.Regex {
				return inner.write(v)
			}
			return textNode(v.Text)
		},
	}
}

var corsOriginObject = sync.OnceValue(func() *object[CORSOrigin] {
	type T = CORSOrigin
	return &object[T]{
		name: "cors_origin", article: "a",
		about: "Origins of pages: an origin, or {regex: ...}.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("regex", text("regular expression", notEmpty), func(v *T) *string { return &v.Text }, `Regular expression (RE2) that has to match all of an origin: https://(a|b)\.example\.com. One that takes in any origin is refused.`).
				then(func(_ *decoder, v *T, n *yaml.Node) { v.Regex = n != nil }),
		},
		short: &short[T]{
			about: "an origin",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				text("origin", notEmpty).read(d, n, &v.Text)
			},
			schema: text("origin").schema,
		},
	}
})

// anyOr accepts "*" and whatever else a check does.
func anyOr(inner check) check {
	return func(s string) (cause, fix string) {
		if s == "*" {
			return "", ""
		}
		return inner(s)
	}
}

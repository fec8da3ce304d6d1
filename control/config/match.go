package config

import (
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Match is which requests a route takes: those for which everything said holds. Whether the patterns are well formed
// and go together is found by the compiler.
type Match struct {
	Pos
	Listeners []Text // empty for all
	Hosts     []Text // in lower case; empty for all
	Path      Text   // "/*" for all
	Methods   []Text // empty for all
	Headers   []Predicate
	Query     []Predicate
	Cookies   []Predicate

	grpc *grpcMatch // while it is read
}

// anyPath is the path of a route that does not say one.
const anyPath = "/*"

var matchObject = sync.OnceValue(func() *object[Match] {
	return &object[Match]{
		name: "match", article: "a",
		about: "Which requests a route takes: those for which everything said holds.",
		pos:   func(v *Match) *Pos { return &v.Pos },
		keys: matchKeys(may[Match, []Text], may[Match, []Predicate], pathKey(),
			other("grpc", present(grpcMatchObject), func(v *Match) **grpcMatch { return &v.grpc }, aboutGRPC),
			func(v *Match) *Match { return v }),
	}
})

func pathKey() key[Match] {
	return always("path", pathPattern(), func(v *Match) *Text { return &v.Path }, aboutPath)
}

const aboutPath = "Pattern of the path: /users is exact, /users/:id takes one segment, /static/*rest takes all that follows. By default /*, any path."

func pathPattern() kind[Text] {
	return place("path pattern", func(s string) (cause, fix string) {
		switch {
		case s == "*":
			return `"*" is not a path`, `write "/*" for any path`
		case strings.HasPrefix(s, "^") || strings.HasPrefix(s, "~"):
			return quote(s) + " is a regular expression, not a path pattern", "write /users/:id for one segment, /static/*rest for all below"
		case !strings.HasPrefix(s, "/"):
			if host, path, ok := strings.Cut(s, "/"); ok && strings.Contains(host, ".") && isHostName(host) {
				return quote(s) + " begins with a host", "write host: " + host + " and path: /" + path
			}
			return quote(s) + " does not begin with a slash", "write " + quote("/"+s)
		}
		return "", ""
	})
}

// matchKeys are the keys of a match, which a route may also hold itself: S is either.
func matchKeys[S any](texts func(string, kind[[]Text], func(*S) *[]Text, string) key[S],
	conditions func(string, kind[[]Predicate], func(*S) *[]Predicate, string) key[S],
	path, grpc key[S], in func(*S) *Match,
) []key[S] {
	return []key[S]{
		texts("listener", oneOrMore(listenerName()), func(v *S) *[]Text { return &in(v).Listeners },
			`Listeners, by name. By default all but those of protocol tcp and tls, whose routes name them.`),
		texts("host", oneOrMore(hostPattern()), func(v *S) *[]Text { return &in(v).Hosts },
			`Hosts: example.com, or *.example.com for all below it. On a tls listener the names clients ask for (SNI). By default all.`),
		path,
		texts("methods", oneOrMore(place("method", isMethod)), func(v *S) *[]Text { return &in(v).Methods },
			`Methods. By default all.`),
		grpc.then(func(d *decoder, v *S, n *yaml.Node) { takeGRPC(d, in(v), n) }),
		conditions("headers", predicates(fieldNameText, strings.ToLower), func(v *S) *[]Predicate { return &in(v).Headers },
			`Conditions on header fields, by name.`),
		conditions("query", predicates(predicateName, asWritten), func(v *S) *[]Predicate { return &in(v).Query },
			`Conditions on query parameters, by name.`),
		conditions("cookies", predicates(fieldNameText, asWritten), func(v *S) *[]Predicate { return &in(v).Cookies },
			`Conditions on cookies, by name.`),
	}
}

func listenerName() kind[Text] {
	k := place("name of a listener")
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *Text) {
		read(d, n, v)
		if v.Value != "" {
			d.refers(n, "listener", v.Value, d.listenerNames)
		}
	}
	return k
}

// hostPattern is a host in lower case.
func hostPattern() kind[Text] {
	k := place("host", func(s string) (cause, fix string) {
		if _, rest, isURL := strings.Cut(s, "://"); isURL {
			rest, _, _ = strings.Cut(rest, "/")
			return quote(s) + " is a URL, not a host", "write " + quote(rest)
		}
		if host, path, ok := strings.Cut(s, "/"); ok {
			return quote(s) + " holds a path", "write host: " + host + " and path: /" + path
		}
		if host, port, ok := strings.Cut(s, ":"); ok && isDigits(port) {
			return quote(s) + " holds a port", "write " + quote(host) + "; the port is that of the listener"
		}
		if s == "" || strings.ContainsAny(s, " \t\r\n") {
			return quote(s) + " is not a host", `write example.com, or "*.example.com" for all below it`
		}
		return "", ""
	})
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *Text) {
		read(d, n, v)
		v.Value = strings.ToLower(v.Value)
	}
	return k
}

// isMethod accepts a token. Methods are case-sensitive (RFC 9110 section 9.1), and nobody has ever meant get.
func isMethod(s string) (cause, fix string) {
	switch upper := strings.ToUpper(s); {
	case !isToken(s):
		return quote(s) + " is not a method", "write GET, POST ..."
	case s != upper:
		return quote(s) + " is not a method: methods are in capitals", "write " + upper
	}
	return "", ""
}

func predicateName(s string) (cause, fix string) {
	if s == "" || len(s) > 256 {
		return quote(s) + " is not a name", ""
	}
	return "", ""
}

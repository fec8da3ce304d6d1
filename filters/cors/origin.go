package cors

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Origin is an origin of pages, as a document says it: scheme://host:port, with "*." before the host for all below it; "*" for any; or a
// regular expression, which has to match all of an origin.
type Origin struct {
	Text  string
	Regex bool
}

// matcher is a compiled Origin.
type matcher struct {
	exact          string // empty: another form
	before, behind string // of a wildcard: "https://" and ".example.com"
	regex          *regexp.Regexp
}

// strangers are origins that nobody means: an expression that takes one in takes in any.
var strangers = []string{"https://stranger.invalid", "http://stranger.invalid", "https://a.stranger.invalid:8443"}

// compile makes a matcher, or says what is wrong with an origin; any is for "*".
func compile(o Origin) (m matcher, any bool, cause, fix string) {
	if o.Regex {
		re, err := regexp.Compile(`\A(?:` + o.Text + `)\z`)
		if err != nil {
			return m, false, fmt.Sprintf("%q is no regular expression: %v", o.Text, err), "the syntax is that of RE2"
		}
		for _, s := range strangers {
			if re.MatchString(s) {
				return m, false, fmt.Sprintf("%q takes in origins that nobody means, such as %s", o.Text, s), `name the host, with \. for its dots; any origin at all is "*"`
			}
		}
		return matcher{regex: re}, false, "", ""
	}
	text := o.Text
	switch {
	case text == "*":
		return m, true, "", ""
	case text == "null":
		return m, false, `"null" is the origin of every page that hides its own, such as a sandboxed frame of anybody's`, "remove it, and give the page an origin"
	}
	scheme, host, ok := strings.Cut(text, "://")
	if !ok {
		return m, false, fmt.Sprintf("%q is not an origin: it has no scheme", text), "write https://" + text
	}
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		return m, false, fmt.Sprintf("%q is a URL, not an origin", text), "write " + scheme + "://" + host[:i]
	}
	if lower := strings.ToLower(text); lower != text {
		return m, false, fmt.Sprintf("%q is not in lower case, as browsers write origins", text), "write " + lower
	}
	name, port, hasPort := host, "", false
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name, port, hasPort = host[:i], host[i+1:], true
	}
	if hasPort && (port == "80" && scheme == "http" || port == "443" && scheme == "https") {
		return m, false, fmt.Sprintf("%q has the scheme's own port, which browsers leave out", text), "write " + scheme + "://" + name
	}
	below, wild := strings.CutPrefix(name, "*.")
	if wild {
		name = below
	}
	switch {
	case scheme == "" || name == "" || hasPort && !isDigits(port) || !isHost(name):
		return m, false, fmt.Sprintf("%q is not an origin", text), "write https://example.com, https://*.example.com or https://example.com:8443"
	case wild && !strings.Contains(name, "."):
		return m, false, fmt.Sprintf("%q takes in every host that ends in %q", text, name), "write more of the name: https://*.example." + name
	case wild:
		return matcher{before: scheme + "://", behind: "." + strings.TrimPrefix(host, "*.")}, false, "", ""
	}
	return matcher{exact: text}, false, "", ""
}

func isDigits(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

// isHost accepts what a browser writes for a host: a name in ASCII, or an address.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6()
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-._") == "" && s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

func (m *matcher) match(origin []byte) bool {
	switch {
	case m.exact != "":
		return string(origin) == m.exact
	case m.regex != nil:
		return m.regex.Match(origin)
	}
	if len(origin) <= len(m.before)+len(m.behind) || !bytes.HasPrefix(origin, []byte(m.before)) || !bytes.HasSuffix(origin, []byte(m.behind)) {
		return false
	}
	// Only labels may stand for the star: "https://evil.test/.example.com" is no origin, and must not pass for one.
	for _, c := range origin[len(m.before) : len(origin)-len(m.behind)] {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return origin[len(m.before)] != '.'
}

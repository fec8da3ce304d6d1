package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard refuses what a browser may have been talked into. The API has no passwords: whoever reaches its address may use
// it, and a web page that runs in a browser on this machine reaches it too. Two doors are open to such a page, and each has
// its lock:
//
//   - DNS rebinding: the page's own name is made to mean 127.0.0.1, so that the browser takes the API for the page's own
//     origin. The name is then in Host, so only names that nobody else can own are taken there.
//   - Cross-site requests: the page sends a form or an image request without being able to read the answer. What changes
//     something, or costs much, is refused unless it comes from the same origin or from no page at all.
type guard struct {
	host   string // the configured one, lower case; empty for every address
	cross  *http.CrossOriginProtection
	next   http.Handler
	costly func(path string) bool
}

func newGuard(address string, costly func(path string) bool, next http.Handler) *guard {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return &guard{host: strings.ToLower(host), cross: http.NewCrossOriginProtection(), costly: costly, next: next}
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.knows(r.Host) {
		answerError(w, r, http.StatusMisdirectedRequest, failure{
			Error: "the admin API does not answer for the host " + quote(r.Host),
			Fix:   "ask for it by its address or as localhost: another name may be one that a web page made point here",
		})
		return
	}
	judged := r
	if g.costly(r.URL.Path) {
		// Judged as if it changed something: the answer is kept from a foreign page either way, the work is not.
		copied := *r
		copied.Method = http.MethodPost
		judged = &copied
	}
	if err := g.cross.Check(judged); err != nil {
		answerError(w, r, http.StatusForbidden, failure{
			Error: "the request was made by a web page of another site",
			Fix:   "use curl or the yumen command, or a page served by the admin API itself",
		})
		return
	}
	g.next.ServeHTTP(w, r)
}

// knows reports whether a Host is one that a stranger cannot have made point here. An address is what it says; localhost
// is kept local by resolvers (RFC 6761 section 6.3); a name without a dot is not a public one. On loopback nothing but
// this machine's own names makes sense.
func (g *guard) knows(host string) bool {
	name := hostOf(host)
	if name == g.host && name != "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	configured, err := netip.ParseAddr(g.host)
	loopback := g.host == "localhost" || err == nil && configured.IsLoopback()
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.IsLoopback() || !loopback
	}
	return !loopback && name != "" && !strings.ContainsAny(name, ".:")
}

// hostOf is a Host without port and brackets, in lower case, without the dot that may end a name.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

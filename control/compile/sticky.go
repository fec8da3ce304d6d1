package compile

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/yumen-io/yumen/control/config"
)

// checkAddressKeys points at filters that divide requests by the client's address for want of a key, where many clients have one
// address: a canary gets none of their requests, or all of them. Who writes key: client_address has been asked.
func (c *compiler) checkAddressKeys() {
	told := map[any]bool{} // a filter with a name is told of once, however many routes use it
	for i := range c.doc.Routes {
		r := &c.doc.Routes[i]
		for j := range r.Filters {
			said := r.Filters[j].Filter
			what, parts, fix := dividesByAddress(said.Body)
			if what == "" || told[said.Body] {
				continue
			}
			why := c.oneAddress(r)
			if why == "" {
				continue
			}
			told[said.Body] = true
			where := c.inRoute(i, "filters["+strconv.Itoa(j)+"]", r.Filters[j].Pos)
			if said.Name != "" {
				where = at{said.Pos, "filters" + member(said.Name)}
			}
			c.warn(where, fmt.Sprintf("%s goes by the client's address, and %s: %s gets none of these requests, or all", what, why, parts), fix)
		}
	}
}

// dividesByAddress tells what divides requests by nothing but the client's address, into what, and what to write instead; what is empty for
// other filters.
func dividesByAddress(body any) (what, parts, fix string) {
	switch said := body.(type) {
	case *config.SplitFilter:
		some := func(v config.SplitVariant) bool { return v.Weight == nil || *v.Weight > 0 && *v.Weight < 100 }
		if len(said.Key) > 0 || said.Cookie != nil || said.Canary == nil && !slices.ContainsFunc(said.Variants, some) {
			return "", "", ""
		}
		return "a split without key: and cookie:", "a variant",
			"add cookie: group for browsers, key: {header: x-user-id} for others, or key: client_address if it is meant"
	case *config.ColourFilter:
		if said.Group == nil || len(said.Group.Key) > 0 || len(said.Group.Groups) < 2 {
			return "", "", ""
		}
		return "an abtest_group without key:", "a group", "add key: {header: x-user-id}, or key: client_address if it is meant"
	}
	return "", "", ""
}

// oneAddress says why clients of a route may have one address; empty if nothing in the document says so.
func (c *compiler) oneAddress(r *config.Route) string {
	for j := range c.doc.Listeners {
		l := &c.doc.Listeners[j]
		named := func(t config.Text) bool { return t.Value == l.Name }
		switch {
		case l.IsRaw() || len(r.Match.Listeners) > 0 && !slices.ContainsFunc(r.Match.Listeners, named):
		case len(l.Trust.ForwardedFrom) > 0:
			return fmt.Sprintf("on listener %q that is a proxy's own wherever one of trust.forwarded_from does not name its client in X-Forwarded-For", l.Name)
		case l.Address.IsLoopback() && l.ProxyProtocol == nil:
			return fmt.Sprintf("on listener %q, which only this machine can reach, that is one for all", l.Name)
		}
	}
	return ""
}

package config

import (
	"net/netip"
	"slices"
	"strings"
)

// checkRawRoute tells the routes of tcp and tls listeners from those of requests, and refuses what only requests have.
func checkRawRoute(d *decoder, v *Route, g given[Route]) {
	var raw, cooked, byName, blind *Listener
	for _, name := range v.Match.Listeners {
		l := d.listeners[name.Value]
		switch {
		case l == nil:
			return // reported where it stands
		case !l.IsRaw():
			cooked = l
			continue
		case l.Speaks(ProtocolTLS):
			byName = l
		default:
			blind = l
		}
		raw = l
	}
	c := d.clusterOf(v)
	if raw == nil {
		if c != nil && c.Protocol == ProtocolTCP {
			d.at("cluster", func() {
				d.fail(nodeAt(v.Cluster.Pos), "add listener: with the name of a tcp or tls listener, or remove protocol: tcp from the cluster",
					"cluster %s takes bytes (protocol: tcp), and the route sends requests", quote(c.Name))
			})
		}
		return
	}
	v.Raw = true
	if cooked != nil {
		d.inMatch(g, "listener", func() {
			d.fail(nodeAt(v.Match.Listeners[0].Pos), "write a route for each", "listener %s reads requests, and %s passes bytes on: no route is for both",
				quote(cooked.Name), quote(raw.Name))
		})
		return
	}
	checkRawMatch(d, &v.Match, g, raw, byName, blind)
	for _, name := range []string{"respond", "redirect", "filters", "retry"} {
		if at := g.key(name); at != nil && (name != "retry" || v.Retry.hasAnswers()) {
			fix := "remove it"
			switch name {
			case "respond", "redirect":
				fix = "write cluster:"
			case "retry":
				fix = "write on: [connect], or remove it"
			}
			d.at(name, func() {
				d.fail(at, fix, "listener %s passes bytes on, and %s is for requests", quote(raw.Name), name)
			})
		}
	}
	if k := v.HashOn; k != nil && k.Source != HashClientAddress {
		d.at("hash_on", func() {
			d.fail(nodeAt(k.Pos), "write hash_on: client_address", "bytes that are passed on have no %s", strings.ReplaceAll(string(k.Source), "_", " "))
		})
	}
	if c != nil && c.Protocol != ProtocolTCP {
		d.at("cluster", func() {
			d.fail(nodeAt(v.Cluster.Pos), "add protocol: tcp to the cluster", "listener %s passes bytes on, and cluster %s takes requests (protocol: %s)",
				quote(raw.Name), quote(c.Name), c.Protocol)
		})
	}
}

// clusterOf is the cluster of the route, nil if it has none that is known.
func (d *decoder) clusterOf(v *Route) *Cluster {
	if i, ok := d.clusterNames.find(v.Cluster.Value); ok {
		return &d.doc.Clusters[i]
	}
	return nil
}

// inMatch reports something about a key of match, wherever the route has it.
func (d *decoder) inMatch(g given[Route], name string, report func()) {
	if g.key("match") == nil {
		d.at(name, report)
		return
	}
	d.at("match", func() { d.at(name, report) })
}

// checkRawMatch refuses conditions on what is not known of a connection whose bytes are passed on.
func checkRawMatch(d *decoder, m *Match, g given[Route], raw, byName, blind *Listener) {
	refuse := func(name string, at Pos, fix string) {
		d.inMatch(g, name, func() {
			d.fail(nodeAt(at), fix, "listener %s passes bytes on and sees no %s", quote(raw.Name), name)
		})
	}
	if len(m.Hosts) > 0 && blind != nil {
		d.inMatch(g, "host", func() {
			d.fail(nodeAt(m.Hosts[0].Pos), "remove it, or give the listener protocols: tls, which sees the host clients ask for",
				"listener %s is tcp: it passes bytes on and sees no host", quote(blind.Name))
		})
	} else if byName != nil {
		for i := range m.Hosts {
			if cause, fix := askedName(m.Hosts[i].Value); cause != "" {
				d.inMatch(g, "host", func() { d.fail(nodeAt(m.Hosts[i].Pos), fix, "%s", cause) })
			}
		}
	}
	if m.Path.Value != anyPath {
		refuse("path", m.Path.Pos, "remove it")
	}
	if len(m.Methods) > 0 {
		refuse("methods", m.Methods[0].Pos, "remove it")
	}
	for _, part := range []struct {
		name string
		list []Predicate
	}{{"headers", m.Headers}, {"query", m.Query}, {"cookies", m.Cookies}} {
		if len(part.list) > 0 {
			refuse(part.name, part.list[0].Pos, "remove it")
		}
	}
}

// askedName judges a host by which a tls listener routes. RFC 6066 section 3: a client asks for a DNS name.
func askedName(s string) (cause, fix string) {
	if _, err := netip.ParseAddr(s); err == nil {
		return quote(s) + " is an address, and clients ask for names only (SNI)", "write a name, or remove host to take those that ask for none"
	}
	if s == "*" {
		return `"*" is not a host`, "remove host to take every name, and clients that ask for none"
	}
	if rest, _ := strings.CutPrefix(s, "*."); !isHostName(rest) {
		return quote(s) + " is not a host", `write example.com, or "*.example.com" for all below it`
	}
	return "", ""
}

// hasAnswers reports reasons to try again that are found in an answer, or in its absence.
func (r *Retry) hasAnswers() bool {
	return r.Attempts > 1 && (len(r.On.Statuses) > 0 || len(r.On.GRPC) > 0)
}

// checkRawRoutes looks whether every connection of a tcp or tls listener has one place to go, and every route a listener
// that takes its requests.
func checkRawRoutes(d *decoder, doc *Document) {
	takers := make(map[string]map[string]*Route) // listener, host ("" for the rest) to route
	requests := len(doc.Listeners) == 0 || slices.ContainsFunc(doc.Listeners, func(l Listener) bool { return !l.IsRaw() })
	for i := range doc.Routes {
		r := &doc.Routes[i]
		if !r.Raw {
			if !requests {
				d.atRoute(i, func() {
					d.warn(nodeAt(r.Pos), "add its listener, or one that reads requests", "no listener reads requests, so that the route takes none; tcp and tls listeners have the routes that name them")
				})
			}
			continue
		}
		for _, name := range r.Match.Listeners {
			takeRaw(d, takers, i, r, d.listeners[name.Value])
		}
	}
	for i := range doc.Listeners {
		if l := &doc.Listeners[i]; l.IsRaw() && takers[l.Name] == nil {
			d.atListener(i, func() {
				d.fail(nodeAt(l.Pos), "add the route {listener: "+l.Name+", cluster: NAME}", "no route names listener %s, so that its connections have nowhere to go", quote(l.Name))
			})
		}
	}
}

func takeRaw(d *decoder, takers map[string]map[string]*Route, i int, r *Route, l *Listener) {
	hosts := []string{""}
	if len(r.Match.Hosts) > 0 {
		hosts = hosts[:0]
		for _, h := range r.Match.Hosts {
			hosts = append(hosts, h.Value)
		}
	}
	if takers[l.Name] == nil {
		takers[l.Name] = make(map[string]*Route)
	}
	for _, host := range hosts {
		earlier := takers[l.Name][host]
		takers[l.Name][host] = r
		if earlier == nil {
			continue
		}
		d.atRoute(i, func() {
			switch {
			case !l.Speaks(ProtocolTLS):
				d.fail(nodeAt(r.Pos), "keep one of them; several endpoints in its cluster share the connections", "listener %s is tcp and has one route, found a second: the first is in line %d",
					quote(l.Name), earlier.Pos.Line)
			case host == "":
				d.fail(nodeAt(r.Pos), "add host: to one of them", "two routes take what no other takes on listener %s: the first is in line %d", quote(l.Name), earlier.Pos.Line)
			default:
				d.fail(nodeAt(r.Pos), "keep one of them", "two routes take %s on listener %s: the first is in line %d", quote(host), quote(l.Name), earlier.Pos.Line)
			}
		})
	}
}

func (d *decoder) atRoute(i int, report func()) {
	d.at("routes", func() {
		d.path = append(d.path, step{index: i})
		report()
		d.path = d.path[:len(d.path)-1]
	})
}

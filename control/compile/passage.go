package compile

import "strings"

// PassagePlan is where the connections of a listener go that carries bytes and no requests. Routes are numbers in
// Plan.Routes.
type PassagePlan struct {
	Listener  string
	Names     map[string]int
	Wildcards map[string]int // by what follows the star: ".example.com"
	Default   int            // -1: none
}

// compilePassages adds the routes of such listeners behind those of the table, which does not know them.
func (c *compiler) compilePassages(plans []RoutePlan) {
	for i := range c.doc.Routes {
		said := &c.doc.Routes[i]
		if !said.Raw {
			continue
		}
		number := len(c.plan.Routes)
		c.plan.Routes = append(c.plan.Routes, &plans[i])
		for _, l := range said.Match.Listeners {
			c.addPassage(i, l.Value, number)
		}
	}
}

func (c *compiler) addPassage(i int, listener string, route int) {
	var p *PassagePlan
	for j := range c.plan.Passages {
		if c.plan.Passages[j].Listener == listener {
			p = &c.plan.Passages[j]
		}
	}
	if p == nil {
		c.plan.Passages = append(c.plan.Passages, PassagePlan{Listener: listener, Names: map[string]int{}, Wildcards: map[string]int{}, Default: -1})
		p = &c.plan.Passages[len(c.plan.Passages)-1]
	}
	hosts := c.doc.Routes[i].Match.Hosts
	if len(hosts) == 0 {
		if p.Default >= 0 {
			c.fail(c.inRoute(i, "", c.doc.Routes[i].Pos), "another route takes all connections of listener \""+listener+"\" already",
				"remove one of them, or give it a host")
			return
		}
		p.Default = route
	}
	for _, h := range hosts {
		to, name := p.Names, strings.ToLower(h.Value)
		if rest, ok := strings.CutPrefix(name, "*"); ok {
			to, name = p.Wildcards, rest
		}
		if _, twice := to[name]; twice {
			c.fail(c.inMatch(i, "host", h.Pos), "another route of listener \""+listener+"\" takes "+h.Value+" already", "remove one of them")
			continue
		}
		to[name] = route
	}
}

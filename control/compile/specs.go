package compile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/route"
)

// specs are the document's routes as the table takes them: a route of several listeners is a spec for each.
type specs struct {
	list []route.Spec
	of   []int32 // by spec: number of the route
}

// compileTable makes the table and says what is wrong with its routes. It returns the specs.
func (c *compiler) compileTable() specs {
	s := c.specs()
	table, problems := route.Compile(s.list)
	c.plan.Table = table
	c.reportRoutes(s, problems)
	return s
}

// specs translates all routes. Small lists are cut from a few large ones: a table has up to a million of them.
func (c *compiler) specs() specs {
	routes := c.doc.Routes
	var texts, conditions, more int
	for i := range routes {
		m := &routes[i].Match
		texts += len(m.Hosts) + len(m.Methods)
		conditions += len(m.Headers) + len(m.Query) + len(m.Cookies)
		more += max(0, len(m.Listeners)-1)
	}
	s := specs{list: make([]route.Spec, 0, len(routes)+more), of: make([]int32, 0, len(routes)+more)}
	strs, conds := make([]string, 0, texts), make([]match.Condition, 0, conditions)
	values := func(list []config.Text) []string {
		from := len(strs)
		for i := range list {
			strs = append(strs, list[i].Value)
		}
		return strs[from:len(strs):len(strs)]
	}
	predicates := func(list []config.Predicate) []match.Condition {
		from := len(conds)
		for i := range list {
			conds = append(conds, condition(&list[i]))
		}
		return conds[from:len(conds):len(conds)]
	}
	for i := range routes {
		m := &routes[i].Match
		if routes[i].Raw {
			continue // its connections carry no requests
		}
		spec := route.Spec{
			Name: routes[i].Name, Hosts: values(m.Hosts), Path: m.Path.Value,
			Match: match.Spec{
				Methods: values(m.Methods), Headers: predicates(m.Headers), Query: predicates(m.Query), Cookies: predicates(m.Cookies),
			},
		}
		if len(m.Listeners) == 0 {
			s.list, s.of = append(s.list, spec), append(s.of, int32(i))
		}
		for j, l := range m.Listeners {
			if slices.ContainsFunc(m.Listeners[:j], func(e config.Text) bool { return e.Value == l.Value }) {
				c.fail(c.inMatch(i, "listener["+strconv.Itoa(j)+"]", l.Pos), fmt.Sprintf("listener %q is listed twice", l.Value), "remove it")
				continue
			}
			spec.Listener = l.Value
			s.list, s.of = append(s.list, spec), append(s.of, int32(i))
		}
	}
	return s
}

func condition(p *config.Predicate) match.Condition {
	c := match.Condition{Name: p.Name, Value: p.Value, Not: p.Not}
	switch p.Op {
	case config.OpExact:
		c.Op = match.Exact
	case config.OpPrefix:
		c.Op = match.Prefix
	case config.OpSuffix:
		c.Op = match.Suffix
	case config.OpContains:
		c.Op = match.Contains
	case config.OpRegex:
		c.Op = match.Regex
	case config.OpPresent:
		c.Op, c.Value = match.Present, ""
	default:
		panic("compile: no way to compare " + p.Op) // the parser lists the same
	}
	return c
}

// reportRoutes brings the problems of the table back to the places they come from.
func (c *compiler) reportRoutes(s specs, problems []route.Problem) {
	told := map[string]bool{} // what two specs of one route have in common is said once
	for i := range problems {
		p := &problems[i]
		first := int(s.of[p.Routes[0]])
		r := &c.doc.Routes[first]
		out := Problem{Problem: config.Problem{
			File:  c.doc.File,
			Cause: strings.TrimPrefix(p.Text, fmt.Sprintf("route %q: ", r.Name)),
			Fix:   routeFixes[p.Kind],
		}}
		if p.Kind == route.BadPattern && p.Field == "path" {
			out.Fix = "patterns are /users for one path, /users/:id for one segment, /static/*rest for all below"
		}
		if p.Severity == route.Warning {
			out.Severity = config.SeverityWarning
		}
		where := c.place(first, p.Field)
		out.Line, out.Column, out.Path = where.Line, where.Column, where.path
		others := []int{first}
		for _, j := range p.Routes[1:] {
			if o := int(s.of[j]); !slices.Contains(others, o) {
				others = append(others, o)
			}
		}
		for _, o := range others[1:min(len(others), othersMax+1)] {
			where := c.place(o, "")
			out.Others = append(out.Others, Place{where.Line, where.Column, where.path})
		}
		if p.Witness != nil {
			out.Witness = p.Witness.String()
		}
		if len(s.list) > len(c.doc.Routes) {
			said := fmt.Sprint(p.Kind, p.Field, others)
			if told[said] {
				continue
			}
			told[said] = true
			if l := s.list[p.Routes[0]].Listener; p.Kind == route.Unreachable && len(r.Match.Listeners) > 1 {
				out.Cause += fmt.Sprintf(" (on listener %q)", l)
			}
		}
		c.report.add(out)
	}
}

// routeFixes are what most likely helps.
var routeFixes = [...]string{
	route.BadPattern:  "",
	route.BadMatch:    "",
	route.Duplicate:   "remove one of them, or let them differ in host, path, methods or conditions",
	route.Ambiguous:   "",
	route.Unreachable: "remove it, or let it ask for less than the routes before it",
	route.Unchecked:   "",
}

// place finds the part of a route that a problem of the table names.
func (c *compiler) place(i int, field string) at {
	r := &c.doc.Routes[i]
	list, index := field, -1
	if name, rest, ok := strings.Cut(field, "["); ok {
		if n, err := strconv.Atoi(strings.TrimSuffix(rest, "]")); err == nil {
			list, index = name, n
		}
	}
	text := func(key string, list []config.Text) at {
		if index < 0 || index >= len(list) {
			return c.inMatch(i, key, config.Pos{})
		}
		if len(list) > 1 {
			key += "[" + strconv.Itoa(index) + "]"
		}
		return c.inMatch(i, key, list[index].Pos)
	}
	predicate := func(key string, list []config.Predicate) at {
		if index < 0 || index >= len(list) {
			return c.inMatch(i, key, config.Pos{})
		}
		return c.inMatch(i, key+member(list[index].Name), list[index].Pos)
	}
	switch list {
	case "path":
		return c.inMatch(i, "path", r.Match.Path.Pos)
	case "hosts":
		return text("host", r.Match.Hosts)
	case "match.methods":
		return text("methods", r.Match.Methods)
	case "match.headers":
		return predicate("headers", r.Match.Headers)
	case "match.query":
		return predicate("query", r.Match.Query)
	case "match.cookies":
		return predicate("cookies", r.Match.Cookies)
	}
	return c.inRoute(i, "", r.Pos)
}

// inRoute is a part of a route.
func (c *compiler) inRoute(i int, key string, p config.Pos) at {
	path := "routes[" + strconv.Itoa(i) + "]"
	if key != "" {
		path += "." + key
	}
	return at{or(p, c.doc.Routes[i].Pos), path}
}

// inMatch is a part of a route's match, whose keys may also stand on the route itself.
func (c *compiler) inMatch(i int, key string, p config.Pos) at {
	if r := &c.doc.Routes[i]; r.Match.Pos != r.Pos {
		key = "match." + key
	}
	return c.inRoute(i, key, p)
}

// member writes a name of the document as a step of a path.
func member(name string) string {
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && c != '-' && c != '_' {
			return "[" + strconv.Quote(name) + "]"
		}
	}
	return "." + name
}

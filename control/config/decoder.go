package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder carries what reading one document needs: where we are, what went wrong so far, and which names the parts
// already read have given. It lives for one Parse.
type decoder struct {
	file     string
	env      func(string) (string, bool)
	doc      *Document // being filled; its defaults and names are used by the parts read later
	path     []step
	problems []Problem
	hidden   int // problems not kept, past problemsMax
	errors   int // problems that are no warnings, hidden ones included

	values    int // visited so far; an alias visits its target again
	valuesMax int
	bytes     int // of scalars visited so far, variables replaced
	spent     bool

	listenerNames, clusterNames, filterNames *names
	listeners                                map[string]*Listener // by name, once they all have one
}

// Limits of one document. Reaching one is an error of the document, never a crash.
const (
	// textMax bounds the text: 100,000 routes in long form take about 20 MB.
	textMax = 64 << 20
	// tokensMax bounds the YAML nodes a text can hold, which take some 160 bytes each however few bytes of text they
	// are: 100,000 routes of 40 nodes.
	tokensMax = 4 << 20
	// valuesMax and bytesMax bound the work after aliases: a text of a few hundred bytes can stand for billions of
	// values by aliases of aliases. The vocabulary has no recursion, so depth needs no bound of its own.
	valuesMax = 4 << 20
	bytesMax  = 2 * textMax
	// problemsMax bounds the problems reported: a wrong template makes the same mistake 100,000 times.
	problemsMax = 200
)

// names is what a document calls its listeners, clusters or filters.
type names struct {
	index map[string]int
	list  []string
}

// find returns the index of a name. Nothing is found in nil.
func (s *names) find(name string) (i int, ok bool) {
	if s == nil {
		return 0, false
	}
	i, ok = s.index[name]
	return i, ok
}

func (s *names) add(name string) (added bool) {
	if _, taken := s.index[name]; taken {
		return false
	}
	if s.index == nil {
		s.index = make(map[string]int)
	}
	s.index[name] = len(s.list)
	s.list = append(s.list, name)
	return true
}

// fail reports an error at n, under the current path. A nil n is a place unknown.
func (d *decoder) fail(n *yaml.Node, fix, format string, args ...any) {
	d.report(SeverityError, n, fix, format, args...)
}

// warn reports something that is allowed and probably not meant.
func (d *decoder) warn(n *yaml.Node, fix, format string, args ...any) {
	d.report(SeverityWarning, n, fix, format, args...)
}

func (d *decoder) report(severity Severity, n *yaml.Node, fix, format string, args ...any) {
	if severity == SeverityError {
		d.errors++
	}
	if d.full() && severity == SeverityWarning {
		return
	}
	if d.full() {
		d.hidden++
		return
	}
	p := Problem{Severity: severity, File: d.file, Path: pathString(d.path), Cause: fmt.Sprintf(format, args...), Fix: fix}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	d.problems = append(d.problems, p)
}

// hide counts an error that is not kept.
func (d *decoder) hide() {
	d.hidden++
	d.errors++
}

// full reports that further problems are only counted, so that nobody need search for their fix.
func (d *decoder) full() bool { return len(d.problems) >= problemsMax }

// at runs read with key on the path.
func (d *decoder) at(key string, read func()) {
	d.path = append(d.path, step{key: key, isKey: true})
	read()
	d.path = d.path[:len(d.path)-1]
}

// enter begins the visit of a node: it follows an alias, charges the budget and refuses tags. Nil means refused, and
// reported.
func (d *decoder) enter(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.values++
	if d.values > d.valuesMax || d.bytes > bytesMax {
		if !d.spent {
			d.spent = true
			if d.full() {
				d.problems = d.problems[:problemsMax-1] // this one explains what is missing
				d.hidden++
			}
			d.fail(n, "write fewer aliases, or split the work between gateways",
				"the document stands for more than %d values or %d bytes once its aliases are followed", d.valuesMax, bytesMax)
		}
		return nil
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(n, "remove the tag", "YAML tags such as %s are not used here", quote(n.Tag))
		return nil
	}
	return n
}

// scalar reads the text of a single value, with variables replaced. want names what belongs here, with its article.
func (d *decoder) scalar(n *yaml.Node, want string) (text string, ok bool) {
	if n = d.enter(n); n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.mismatch(n, want)
		return "", false
	}
	text, ok = d.expand(n, n.Value)
	d.bytes += len(text)
	return text, ok
}

// mismatch reports that n is not what belongs here.
func (d *decoder) mismatch(n *yaml.Node, want string) { d.mismatchFix(n, want, "") }

// mismatchFix is mismatch where it is known what people mean.
func (d *decoder) mismatchFix(n *yaml.Node, want, fix string) {
	if isNull(n) {
		fix = "give it a value, or remove the key"
	}
	d.fail(n, fix, "expected %s, found %s", want, describe(n))
}

// refers checks that a name used at n exists. Names that could not be read (nil) are not missed: their own problem has
// been reported.
func (d *decoder) refers(n *yaml.Node, what, name string, known *names) bool {
	if _, ok := known.find(name); ok || known == nil {
		return ok
	}
	if d.full() {
		d.hide()
		return false
	}
	fix := didYouMean(name, known.list)
	if fix == "" {
		fix = "add it under " + what + "s"
		if len(known.list) > 0 && len(known.list) <= 10 {
			fix += "; there are: " + strings.Join(known.list, ", ")
		}
	}
	d.fail(n, fix, "there is no %s named %s", what, quote(name))
	return false
}

// resolved follows an alias without visiting; for looking ahead.
func resolved(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// isNull reports a value left out, as in "routes:" with nothing after it.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	default:
		return quote(n.Value)
	}
}

package compile

import (
	"errors"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// Descriptors gets the descriptor set by which a filter transcodes on routes to a cluster. With ErrUnasked it is left open:
// the document is judged without.
type Descriptors func(said *config.TranscodeFilter, cluster *config.Cluster) ([]byte, error)

// ErrUnasked is returned by Descriptors for a set that somebody would have to be asked for, and is not.
var ErrUnasked = errors.New("the descriptors are not looked at")

// Compile works out what a document asks for, and reports what is wrong with it. It takes what config.Parse returns, and who
// gets descriptor sets; nil looks at none. memory is what filters have from the configuration before; nil for a plan that is
// only looked at. With any error there is no Plan. The Report is never nil. A Plan for which a set was left open must not be put
// into force.
func Compile(doc *config.Document, parsed []config.Problem, descriptors Descriptors, memory *gateway.Recollection) (*Plan, *Report) {
	r := &Report{Problems: make([]Problem, 0, len(parsed))}
	for _, p := range parsed {
		r.add(Problem{Problem: p})
	}
	if doc == nil {
		return nil, r
	}
	c := &compiler{
		doc: doc, report: r, descriptors: descriptors, plan: &Plan{Document: doc, Path: pathPolicy(&doc.Path), Memory: memory},
		clusters: make(map[string]int, len(doc.Clusters)),
		filters:  map[filterUse]*filters.Filter{},
		retries:  map[retryKey]*retry.Policy{},
	}
	c.compileListeners()
	c.compileClusters()
	c.compileRoutes()
	r.sort()
	if r.Errors() {
		return nil, r
	}
	return c.plan, r
}

// compiler is one compilation. What many routes have in common is made once.
type compiler struct {
	doc         *config.Document
	report      *Report
	plan        *Plan
	descriptors Descriptors

	clusters map[string]int                // by name: number in the plan
	keys     []*gateway.Key                // by number of the cluster: what its balancing goes by
	filters  map[filterUse]*filters.Filter // those with a name; nil: reported
	retries  map[retryKey]*retry.Policy
	badRetry bool // that of defaults was reported
}

// pathPolicy is the policy for the paths of requests, in the words of those who carry it out.
func pathPolicy(said *config.PathPolicy) message.PathPolicy {
	p := message.PathPolicy{KeepSlashes: !said.MergeSlashes}
	switch said.EncodedSlash {
	case config.RejectEncodedSlash:
		p.EncodedSlash = message.RejectEncodedSlash
	case config.KeepEncodedSlash:
		p.EncodedSlash = message.KeepEncodedSlash
	case config.DecodeEncodedSlash:
		p.EncodedSlash = message.DecodeEncodedSlash
	default:
		panic("compile: no policy for encoded slashes " + said.EncodedSlash) // the parser lists the same
	}
	return p
}

// at is a place in the document and the path to it.
type at struct {
	config.Pos
	path string
}

func (c *compiler) fail(where at, cause, fix string) { c.add(config.SeverityError, where, cause, fix) }

func (c *compiler) warn(where at, cause, fix string) {
	c.add(config.SeverityWarning, where, cause, fix)
}

func (c *compiler) add(s config.Severity, where at, cause, fix string) {
	c.report.add(Problem{Problem: config.Problem{
		Severity: s, File: c.doc.File, Line: where.Line, Column: where.Column, Path: where.path, Cause: cause, Fix: fix,
	}})
}

// or is a place, or another one if a default has no place.
func or(p, otherwise config.Pos) config.Pos {
	if p == (config.Pos{}) {
		return otherwise
	}
	return p
}

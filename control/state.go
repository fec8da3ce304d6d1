package control

import (
	"github.com/yumen-io/yumen/control/acme"
	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/revision"
)

// state is what others than the owner may see. It is frozen, and replaced as a whole after each change.
type state struct {
	revision  revision.Revision
	plan      *compile.Plan
	listeners []*listener
	clusters  []*cluster
	keeper    *certs.Keeper // of the certificates' files; nil: none are named
	authority *acme.Manager // nil: there is none
	admin     string        // where the admin API listens, empty if nowhere
}

var nothingYet = &state{}

// state returns what is in force; never nil.
func (c *Controller) state() *state {
	if s := c.published.Load(); s != nil {
		return s
	}
	return nothingYet
}

// publish shows what is in force now.
func (c *Controller) publish() {
	s := &state{revision: c.current, plan: c.plan, listeners: c.listeners, clusters: c.clusters}
	if c.secrets != nil {
		s.keeper = c.secrets.keeper
	}
	if c.authority != nil {
		s.authority = c.authority.manager
	}
	if c.admin != nil {
		s.admin = c.admin.bound
	}
	c.published.Store(s)
}

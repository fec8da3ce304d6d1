package compile

import (
	"fmt"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/gateway"
)

// guardSources are the parts of keys, in the gateway's words.
var guardSources = map[config.GuardSource]gateway.KeyBy{
	config.GuardClientAddress: gateway.ByClientAddress, config.GuardHeader: gateway.ByHeader, config.GuardCookie: gateway.ByCookie,
	config.GuardPathParam: gateway.ByPathParam, config.GuardClaim: gateway.ByClaim, config.GuardHost: gateway.ByHost,
	config.GuardMethod: gateway.ByMethod, config.GuardPath: gateway.ByPath, config.GuardRoute: gateway.ByRoute,
	config.GuardListener: gateway.ByListener,
}

// keyParts translates what a guard counts by.
func keyParts(said []config.GuardKey) gateway.KeyParts {
	var parts gateway.KeyParts
	for i := range said {
		parts = append(parts, gateway.Key{By: guardSources[said[i].Source], Name: said[i].Name})
	}
	return parts
}

// clusterRef resolves the name of a cluster in a filter's settings, or says that there is none.
func (c *compiler) clusterRef(name string) (gateway.ClusterRef, error) {
	i, known := c.clusters[name]
	if !known {
		return gateway.ClusterRef{}, fmt.Errorf("there is no cluster %q", name)
	}
	return gateway.ClusterRef{Name: name, Index: i}, nil
}

// context is what a filter is compiled with beside its settings. Of a filter without a name, owner is what it is called after:
// its route.
func (c *compiler) context(said *config.Filter, owner string) filters.Context {
	name := said.Name
	if name == "" {
		name = owner + "/" + said.Kind
	}
	mode := gateway.Enforce
	if said.Mode() == config.GuardShadow {
		mode = gateway.Shadow
	}
	return filters.Context{Path: c.plan.Path, Name: name, Mode: mode, Memory: c.plan.Memory}
}

// switchedOff is what a filter with mode: off does.
func switchedOff(f *filters.Filter) *filters.Filter {
	return &filters.Filter{Hooks: gateway.Hooks{Name: f.Hooks.Name}, Params: f.Params, Text: "off: " + f.Text}
}

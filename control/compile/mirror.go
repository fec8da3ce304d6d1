package compile

import (
	"fmt"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/mirror"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/compare"
)

func (c *compiler) mirrorSpec(said *config.MirrorFilter) (*mirror.Spec, error) {
	to, err := c.requestCluster(said.Cluster.Value)
	if err != nil {
		return nil, err
	}
	s := &mirror.Spec{Cluster: to, Share: said.Share.Fraction(), Methods: said.Methods, BodyBytesMax: said.MaxBody, InFlight: said.InFlight,
		Timeout: said.Timeout, Remove: said.Headers.Remove, Set: gatewayFields(said.Headers.Set), Add: gatewayFields(said.Headers.Add)}
	if s.BodyBytesMax == 0 {
		s.BodyBytesMax = mirror.NoBodies
	}
	how := said.Compare
	if how == nil {
		return s, nil
	}
	s.Compare = &mirror.Compare{BodyBytesMax: how.MaxBody, Examples: how.Examples,
		Config: compare.Config{Fields: how.Headers, Tolerance: how.JSON.Tolerance.Fraction(), AnyOrder: how.JSON.AnyOrder}}
	for _, text := range how.JSON.Ignore {
		p, err := compare.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		s.Compare.Config.Ignore = append(s.Compare.Config.Ignore, p)
	}
	if name := how.To.Value; name != "" {
		to, err := c.requestCluster(name)
		if err != nil {
			return nil, err
		}
		s.Compare.To = &to
		return s, nil
	}
	for i := range c.doc.Clusters { // the route's is among them
		s.Compare.Clusters = append(s.Compare.Clusters, gateway.ClusterRef{Name: c.doc.Clusters[i].Name, Index: i})
	}
	return s, nil
}

// requestCluster resolves the name of a cluster that takes requests.
func (c *compiler) requestCluster(name string) (gateway.ClusterRef, error) {
	ref, err := c.clusterRef(name)
	if err == nil && c.doc.Clusters[ref.Index].Protocol == config.ProtocolTCP {
		err = fmt.Errorf("cluster %q takes bytes, and no requests: its protocol is tcp", name)
	}
	return ref, err
}

func gatewayFields(said []config.Field) []gateway.Field {
	var list []gateway.Field
	for _, f := range said {
		list = append(list, gateway.Field{Name: f.Name, Value: f.Value})
	}
	return list
}

// checkMirrors points at a route whose requests would be copied to where they go anyway.
func (c *compiler) checkMirrors(i int) {
	r := &c.doc.Routes[i]
	for j := range r.Filters {
		said, ok := r.Filters[j].Filter.Body.(*config.MirrorFilter)
		if !ok || said.Guard == config.GuardOff {
			continue
		}
		where := c.inRoute(i, fmt.Sprintf("filters[%d]", j), r.Filters[j].Pos)
		if r.Cluster.Value != "" && said.Cluster.Value == r.Cluster.Value {
			c.fail(where, fmt.Sprintf("the copies go to cluster %q, which the requests go to themselves", r.Cluster.Value), "name the cluster of another version")
		}
		if how := said.Compare; how != nil {
			switch {
			case how.To.Value == said.Cluster.Value:
				c.fail(where, fmt.Sprintf("the third copy would go to cluster %q, where the copies go", said.Cluster.Value),
					"name the cluster of the old version, or remove to:")
			case r.Cluster.Value == "":
				c.warn(where, "the route has no cluster whose answers could be compared", "remove compare:, or the mirror")
			}
		}
	}
}

package compile

import (
	"fmt"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/mirror"
	"github.com/yumen-io/yumen/gateway"
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
	}
}

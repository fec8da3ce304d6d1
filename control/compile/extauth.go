package compile

import (
	"fmt"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/extauth"
)

func (c *compiler) extAuthSpec(said *config.ExtAuthFilter) (*extauth.Spec, error) {
	ref, err := c.clusterRef(said.Cluster.Value)
	if err != nil {
		return nil, err
	}
	s := &extauth.Spec{
		Cluster: ref, GRPC: said.Protocol == config.ExtAuthGRPC, Path: said.Path, Method: said.Method, Host: said.Host,
		Headers: said.Headers, ToUpstream: said.ToUpstream, ToClient: said.ToClient, Redirects: said.Redirects,
		RefusalHeaders: said.RefusalHeaders, RefusalBodyMax: int(said.RefusalBody), Timeout: said.Timeout,
		Open: said.WhenUnreachable == config.ExtAuthOpen,
	}
	if s.Headers == nil { // the document says: none
		s.Headers = []string{}
	}
	for _, f := range said.Claims {
		s.Claims = append(s.Claims, extauth.Claim{Name: f.Name, Field: f.Value})
	}
	if k := said.Cache; k != nil {
		s.Cache = &extauth.Cache{For: k.For, Key: keyParts(k.Key), EntriesMax: k.EntriesMax}
	}
	if of := &c.doc.Clusters[ref.Index]; s.GRPC && of.Protocol == config.ProtocolHTTP1 {
		return nil, fmt.Errorf("gRPC needs HTTP/2, and cluster %q speaks HTTP/1: write protocol: h2c, or auto with TLS, there", ref.Name)
	}
	return s, nil
}

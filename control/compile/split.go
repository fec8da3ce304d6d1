package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/policy/match"
	judge "github.com/yumen-io/yumen/policy/split"
)

func (c *compiler) splitSpec(said *config.SplitFilter) (*split.Spec, error) {
	s := &split.Spec{Key: keyParts(said.Key), Salt: said.Salt, Header: said.Header, Canary: canarySpec(said.Canary)}
	for _, v := range said.Variants {
		ref, err := c.clusterRef(v.Cluster.Value)
		if err != nil {
			return nil, err
		}
		weight := float64(judge.Unsaid)
		if v.Weight != nil {
			weight = v.Weight.Fraction()
		}
		s.Variants = append(s.Variants, split.Variant{Name: v.Name, Cluster: ref, Weight: weight})
	}
	for i := range said.Rules {
		r := &said.Rules[i]
		s.Rules = append(s.Rules, split.Rule{Headers: conditions(r.When.Headers), Cookies: conditions(r.When.Cookies), Claims: conditions(r.When.Claims),
			Clients: r.When.Clients, Variant: r.Variant})
	}
	if said.Cookie != nil {
		s.Cookie = &split.Cookie{Name: said.Cookie.Name, MaxAge: said.Cookie.MaxAge}
	}
	return s, nil
}

func conditions(said []config.Predicate) []match.Condition {
	list := make([]match.Condition, len(said))
	for i := range said {
		list[i] = condition(&said[i])
	}
	return list
}

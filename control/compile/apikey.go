package compile

import (
	"fmt"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/policy/identity"
)

func (c *compiler) apiKeySpec(said *config.APIKeyFilter) (*apikey.Spec, error) {
	s := &apikey.Spec{Path: said.File, Forward: said.Forward, Keys: apikey.NewKeys(), Headers: claimFields(said.Headers)}
	for _, list := range []struct {
		in    apikey.In
		names []string
	}{{apikey.InHeader, said.From.Header}, {apikey.InQuery, said.From.Query}, {apikey.InCookie, said.From.Cookie}} {
		for _, name := range list.names {
			s.Places = append(s.Places, apikey.Place{In: list.in, Name: name})
		}
	}
	for i := range said.Keys {
		k := &said.Keys[i]
		id, err := consumer(k.Name, k.Attributes)
		if err != nil {
			return nil, err
		}
		for _, text := range k.Sums {
			sum, err := apikey.ParseSum(text)
			if err != nil {
				return nil, fmt.Errorf("the key of %q: %w", k.Name, err)
			}
			if !s.Keys.Add(sum, id) {
				return nil, fmt.Errorf("the key of %q is somebody's already: keys are told apart by nothing else", k.Name)
			}
		}
	}
	if said.File == "" {
		return s, nil
	}
	keys, err := follow(c, "api_keys", said.File, apikey.ParseFile)
	if err != nil {
		return nil, err
	}
	if n := keys.Load().Plain; n > 0 {
		c.warn(at{said.Pos, "api_key.file"}, fmt.Sprintf("%s has %d keys written out, for all who may read it", said.File, n), "write sha256: with the sum of each, as sha256sum says it")
	}
	s.File = keys
	return s, nil
}

// consumer makes an identity of what a document says.
func consumer(name string, attributes []config.Attribute) (*identity.Identity, error) {
	var list []identity.Attribute
	for _, a := range attributes {
		list = append(list, identity.Attribute{Name: a.Name, Value: a.Value})
	}
	return identity.New(name, list)
}

// claimFields are the fields by which an upstream is told who asks.
func claimFields(said []config.Field) []identity.Field {
	var list []identity.Field
	for _, f := range said {
		list = append(list, identity.Field{Name: f.Name, Claim: f.Value})
	}
	return list
}

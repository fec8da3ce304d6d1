package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/basicauth"
)

func (c *compiler) basicAuthSpec(said *config.BasicAuthFilter) (*basicauth.Spec, error) {
	users, err := follow(c, "htpasswd", said.Users, basicauth.ParseFile)
	if err != nil {
		return nil, err
	}
	return &basicauth.Spec{Users: users, Path: said.Users, Realm: said.Realm, Cache: said.Cache, Forward: said.Forward, Headers: claimFields(said.Headers)}, nil
}

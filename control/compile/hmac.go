package compile

import (
	"fmt"
	"os"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/hmacauth"
)

func (c *compiler) hmacAuthSpec(said *config.HMACAuthFilter) (*hmacauth.Spec, error) {
	s := &hmacauth.Spec{Path: said.File, Keys: hmacauth.NewKeys(), Components: said.Components, MaxAge: said.MaxAge, Skew: said.Skew, ReplaysMax: said.Replays,
		BodyBytesMax: said.MaxBody, UnsignedBody: said.UnsignedBody, Headers: claimFields(said.Headers)}
	for i := range said.Keys {
		k := &said.Keys[i]
		id, err := consumer(k.Name, k.Attributes)
		if err != nil {
			return nil, err
		}
		secret, there := os.LookupEnv(k.SecretEnv)
		if !there {
			return nil, fmt.Errorf("the environment variable %s with the secret of %q is not set", k.SecretEnv, k.Name)
		}
		if err := s.Keys.Add(id, []byte(secret)); err != nil {
			return nil, err
		}
	}
	if said.File == "" {
		return s, nil
	}
	var err error
	s.File, err = follow(c, "hmac_secrets", said.File, hmacauth.ParseFile)
	return s, err
}

package tlsconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// ByName returns a configuration that goes by the name the client asks for: rules holds configurations of ServerConfig by host
// name or "*.host name", and standard serves everyone else. It is for names with client certificate rules of their own.
//
// A session of one name does not get round the rule of another: their tickets have different keys (see Tickets). A request can,
// for it carries a name of its own: whoever serves a connection compares the request's authority with State.ServerName, and
// answers 421 where the rules differ.
func ByName(standard *tls.Config, rules map[string]*tls.Config) (*tls.Config, error) {
	if standard == nil {
		return nil, errors.New("tls: rules by name need a standard one")
	}
	exact, wildcard := map[string]*tls.Config{}, map[string]*tls.Config{}
	for name, cfg := range rules {
		to, key := exact, plainName(name)
		if rest, ok := strings.CutPrefix(key, "*."); ok {
			to, key = wildcard, rest
		}
		if key == "" || strings.Contains(key, "*") || cfg == nil {
			return nil, fmt.Errorf("tls: %.80q is no name for a rule: a host name, or one with a star for its first label", name)
		}
		if to[key] != nil {
			return nil, fmt.Errorf("tls: there are two rules for %.80q", key)
		}
		to[key] = cfg
	}
	choose := func(name string) *tls.Config {
		name = plainName(name)
		if cfg := exact[name]; cfg != nil {
			return cfg
		}
		if i := strings.IndexByte(name, '.'); i > 0 {
			if cfg := wildcard[name[i+1:]]; cfg != nil {
				return cfg
			}
		}
		return standard
	}
	// The keys of tickets are those of the configuration that is chosen, or none; this one needs none.
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen := choose(hello.ServerName)
		if chosen.GetConfigForClient != nil {
			if other, err := chosen.GetConfigForClient(hello); other != nil || err != nil {
				return other, err
			}
		}
		return chosen, nil
	}
	return cfg, nil
}

package compile

import (
	"crypto/tls"
	"os"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/store/redisconn"
)

// redisSettings are a document's, but for the password.
func redisSettings(said *config.RedisServer) redisconn.Settings {
	s := redisconn.Settings{Address: said.Address.String(), Username: said.Username, Database: said.Database, Timeout: said.Timeout}
	if said.TLS {
		s.TLS = &tls.Config{ServerName: said.Address.Host, MinVersion: tls.VersionTLS12}
	}
	return s
}

// redisPassword adds the password, or returns why there is none.
func redisPassword(said *config.RedisServer, s *redisconn.Settings) (cause string) {
	if said.PasswordEnv == "" {
		return ""
	}
	var there bool
	if s.Password, there = os.LookupEnv(said.PasswordEnv); !there {
		return "the environment variable " + said.PasswordEnv + " is not set"
	}
	return ""
}

const redisPasswordFix = "start the gateway with it, or remove the line"

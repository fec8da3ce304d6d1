package compile

import (
	"os"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/store/redisconn"
)

// redisProblem is what the settings of a Redis need and this machine does not have.
type redisProblem struct {
	field      string // password_env, tls.ca
	cause, fix string
}

// redisSettings are a document's, with the password and what the files hold. A problem is nil if all is there.
func redisSettings(said *config.RedisServer) (redisconn.Settings, *redisProblem) {
	s := redisconn.Settings{Address: said.Address.String(), Username: said.Username, Database: said.Database, Timeout: said.Timeout}
	if said.PasswordEnv != "" {
		var there bool
		if s.Password, there = os.LookupEnv(said.PasswordEnv); !there {
			return s, &redisProblem{"password_env", "the environment variable " + said.PasswordEnv + " is not set", "start the gateway with it, or remove the line"}
		}
	}
	if said.TLS == nil {
		return s, nil
	}
	files := &redisFiles{said: *said.TLS, host: said.Address.Host}
	problem := files.check()
	if problem == nil {
		s.TLS, s.FreshTLS, s.TLSName = files.config(), files.config, files.name()
	}
	return s, problem
}
